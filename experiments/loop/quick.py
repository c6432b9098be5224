"""The decisions of `novum.stats.sequential.judge`, pair by pair and some hundred times as fast, for simulated loops.

`judge` asks of the interval's ends, rounded to nine digits, what is asked here of t. tests/study/test_planted.py
compares the two on thousands of series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from novum.stats.boundaries import boundaries, significant
from novum.stats.design import Design, design
from novum.stats.paired import boundary
from novum.stats.power import _bars

STEP = 1.05
"""Levels are rounded down to a power of 1 / 1.05, so that few designs are computed."""

KNOT = 8
"""Boundaries are computed at every eighth level, and in between drawn through four of them, asinh t over the log of the
level, where they are nearly straight: to a thousandth (tested), and in a twentieth of the time."""


@lru_cache(maxsize=4096)
def _bounds(k: int, pairs: int) -> tuple[float, ...]:
    """The critical t of the sequential test at 1.05^-k, look after look."""
    looks = tuple(range(3, pairs + 1))
    if k % KNOT == 0:
        return boundaries(looks, STEP**-k)
    first = KNOT * (k // KNOT) - KNOT
    knots = [max(first, 56) + KNOT * at for at in range(4)]
    known = np.arcsinh([_bounds(each, pairs) for each in knots])
    weights = [math.prod((k - b) / (a - b) for b in knots if b != a) for a in knots]
    return tuple(significant(float(each)) for each in np.sinh(weights @ known))


@lru_cache(maxsize=64)
def _refuting(pairs: int) -> Design:
    return design("sequential-t", pairs, alpha=0.05)


@dataclass(frozen=True)
class Plan:
    """A test without margins, at a level of the grid: critical t of support and of refutation, and the t below which
    (with its negative below the other) the question is given up; by pairs, from 0.
    """

    design: Design
    up: tuple[float, ...]
    down: tuple[float, ...]
    up_hope: tuple[float, ...]
    down_hope: tuple[float, ...]
    again: tuple[float, ...]
    """Student's critical values for exactly n pairs: what new data are judged by."""


SIZES = (4, 5, 6, 8, 10, 12, 16, 20, 25, 30)
"""Most pairs of a claim where the trials that are left allow no more: rounded down to these, to spare designs."""


def size(pairs: int) -> int:
    """The largest of `SIZES` that is no more than the pairs; fewer than all of them stay as they are."""
    return max((each for each in SIZES if each <= pairs), default=pairs)


def rounded(level: float) -> int:
    """The k of the largest 1.05^-k that is no more than the level."""
    k = math.ceil(-math.log(level) / math.log(STEP) - 1e-9)
    return k if STEP**-k <= level else k + 1


@lru_cache(maxsize=4096)
def plan(k: int, pairs: int, give_up: str, futility: float = 0.1) -> Plan:
    """The test at 1.05^-k, refuting at 5 % as every claim of a goal does."""
    whole = _refuting(pairs)
    made = replace(whole, support=STEP**-k, upper=_bounds(k, pairs), give_up=give_up, futility=futility)
    bars, before = _bars(made), (math.inf,) * made.looks[0]
    never = (-math.inf,) * made.looks[0]
    return Plan(
        made,
        before + bars.up,
        before + bars.down,
        never + bars.up_hope,
        never + bars.down_hope,
        (math.inf,) * 2 + tuple(boundary(STEP**-k, n) for n in range(2, pairs + 1)),
    )


@dataclass(frozen=True)
class Stop:
    """Where a claim ended: pairs, "supported", "refuted" or "inconclusive", mean and standard deviation there."""

    pairs: int
    outcome: str
    mean: float
    deviation: float


def walk(plan: Plan, pair: Callable[[int], float]) -> Stop:
    """Ask for pair after pair, from 0, until the test ends."""
    total = square = 0.0
    last = len(plan.up) - 1
    n = 0
    while True:
        x = pair(n)
        n += 1
        total += x
        square += x * x
        if n < 3:
            continue
        mean = total / n
        error = math.sqrt(max(square - mean * total, 0.0) / (n - 1) / n)
        outcome = None
        if mean > plan.up[n] * error:
            outcome = "supported"
        elif -mean > plan.down[n] * error:
            outcome = "refuted"
        elif n == last or (mean < plan.up_hope[n] * error and -mean < plan.down_hope[n] * error):
            outcome = "inconclusive"
        if outcome is not None:
            return Stop(n, outcome, mean, error * math.sqrt(n))


def again(plan: Plan, x: list[float], level: float | None = None) -> Stop:
    """The fixed-n test of as many new differences as the claim had pairs, at its level or at another one."""
    n = len(x)
    mean = math.fsum(x) / n
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in x) / (n - 1))
    critical = plan.again[n] if level is None else boundary(level, n)
    outcome = "supported" if mean > critical * deviation / math.sqrt(n) else "not supported"
    return Stop(n, outcome, mean, deviation)
