"""The rehearsal: before a claim is registered, every arm takes a few steps in a worker.

It shows that the arm trains, scores and saves, how fast it is, and how its arithmetic is done best on this machine. The
answers to the last ("how" in a plan) decide numbers, so they are measured once, kept in the ledger, and frozen into the
plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum.arm import fingerprint
from novum.experiment import SIDES, Experiment, lineage
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
        _warn(lab, name, told.pop("foreseen"))
        answers = told.pop("how")
        if settled[name] is None:
            lab.ledger.record_observation(how_key(plans[name]), answers)
        plan = answered(plans[name], answers["chain"])
        lab.ledger.record_observation(speed_key(plan), told)
        resolved[name] = {**seen.resolved[name], "plan": plan}
    return replace(seen, resolved=resolved)


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
    """Where the ledger keeps how an arm is best computed: a probe is asked once, or no trial could be shared."""
    return f"how/{fingerprint(plan)}"


def answered(plan: Mapping[str, Any], chain: list[Mapping[str, Any]]) -> dict[str, Any]:
    """A plan with `how` replaced by the answers for it and for what it starts from, in that order."""
    above = plan["start_from"]
    start = None if above is None else answered(above, chain[1:])
    return {**plan, "how": {**plan["how"], **chain[0]}, "start_from": start}


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
        for each, single in lineage(arm):
            times = 1 if single else seeds
            seconds += times * (each["units"] * speed["seconds_per_unit"] + POINTS * scoring)
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
