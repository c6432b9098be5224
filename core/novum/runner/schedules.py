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
