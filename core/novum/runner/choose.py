"""How an arm's arithmetic is done best on this machine: short probes, asked once, at registration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from novum.runner import compiling, device, suits
from novum.runner.probe import Stepper, clock, interleaved

GAIN = 1.05
"""Times faster that a step must be for channels-last or compiling to be chosen: less may be noise."""
REPAYS = 2.0
"""Times its own cost that compiling must save over a trial, to be chosen."""
LONG: Mapping[str, float] = {"cpu": 600.0, "cuda": 60.0}
"""Seconds that a trial must be expected to train, by device kind, before anything is compiled to find out."""


@dataclass(frozen=True)
class Choice:
    """answers: for a plan's `how`, those that differ from it. measured: what they rest on, plain JSON."""

    answers: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)


def choose(plan: Mapping[str, Any], speed: Mapping[str, Any]) -> Choice:
    """Answers for one plan, to be put into its `how`: those that differ from the plain way, as a probe found them.

    speed: what its rehearsal told: "seconds_per_unit", and "convolves": whether its network has two-dimensional
    convolutions. What a probe cannot do (a network that refuses a layout, losses that do not compile, memory that is
    short) is not chosen, and `measured` says why.
    """
    recipe = plan["arm"]["recipe"]
    mode, together = suits.mode(plan)
    if mode == "joint":  # it has ways of its own
        return Choice({"mode": mode}, {"together": together})
    answers: dict[str, str] = {}
    measured: dict[str, Any] = {"together": together}
    if recipe["layout"] == "auto" and speed["convolves"]:
        found, measured["layout"] = _layout(plan)
        answers |= found
    if recipe["techniques"]:
        measured["compile"] = {"because": "techniques hook into its steps"}
    elif recipe["compile"] == "auto":
        expected = speed["seconds_per_unit"] * plan["units"]
        found, measured["compile"] = _compile({**plan, "how": {**plan["how"], **answers}}, expected)
        answers |= found
    elif recipe["compile"] == "on" and plan["device"] == "cuda":
        found, measured["compile"] = _graphs(plan)
        answers |= found
    return Choice(answers, measured)


# ---------------------------------------------------------------------------------------------------------- layout


def _layout(plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    plain = Stepper(plan, {**plan["how"], "compile": "none"})
    if not plain.convolves():
        return {}, {"because": "it convolves no images"}
    try:
        last = Stepper(plan, {**plan["how"], "compile": "none", "layout": "channels-last"})
        for way in (plain, last):
            way()  # the first step also makes the optimiser's state
        last.act()
        times = interleaved((plain, last), clock(plan["device"]))
    except Exception as error:  # whatever a network does with strides that it did not expect, or with half the memory
        return {}, {"because": _reason(error)}
    return layout_of(*times), {"contiguous": times[0], "channels-last": times[1]}


def layout_of(contiguous: float, channels_last: float) -> dict[str, str]:
    """The answer to the layout's probe, from seconds a step."""
    return {"layout": "channels-last"} if contiguous >= GAIN * channels_last else {}


# --------------------------------------------------------------------------------------------------------- compiling


@dataclass(frozen=True)
class Timing:
    """A way to compile: its name, seconds a step, and seconds of wall time that it took to get there."""

    way: str
    step: float
    cost: float


def _compile(plan: Mapping[str, Any], expected: float) -> tuple[dict[str, str], dict[str, Any]]:
    kind = plan["device"]
    if kind not in LONG or expected < LONG[kind]:
        return {}, {"because": "a trial is too short to repay it"}
    why = compiling.missing(kind)
    if why is not None:
        return {}, {"because": why}
    try:
        eager, timings, steps = _timed(plan, compiling.WAYS if kind == "cuda" else compiling.WAYS[:1])
    except Exception as error:  # a probe is no trial: what breaks it is not chosen
        return {}, {"because": _reason(error)}
    return repaid(eager, timings, steps), _measured(eager, timings, steps)


def repaid(eager: float, timings: Sequence[Timing], steps: float) -> dict[str, str]:
    """The answer to the probe of compiling: the way that leaves most of a trial's time, if it saves enough.

    eager: seconds a step without compiling. steps: of a trial, with its whole budget.
    """
    gains = {each.way: (eager - each.step) * steps - each.cost for each in timings}
    worth = [
        each.way for each in timings if eager >= GAIN * each.step and (eager - each.step) * steps > REPAYS * each.cost
    ]
    return {"compile": max(worth, key=gains.__getitem__)} if worth else {}


def _graphs(plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """The faster way of compiling, where compiling is asked for."""
    try:
        eager, timings, steps = _timed(plan, compiling.WAYS)
    except Exception as error:
        return {}, {"because": _reason(error)}
    best = min(timings, key=lambda each: each.step, default=None)
    answers = {} if best is None or best.way == plan["how"]["compile"] else {"compile": best.way}
    return answers, _measured(eager, timings, steps)


def _measured(eager: float, timings: Sequence[Timing], steps: float) -> dict[str, Any]:
    return {"eager": eager, "steps": steps} | {each.way: [each.step, each.cost] for each in timings}


def _timed(plan: Mapping[str, Any], ways: Sequence[str]) -> tuple[float, list[Timing], float]:
    """Seconds of an eager step; those of each way that compiles; and how many such steps a trial has."""
    read = clock(plan["device"])
    eager = Stepper(plan, {**plan["how"], "compile": "none"})
    eager()
    shapes = eager.shapes()
    if shapes > compiling.SHAPES:
        raise RuntimeError(f"batches come in more than {compiling.SHAPES} shapes")
    found: list[tuple[Stepper, str, float]] = []
    for way in ways:
        compiled = Stepper(plan, {**plan["how"], "compile": way})
        before = time.perf_counter()
        for _ in range(3):  # the first compiles; graphs are recorded by the second
            compiled()
        device.synchronize(plan["device"])
        if not compiled.failed:
            found.append((compiled, way, shapes * (time.perf_counter() - before)))
    if not found:
        raise RuntimeError(compiled.failed[0])
    times = interleaved((eager, *(each for each, _, _ in found)), read)
    timings = [Timing(way, step, cost) for (_, way, cost), step in zip(found, times[1:], strict=True)]
    return times[0], timings, plan["units"] / eager.units


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"
