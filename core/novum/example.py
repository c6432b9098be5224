"""An example claim for a plugin: a claim file that can be loaded as it stands, with the options written out."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from novum import plugins
from novum.config import shown
from novum.plugins.installed import Listing

CLAIMED = ("task", "model", "evaluator", "technique", "optimizer", "schedule")
"""Kinds that a claim file names."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def example(kind: str, name: str) -> str:
    """A claim file that names the plugin, with its options at their defaults; "" for a kind that no claim names.

    The other parts of the arms are plugins that fit, those of its own distribution first: the tasks' signatures are
    asked for that, with default options. A required option stands there as "…", to be filled in.
    """
    if kind not in CLAIMED:
        return ""
    task, model, evaluator = partners(kind, name)
    lines = [
        'claim          = "The treatment helps"   # the sentence that is tested',
        "minimum_effect = 0.02                    # on the task's scale: 0 is chance, 1 the reference",
        "max_seeds      = 10",
        "",
        "[treatments.changed]",
        _change(kind, name),
        "",
        f"[tasks.{_key(task)}]",
        f"task  = {_table('task', task, kind == 'task')}",
        f"model = {_table('model', model, kind == 'model')}",
    ]
    if evaluator:
        lines.append(f"evaluator = {_table('evaluator', evaluator, kind == 'evaluator')}")
    return "\n".join(lines)


def _change(kind: str, name: str) -> str:
    if kind == "technique":
        options = _options(kind, name)
        return f"recipe.techniques.{_key(name)} = {_inline(options) if options else 'true'}"
    if kind in ("optimizer", "schedule"):
        return f"recipe.{kind} = {json.dumps(name)}"
    return 'recipe.schedule = "cosine"'


def partners(kind: str, name: str) -> tuple[str, str, str]:
    """A task, a model and, where one is asked for, an evaluator that go together; "…" where none is installed."""
    if kind == "task":
        return name, _model(_signature(name), name), ""
    if kind == "model":
        cls = plugins.load("model", name)
        return _task(kind, name, lambda signature: plugins.fits(cls, signature)), name, ""
    if kind == "evaluator":
        outputs = plugins.load("evaluator", name).outputs
        task = _task(kind, name, lambda signature: signature.outputs.kind in outputs)
        return task, _model(_signature(task), task), name
    task = _task(kind, name, lambda signature: bool(plugins.any_fitting(signature)))
    return task, _model(_signature(task), task), ""


def _task(kind: str, name: str, good: Callable[[Any], bool]) -> str:
    for task in _near("task", _owner(kind, name)):
        signature = _signature(task)
        if signature is not None and good(signature):
            return task
    return next(iter(plugins.names("task")), "…")


def _model(signature: Any, task: str) -> str:
    if signature is not None:
        for model in _near("model", _owner("task", task)):
            with suppress(plugins.PluginError):
                if plugins.fits(plugins.load("model", model), signature):
                    return model
    return "mlp"


def _signature(task: str) -> Any:
    """What a task with default options asks of a model; None where its data are not here, or it needs options."""
    with warnings.catch_warnings(action="ignore"), suppress(Exception):
        return plugins.create("task", task, {}).signature()
    return None


def _near(kind: str, owner: str) -> list[str]:
    """Names of a kind that a claim may write: those of one distribution first, then the others, each sorted."""
    own = {one.name for one in plugins.listings(kind) if one.distribution == owner}
    usable = [name for name in plugins.names(kind) if not name.startswith(plugins.LOCAL)]
    return sorted(usable, key=lambda name: (name not in own, name))


def _owner(kind: str, name: str) -> str:
    found: Iterator[Listing] = (one for one in plugins.listings(kind) if one.name == name)
    return next((one.distribution for one in found), "")


def _table(kind: str, name: str, whole: bool) -> str:
    return _inline({"plugin": name, **(_options(kind, name) if whole else {})})


def _options(kind: str, name: str) -> dict[str, Any]:
    """Options with their defaults, as TOML can hold them: what is None is left out."""
    found: dict[str, Any] = {}
    for option, field in plugins.load(kind, name).Config.model_fields.items():
        value = "…" if field.is_required() else field.get_default(call_default_factory=True)
        plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        if _writable(plain):
            found[option] = plain
    return found


def _writable(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_writable(each) for each in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bool(value) and all(_writable(each) for each in value)
    return isinstance(value, bool | int | float | str)


def _inline(table: Mapping[str, Any]) -> str:
    """A table on one line of TOML."""
    return "{ " + ", ".join(f"{_key(name)} = {_value(value)}" for name, value in table.items()) + " }"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, str):  # a JSON text is a TOML text, where nothing unprintable is written raw
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise AssertionError(f"{shown(value)} was not `_writable`")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=not name.isprintable())
