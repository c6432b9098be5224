"""Which seeds of an arm are trained together: in blocks that end where a look comes, so that stopping early saves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from novum.experiment import mode

SMALLEST = 4
"""A block is not divided among processes into smaller ones: what all seeds of a step share would be paid too often."""


def apart(arm: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an arm ({"plan", …}), with the plan's trials trained each on its own."""
    plan = arm["plan"]
    return {**arm, "plan": {**plan, "how": {**plan.get("how", {}), "mode": "separate"}}}


def cost(arms: Mapping[str, Mapping[str, Any]], task: str) -> tuple[float, float] | None:
    """What a unit of experience costs a block of a task's seeds, in seconds: a share for the block and one for each of
    its seeds. None where the sides are not both trained in joint mode.

    It is the control's, where there is one: treatments of one claim then get the same blocks, and share its trials.

    arms: "TASK/SIDE" → {"plan", "together"}; the latter as `novum.runner.suits` measured it.
    """
    sides = {name.rpartition("/")[2]: each for name, each in arms.items() if name.rpartition("/")[0] == task}
    if any(mode(each["plan"]) != "joint" for each in sides.values()):
        return None
    measured = sides.get("control", next(iter(sides.values())))["together"]
    return float(measured["block"]), float(measured["seed"])


def told(task: Mapping[str, Any]) -> str:
    """How the seeds of a task's arms are trained, in words, from its plan."""
    blocks = task.get("blocks")
    if blocks is None:
        return "each trial on its own"
    sizes = sorted({len(block) for block in blocks})
    many = str(sizes[-1]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"together, {many} seeds in one process, one step for all"


def reason(task: Mapping[str, Any]) -> str:
    """Why the seeds of a task's arms are trained as they are, in words, from its plan."""
    found = {side: each for side, each in task.get("together", {}).items() if each is not None}
    apart = {side: each["undefined"] for side, each in found.items() if "undefined" in each}
    if apart:
        same = len(set(apart.values())) == 1 and len(apart) == len(found)
        return next(iter(apart.values())) if same else "; ".join(f"{side}: {why}" for side, why in apart.items())
    if task.get("blocks") is None:
        return "the claim may be decided after any pair"
    shares = {side: _share(task, each) for side, each in found.items()}
    return ", ".join(f"{side}: a seed takes {share:.2g} of its time alone" for side, share in shares.items())


def seconds(task: Mapping[str, Any], side: str) -> float | None:
    """Seconds that a unit of experience takes a seed of a block; None where the seeds are trained apart."""
    if task.get("blocks") is None:
        return None
    measured, size = task["together"][side], sum(map(len, task["blocks"])) / len(task["blocks"])
    return float(measured["block"] / size + measured["seed"])


def _share(task: Mapping[str, Any], measured: Mapping[str, float]) -> float:
    size = sum(map(len, task["blocks"])) / len(task["blocks"])
    return (measured["block"] / size + measured["seed"]) / measured["apart"]


def best(pairs: int, cost: tuple[float, float]) -> int:
    """Pairs between two looks at which a claim that is decided half way costs least; the smallest of the best.

    pairs: the declared maximum, at least 3. cost: as `cost` gives it.
    """
    half = math.ceil(pairs / 2)
    first = range(3, pairs + 1)
    return min(first, key=lambda step: (math.ceil(half / step) * (cost[0] + step * cost[1]), step))


def divide(looks: Sequence[int], processes: int) -> list[list[int]]:
    """The seeds between one look and the next, each stretch in as many even parts as there are processes for it."""
    found: list[list[int]] = []
    for start, end in itertools.pairwise((0, *looks)):
        parts = max(1, min(processes, (end - start) // SMALLEST))
        edges = [start + (end - start) * part // parts for part in range(parts + 1)]
        found += [list(range(low, high)) for low, high in itertools.pairwise(edges)]
    return found
