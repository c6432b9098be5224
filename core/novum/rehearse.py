"""The rehearsal: before a claim is registered, every arm takes a few steps in a worker.

It shows that the arm trains, scores and saves, how fast it is, how much memory its first steps need, and how its
arithmetic is done best on this machine. The answers to the last ("how" in a plan) decide numbers, so they are measured
once, kept in the ledger, and frozen into the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum import blocks
from novum.arm import canonical, fingerprint
from novum.blocks import apart
from novum.errors import NovumError
from novum.experiment import SIDES, Experiment, chain, lineage, mode
from novum.lab import local_code
from novum.pieces import POINTS, resources, speed_key

if TYPE_CHECKING:
    from novum.lab import Lab
    from novum.loop import Seen

UNPROBED = frozenset(
    {
        *("learning_rate", "schedule", "warmup", "weight_decay", "momentum"),
        *("cpus", "gpus", "memory_gb"),
    }
)
"""Values of a recipe that change nothing about how fast a step is, and so about how it is computed best."""


def rehearse(lab: Lab, seen: Seen) -> Seen:
    """Rehearse every arm, and return what was seen with the answers put into the plans.

    Raises what an arm raises that cannot train; then nothing has been registered.
    """
    plans = {name: each["plan"] for name, each in seen.resolved.items()}
    keys = {name: [how_key(each) for each in chain(plan)] for name, plan in plans.items()}
    known = {key: lab.ledger.observation(key) for each in keys.values() for key in each}
    asking = {key for key, answers in known.items() if answers is None}
    jobs = []
    for name, plan in plans.items():
        asked = [key in asking for key in keys[name]]
        asking -= set(keys[name])  # two arms that share a probe share its answer, not its noise
        jobs.append((name, "preflight", _rehearsal(plan, asked)))
    found = lab.all(jobs)
    for name, told in found.items():
        for key, answers in zip(keys[name], told.pop("how"), strict=True):
            if answers is not None:
                lab.ledger.record_observation(key, answers)
                known[key] = answers
    resolved = {}
    for name, told in found.items():
        _warn(lab, name, told.pop("foreseen", {}))
        above = told.pop("above", [])
        resolved[name] = {
            **seen.resolved[name],
            "plan": answered(plans[name], [(known[key] or {})["answers"] for key in keys[name]]),
            "together": (known[keys[name][0]] or {})["measured"].get("together"),
        }
        for plan, speed in zip(chain(plans[name]), [told, *above], strict=False):
            lab.ledger.record_observation(speed_key(plan), speed)
    sizes = {name: told["bytes"] for name, told in found.items()}
    return replace(seen, resolved=_agreed(resolved, plans, sizes))


def _agreed(
    arms: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, Mapping[str, Any]]:
    """Both sides of a task are computed in the same mode: a pair whose sides differ in it would compare that, too.

    Sides with the same model of the same size (sizes: bytes of the weights) agree in everything: where only the noise
    of their probes parts them, they are computed as asked for `before` any probe.
    """
    tasks: dict[str, list[str]] = {}
    for name in arms:
        tasks.setdefault(name.rpartition("/")[0], []).append(name)
    found = dict(arms)
    for sides in tasks.values():
        models = {(before[name]["arm"]["model"]["plugin"], sizes[name]) for name in sides}
        parted = len({_how(arms[name]["plan"]) for name in sides}) > 1
        if parted and len(models) == 1 and len({_how(before[name]) for name in sides}) == 1:
            found |= {name: {**arms[name], "plan": before[name]} for name in sides}
        elif len({mode(arms[name]["plan"]) for name in sides}) > 1:
            found |= {name: apart(arms[name]) for name in sides}
    return found


def _how(plan: Mapping[str, Any]) -> str:
    return canonical(plan.get("how", {}))


def _rehearsal(plan: Mapping[str, Any], asked: list[bool]) -> dict[str, Any]:
    arm = plan["arm"]
    return {"plan": plan, "asked": asked, "local": local_code(arm), "resources": resources(arm["recipe"])}


def explored(lab: Lab, name: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of an arm that no claim is about. It is rehearsed, once in a study, where its inputs are images: there a
    layout may save more than the rehearsal takes. An arm whose rehearsal fails is left as it is: its trial tells why.

    name: of the arm's task. resolved: the arm, as the job `resolve` gives it.
    """
    plan: dict[str, Any] = resolved["plan"]
    if resolved["signature"]["inputs"]["kind"] != "image" or plan["start_from"] is not None:
        return plan
    key = how_key(plan)
    if lab.ledger.observation(key) is None:
        try:
            told = lab.one("preflight", _rehearsal(plan, [True]), name)
        except NovumError:
            return plan
        (known,) = told["how"]
        lab.ledger.record_observation(key, known)
    return remembered(lab, plan)  # apart: seeds are trained together for claims


def remembered(lab: Lab, plan: dict[str, Any]) -> dict[str, Any]:
    """A resolved plan with what an earlier rehearsal answered, for a trial of its own; as it is without one."""
    known = None if plan["start_from"] is not None else lab.ledger.observation(how_key(plan))
    if known is None:
        return plan
    alone: dict[str, Any] = apart({"plan": answered(plan, [known["answers"]])})["plan"]
    return alone


def _warn(lab: Lab, name: str, foreseen: Mapping[str, int]) -> None:
    """Say where a start has learned from what its arm will be judged by."""
    found = " and ".join(f"{count} units of {split}" for split, count in foreseen.items() if count)
    if found:
        arm = ", ".join(name.rsplit("/", 1))
        lab.listener.say(
            f"{arm}: what it starts from is trained on {found}, which are then no new data; give both tasks the same "
            "data and the same split."
        )


def how_key(plan: Mapping[str, Any]) -> str:
    """Where the ledger keeps how an arm is best computed: a probe is asked once, or no trial could be shared.

    Arms share it that differ only in what no probe looks at, so that both arms of a claim about, say, schedules are
    computed in the same way.
    """
    return f"how/{fingerprint(_probed(plan))}"


def _probed(plan: Mapping[str, Any]) -> dict[str, Any]:
    above = plan["start_from"]
    recipe = {name: each for name, each in plan["arm"]["recipe"].items() if name not in UNPROBED}
    return {
        **plan,
        "arm": {"task": plan["arm"]["task"], "model": plan["arm"]["model"], "recipe": recipe},
        "code": {name: each for name, each in plan["code"].items() if name not in ("evaluator", "schedule")},
        "start_from": None if above is None else _probed(above),
    }


def answered(plan: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A plan with `how` replaced by the answers for it and for what it starts from, in that order."""
    above = plan["start_from"]
    start = None if above is None else answered(above, answers[1:])
    return {**plan, "how": {**plan.get("how", {}), **answers[0]}, "start_from": start}


def estimate(lab: Lab, plan: Experiment, seen: Seen) -> str:
    """Say how many trials a plan of rehearsed arms has, and how long they may take."""
    tasks = plan.tasks.items()
    arms = {f"{name}/{side}": task[side] for name, task in tasks for side in SIDES if task[side] is not None}
    seeds = len(plan.record["seeds"]["indices"])
    total, seconds = 0, 0.0
    for name, arm in arms.items():
        speed = lab.ledger.observation(speed_key(arm))
        assert speed is not None, f"{name} was not rehearsed"
        sizes = {fact["id"]: fact["value"] for fact in seen.observations[name.rsplit("/", 1)[0]]["facts"]}
        scoring = speed["score_seconds"] * (sizes.get("dev.size", speed["scored"]) / max(speed["scored"], 1))
        task, side = name.rsplit("/", 1)
        unit = blocks.seconds(plan.tasks[task], side) or speed["seconds_per_unit"]
        for each, single in lineage(arm):
            times = 1 if single else seeds
            devices = each["arm"]["recipe"].get("devices", 1)  # each of which could train another trial
            seconds += times * (devices * each["units"] * unit + POINTS * scoring)
            total += times
    about = lab.executor.describe()
    if plan.record["open"]:
        pair = duration(seconds / seeds / about["workers"])
        return (
            f"No maximum is declared: about {pair} a pair, until it is decided; Ctrl-C is safe, and `--pairs` pauses."
        )
    return f"{trials_line(total, seconds / about['workers'], about)}; a decision ends it early; Ctrl-C is safe."


def trials_line(total: int, seconds: float, about: Mapping[str, Any]) -> str:
    """Say how much there is to do: "At most 40 trials, about 6 min on 2 cores"."""
    places = f"{about['gpus']} GPU" if about.get("gpus") else f"{about['workers']} core"
    count = about["gpus"] or about["workers"]
    return f"At most {total} trials, about {duration(seconds)} on {places}{'s' if count > 1 else ''}"


def duration(seconds: float) -> str:
    """A length of time in words a person would use: "40 s", "6 min", "2.5 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 6000:
        return f"{math.ceil(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
