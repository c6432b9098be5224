"""The decisions of `novum.stats.sequential.judge`, pair by pair and some hundred times as fast, for simulated loops.

`judge` asks of the interval's ends, rounded to nine digits, what is asked here of t. tests/study/test_planted.py
compares the two on thousands of series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from novum.stats.design import Design, design
from novum.stats.paired import boundary
from novum.stats.power import _bars

STEP = 1.05
"""Levels are rounded down to a power of 1 / 1.05, so that few designs are computed."""


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


def rounded(level: float) -> int:
    """The k of the largest 1.05^-k that is no more than the level."""
    k = math.ceil(-math.log(level) / math.log(STEP) - 1e-9)
    return k if STEP**-k <= level else k + 1


@lru_cache(maxsize=4096)
def plan(k: int, pairs: int, give_up: str, futility: float = 0.1) -> Plan:
    """The test at 1.05^-k, refuting at 5 % as every claim of a goal does."""
    made = design("sequential-t", pairs, alpha=STEP**-k, refute=0.05, give_up=give_up, futility=futility)
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


def again(plan: Plan, x: list[float]) -> Stop:
    """The fixed-n test of as many new differences as the claim had pairs, at its level."""
    n = len(x)
    mean = math.fsum(x) / n
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in x) / (n - 1))
    outcome = "supported" if mean > plan.again[n] * deviation / math.sqrt(n) else "not supported"
    return Stop(n, outcome, mean, deviation)
