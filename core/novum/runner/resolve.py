"""From an arm as written to a plan in which nothing is left to defaults: what decides a trial's numbers.

A plan is plain JSON::

    arm          task, model, evaluator with every option; recipe with every value
    units        the budget in units of experience
    data         fingerprint of the data or environment
    checkpoint   fingerprint of what the model reads beside its options, or ""
    code         of the runner and of each plugin: content hash of the sources, versions of what it requires;
                 "techniques" holds those of the techniques by name
    device, precision
    how          {"layout", "compile", "mode"}: how the arithmetic is done; a rehearsal may choose other values
    start_from   the plan of the parent arm, or null
    start_once   whether one trial of the parent, that of seed 0, serves all seeds
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from novum import plugins
from novum.recipe import units
from novum.runner import averaging, compiling, device, early, hooks, ranks
from novum.runner.parts import Parts
from novum.seeds import Seed
from novum.task import Split, only

RUNNER_SOURCES = (
    "runner/",
    "classification.py",
    "data.py",
    "episodes.py",
    "evaluator.py",
    "mlp.py",
    "model.py",
    "recipe.py",
    "regression.py",
    "seeds.py",
    "sources.py",
    "task.py",
    "technique.py",
)
"""The files of this package that can change a trial's numbers."""
PLAIN: Mapping[str, str] = {"layout": "contiguous", "compile": "none", "mode": "separate"}
"""Without a rehearsal: tensors as torch makes them, eager steps, a trial on its own."""
PLUGINS = ("task", "model", "evaluator", "optimizer", "schedule")
"""Parts of an arm that plugins bring."""


def resolve(arm: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of an arm. Opens `train` to count its units, and reads the data's fingerprint.

    Raises ConfigError, DataError, MismatchError or PluginError when the arm cannot run.
    """
    parts = Parts.of(arm)
    plugins.load("schedule", parts.recipe.schedule)
    plugins.complete("optimizer", parts.recipe.optimizer)
    kind = device.kind()
    precision = device.precision(parts.recipe.precision, kind)
    compiling.require(parts.recipe, kind)
    with only(Split.TRAIN):
        source = parts.task.source(Split.TRAIN, Seed(0, ("resolve",)), parts.recipe)
        ranks.check(parts.recipe.devices, acts=source.acts, kind=kind)
        early.check(parts.recipe, source, Seed(0, ("resolve", "held-back")))
    size = source.size
    count = units(parts.recipe.budget, size)
    averaging.check(parts.recipe, count)
    evaluator = (arm.get("evaluator") or {}).get("plugin", parts.task.evaluator)
    parent = arm.get("start_from")
    return {
        "arm": {
            "task": {"plugin": arm["task"]["plugin"], **parts.task.config.model_dump(mode="json")},
            "model": {"plugin": arm["model"]["plugin"], **parts.model.config.model_dump(mode="json")},
            "evaluator": {"plugin": evaluator, **parts.evaluator.config.model_dump(mode="json")},
            "recipe": {**parts.recipe.model_dump(mode="json"), "techniques": hooks.full(parts.recipe.techniques)},
        },
        "units": count,
        "data": parts.task.fingerprint(),
        "checkpoint": parts.model.fingerprint(),
        "code": code(arm["task"]["plugin"], arm["model"]["plugin"], evaluator, parts.recipe),
        "device": kind,
        "precision": precision,
        "how": asked(parts.recipe),
        "start_from": None if parent is None else resolve(parent),
        "start_once": bool(arm.get("start_once", False)),
    }


def asked(recipe: Any) -> dict[str, str]:
    """The `how` of a plan before any rehearsal: what the recipe asks for, else the plain way."""
    layout = PLAIN["layout"] if recipe.layout == "auto" else recipe.layout
    return {**PLAIN, "layout": layout, "compile": "default" if recipe.compile == "on" else PLAIN["compile"]}


def code(task: str, model: str, evaluator: str, recipe: Any) -> dict[str, Any]:
    """The sources and versions that decide the numbers of an arm with these plugins."""
    return {
        "runner": plugins.package_hash("novum", RUNNER_SOURCES),
        "torch": importlib.metadata.version("torch"),
        "numpy": importlib.metadata.version("numpy"),
        "task": plugins.provenance("task", task),
        "model": plugins.provenance("model", model),
        "evaluator": plugins.provenance("evaluator", evaluator),
        "optimizer": plugins.provenance("optimizer", recipe.optimizer),
        "schedule": plugins.provenance("schedule", recipe.schedule),
        "techniques": {name: plugins.provenance("technique", name) for name in sorted(recipe.techniques)},
    }


def changed(plan: Mapping[str, Any]) -> list[str]:
    """What differs between a plan's code and this installation, in words; empty when its trials can go on here.

    Sources, torch and the device kind decide. Versions of other libraries stand in the record and decide nothing.
    """
    from novum.recipe import Recipe

    arm, then = plan["arm"], plan["code"]
    names = (arm["task"]["plugin"], arm["model"]["plugin"], arm["evaluator"]["plugin"])
    now = code(*names, Recipe(**arm["recipe"]))
    found = [
        f"{'the runner' if part == 'runner' else part} ({then[part][:12]} → {now[part][:12]})"
        for part in ("runner", "torch")
        if now[part] != then[part]
    ]
    brought = {part: (then[part], now[part]) for part in PLUGINS}
    brought |= {f"technique {name}": (then["techniques"][name], each) for name, each in now["techniques"].items()}
    found += [
        f"the {part}'s sources ({_words(before)} → {_words(after)})"
        for part, (before, after) in brought.items()
        if any(before[which] != after[which] for which in ("distribution", "sources"))
    ]
    if device.kind() != plan["device"]:
        found.append(f"the device ({plan['device']} → {device.kind()})")
    return found


def differs(plan: Mapping[str, Any]) -> list[str]:
    """The same with the data and what the model reads beside its options, of the arm and of what it starts from."""
    parts = Parts.of(plan["arm"])
    found = changed(plan)
    if parts.task.fingerprint() != plan["data"]:
        found.append(f"the data of {plan['arm']['task']['plugin']}")
    if parts.model.fingerprint() != plan["checkpoint"]:
        found.append(f"what {plan['arm']['model']['plugin']} reads beside its options")
    above = plan["start_from"]
    return found + ([] if above is None else [f"{each} of its start" for each in differs(above)])


def _words(part: Mapping[str, Any]) -> str:
    return f"{part['distribution']} {part['version']} {part['sources'][:8]}".strip()
