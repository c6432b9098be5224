"""The sequential sign test: does the treatment win more than a share p of the pairs?

The number of wins among n pairs is binomial, so the path of wins is a Markov chain with two steps, and critical counts
that spend the level over the looks are found exactly, by carrying the law of the wins over the region in which the test
goes on (group sequential binomial tests: Jennison & Turnbull 2000, *Group Sequential Methods*, ch. 12). Only the signs
of the differences enter: no assumption on their sizes. A tie is no win for the one who claims: it counts as a loss in
the test for the treatment, and as a win in the test against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from novum.stats.boundaries import spent


@lru_cache(maxsize=16384)
def counts(looks: tuple[int, ...], level: float, share: float, rho: float = 1.5) -> tuple[int | None, ...]:
    """The least number of wins at each look that rejects "P(win) ≤ share"; None where no number does.

    looks: increasing. level: one-sided, spent as level (n / N)^rho. share: within 0..1. The probability of crossing
    at any look, when P(win) = share, is at most the level: counts are whole, so that some of it stays unspent.
    """
    if share < 0:
        return (0,) * len(looks)  # no share is that small: rejected at once
    found: list[int | None] = []
    law, n, used = [1.0], 0, 0.0
    for look in looks:
        while n < look:
            law = _extend(law, share)
            n += 1
        allowed = spent(level, look, looks[-1], rho) - used
        tail, count = 0.0, look + 1
        while count > 0 and tail + law[count - 1] <= allowed * (1 + 1e-12):
            count -= 1
            tail += law[count]
        found.append(count if count <= look else None)
        for above in range(count, look + 1):
            law[above] = 0.0
        used += tail
    return tuple(found)


def _extend(law: Sequence[float], share: float) -> list[float]:
    """The law of the wins after one more pair."""
    longer = [each * (1 - share) for each in law] + [0.0]
    for at, each in enumerate(law):
        longer[at + 1] += each * share
    return longer


def crossed(wins: Sequence[bool], looks: tuple[int, ...], level: float, share: float, rho: float = 1.5) -> int | None:
    """The first look, among those up to len(wins), that rejects "P(win) ≤ share"; None: none does."""
    critical = counts(looks, level, share, rho)
    total, at = 0, 0
    for n, won in enumerate(wins, start=1):
        total += bool(won)
        if at < len(looks) and n == looks[at]:
            bar = critical[at]
            if bar is not None and total >= bar:
                return n
            at += 1
    return None


def smallest(level: float, share: float) -> int:
    """The least maximum of pairs at which a won series rejects "P(win) ≤ share": share^N ≤ level."""
    return max(3, math.ceil(math.log(level) / math.log(share) - 1e-9))
