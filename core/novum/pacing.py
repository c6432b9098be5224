"""How a closed loop paces itself: rules that are pure, so that the loop and its simulations share them."""

from __future__ import annotations

from collections.abc import Sequence

CANDIDATES = 4
"""Changes that are screened, by one exploratory trial a task each, before the best of them is claimed."""
FEWEST = 4
"""Pairs below which no claim is begun: fewer can support only the largest effects."""


def pairs(asked: int, left: int | None, per_pair: int, reserve: int = 0) -> int:
    """The most pairs that a claim may declare: as asked, or as many as the trials that are left allow.

    left: trials of the budget; None: not limited. per_pair: new trials of one pair, over all tasks. reserve: trials
    that are kept for the end.
    """
    if left is None:
        return asked
    return max(0, min(asked, (left - reserve) // max(per_pair, 1)))


def reserve(trials: int | None, tasks: int, asked: int | None) -> int:
    """Seeds at which the last baseline is compared with the first on new data: as asked, or such that it takes a fifth
    of the trials at most; from 3 to 10 of them, 10 where trials are not limited.
    """
    if asked is not None:
        return asked
    return 10 if trials is None else min(10, max(3, trials // (10 * tasks)))


def best(gains: Sequence[float | None]) -> int | None:
    """The place of the largest gain above 0, the first of equals; None where no gain is."""
    found = [(gain, -at) for at, gain in enumerate(gains) if gain is not None and gain > 0]
    return -max(found)[1] if found else None
