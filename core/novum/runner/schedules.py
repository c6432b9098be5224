"""Schedules by name (entry points `novum.schedules`): share of the budget used, 0 to 1, to a factor on the rate."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant(share: float) -> float:
    """1 throughout."""
    return 1.0


def linear(share: float) -> float:
    """From 1 to 0 in a straight line."""
    return 1.0 - share


def cosine(share: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * share))


def one_cycle(share: float) -> float:
    """The 1cycle policy (Smith & Topin 2018): along half a cosine from 1/25 up to 1 in the first 30 %, then down to
    1/250,000. Momentum stays as it is.
    """
    low, end, turn = 1 / 25, 1 / 250_000, 0.3
    if share < turn:
        return _between(low, 1.0, share / turn)
    return _between(1.0, end, (share - turn) / (1.0 - turn))


def _between(first: float, last: float, way: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * way))


def with_warmup(schedule: Schedule, warmup: float) -> Schedule:
    """`schedule` over what remains after the rate rose from zero in a straight line over a share `warmup`.

    The first step must move, so the rise is counted from its end: a share of 0 gives a small positive factor
    only where `warmup` is 0; the runner passes the share at the middle of a step.
    """
    if warmup == 0:
        return schedule

    def factor(share: float) -> float:
        return share / warmup if share < warmup else schedule((share - warmup) / (1.0 - warmup))

    return factor
