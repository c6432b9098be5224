"""The rehearsal: before a claim is registered, every arm takes a few steps in a worker.

It shows that the arm trains, scores and saves, how fast it is, how much memory its first steps need, and how its
arithmetic is done best on this machine. The answers to the last ("how" in a plan) decide numbers, so they are measured
once, kept in the ledger, and frozen into the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum import blocks
from novum.arm import fingerprint
from novum.blocks import apart
from novum.experiment import SIDES, Experiment, lineage, mode
from novum.lab import local_code
from novum.pieces import POINTS, speed_key

if TYPE_CHECKING:
    from novum.lab import Lab
    from novum.loop import Seen


def rehearse(lab: Lab, seen: Seen) -> Seen:
    """Rehearse every arm, and return what was seen with the answers put into the plans.

    Raises what an arm raises that cannot train; then nothing has been registered.
    """
    plans = {name: each["plan"] for name, each in seen.resolved.items()}
    settled = {name: lab.ledger.observation(how_key(plan)) for name, plan in plans.items()}
    found = lab.all(
        (name, "preflight", {"plan": plan, "settled": settled[name], "local": local_code(plan["arm"])})
        for name, plan in plans.items()
    )
    resolved = {}
    for name, told in found.items():
        answers, above = told.pop("how"), told.pop("above", [])
        if settled[name] is None:
            lab.ledger.record_observation(how_key(plans[name]), answers)
        resolved[name] = {
            **seen.resolved[name],
            "plan": answered(plans[name], (settled[name] or answers)["chain"]),
            "together": (settled[name] or answers)["together"],
        }
        each: Mapping[str, Any] | None = plans[name]
        for speed in [told, *above]:
            assert each is not None
            lab.ledger.record_observation(speed_key(each), speed)
            each = each["start_from"]
    return replace(seen, resolved=_agreed(resolved))


def _agreed(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Both sides of a task are computed in the same mode: a pair whose sides differ in it would compare that, too."""
    modes: dict[str, set[str]] = {}
    for name, each in arms.items():
        modes.setdefault(name.rpartition("/")[0], set()).add(mode(each["plan"]))
    return {name: each if len(modes[name.rpartition("/")[0]]) == 1 else apart(each) for name, each in arms.items()}


def how_key(plan: Mapping[str, Any]) -> str:
    """Where the ledger keeps how an arm is best computed: a probe is asked once, or no trial could be shared."""
    return f"how/{fingerprint(plan)}"


def answered(plan: Mapping[str, Any], chain: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A plan with `how` replaced by the answers for it and for what it starts from, in that order."""
    above = plan["start_from"]
    start = None if above is None else answered(above, chain[1:])
    return {**plan, "how": {**plan.get("how", {}), **chain[0]}, "start_from": start}


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
            seconds += times * (each["units"] * unit + POINTS * scoring)
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
