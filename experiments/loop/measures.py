"""What is measured of many loops of one kind, each number with its standard error over the loops."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import climbers
import numpy as np
import quick
from climbers import Adopted, Loop, Pace
from family import Family, World
from novum.stats import unbiased
from numpy.typing import NDArray

ROOT = 20261124
"""Of every draw: a family's seed follows from this and from its name."""

PACES = {
    "rules": Pace(1),
    "rules, gives up": Pace(1, give_up="support"),
    "search": Pace(4),
    "search, gives up": Pace(4, give_up="support"),
}
"""Novum's loop, with screening ("search") and without ("rules")."""
OTHERS: dict[str, Callable[[World, int], Loop]] = {
    "greedy": climbers.greedy,
    "greedy by pairs": climbers.greedy_pairs,
    "random search": climbers.random_search,
    "Optuna": climbers.tpe,
}
ESTIMATES = ("dev", "new data", "dev, corrected")
"""What a loop may say that its adopted levers are worth."""


@dataclass(frozen=True)
class Number:
    """A mean over loops and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Cell:
    """Loops of one method on one family at one budget. fdr: the mean share of what was adopted that does not help, 0
    where nothing was adopted. ratio: what was claimed over what is true of all that was adopted, by estimate. wins:
    share of the loops that ended above their first baseline; losses: below it.
    """

    loops: int
    fdr: Number
    gain: Number
    adopted: float
    claims: float
    on_dev: float
    trials: float
    stalls: float
    losses: float
    ratio: dict[str, Number]


def seed(family: Family) -> int:
    """Of a family's worlds, which all methods share."""
    return zlib.crc32(repr((ROOT, family)).encode())


def measure(method: str, family: Family, budget: int, loops: int, pace: Pace | None = None) -> Cell:
    """Simulate loops and sum them up. pace: Novum's loop at another pace than `PACES` says."""
    pace = pace or PACES.get(method)
    climb = OTHERS[method] if pace is None else lambda world, trials: climbers.novum(world, trials, pace)
    found = [climb(World(family, seed(family), number), budget) for number in range(loops)]
    return summed(found)


def summed(found: Sequence[Loop]) -> Cell:
    """The measures of loops."""
    shares = [sum(each.true <= 0 for each in loop.adopted) / max(1, len(loop.adopted)) for loop in found]
    claimed = {
        name: [math.fsum(claims(each)[at] for each in loop.adopted) for loop in found] for at, name in _which(found)
    }
    true = np.array([math.fsum(each.true for each in loop.adopted) for loop in found])
    return Cell(
        loops=len(found),
        fdr=_mean(shares),
        gain=_mean([loop.gain for loop in found]),
        adopted=_mean([len(loop.adopted) for loop in found]).value,
        claims=_mean([loop.claims for loop in found]).value,
        on_dev=_mean([loop.on_dev for loop in found]).value,
        trials=_mean([loop.trials for loop in found]).value,
        stalls=_mean([loop.end == "stall" for loop in found]).value,
        losses=_mean([loop.gain < 0 for loop in found]).value,
        ratio={name: _ratio(np.array(values), true) for name, values in claimed.items()},
    )


def _which(found: Sequence[Loop]) -> list[tuple[int, str]]:
    tested = any(each.dev is not None for loop in found for each in loop.adopted)
    return list(enumerate(ESTIMATES if tested else ESTIMATES[:1]))


def claims(adopted: Adopted) -> tuple[float, ...]:
    """The estimates of one adopted lever, in the order of `ESTIMATES`; one number where no test was made."""
    if adopted.plan is None or adopted.dev is None or adopted.new is None:
        return (adopted.seen,)
    dev, new = adopted.dev, adopted.new
    return (
        dev.mean,
        new.mean,
        unbiased.effect(_near(adopted.plan).design, dev.pairs, dev.mean, dev.deviation),
    )


def _near(plan: quick.Plan) -> quick.Plan:
    """The plan at the nearest fourth level: the chance of support of fewer designs is to be computed."""
    k = 4 * round(-math.log(plan.design.support) / math.log(quick.STEP) / 4)
    return quick.plan(k, plan.design.looks[-1], plan.design.give_up, plan.design.futility)


def _mean(values: Sequence[float]) -> Number:
    x = np.array(values, dtype=float)
    return Number(float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> Number:
    """Ratio of the sums with its standard error (delta method); not a number where nothing true was gained."""
    total = float(below.sum())
    if total <= 0 or len(below) < 2:
        return Number(math.nan, math.nan)
    ratio = float(above.sum()) / total
    rest = above - ratio * below
    return Number(ratio, float(rest.std(ddof=1) * math.sqrt(len(rest)) / total))
