"""The sequential sign-flip test: valid for any symmetric differences, also heteroscedastic or bimodal ones.

If the differences are symmetric about m, then given their sizes |xᵢ - m| all sign paths are equally likely. Paths are
followed pair by pair; each look deletes the largest as far as the level spent so far allows, and rejects where the
observed path is among them: the deleted share never exceeds the level, whatever the sizes (a sequential randomisation
test; cf. Plamadeala & Rosenberger 2012, Ann. Statist. 40:30). Ties only make it conservative.

Up to 16 pairs all paths are followed. Beyond, the observed path and random ones, exchangeable with it under the
null: still valid, with a little chance that the seed fixes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from novum.stats.boundaries import spent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

EXACT = 16
"""Largest number of pairs at which every path is followed."""

LEAST, MOST = 2**16, 2**18
"""Random paths: 50 for the smallest level that a look adds, within these bounds; so no level below 2⁻¹⁸ is reached."""


def crossed(
    x: Sequence[float], m: float, looks: tuple[int, ...], level: float, rho: float = 1.5, seed: int = 0
) -> int | None:
    """The first look, among those up to len(x), that rejects "symmetric about a mean of at most m"; None: none does.

    A longer x never changes an earlier look. seed: of the random paths, used where looks[-1] > 16.
    """
    gaps = [float(each) - m for each in x]
    return _exact(gaps, looks, level, rho) if looks[-1] <= EXACT else _random(gaps, looks, level, rho, seed)


def earliest(looks: tuple[int, ...], level: float, rho: float = 1.5, seed: int = 0) -> int | None:
    """The first look at which the most favourable data, all differences far above m, are rejected; None: never."""
    return crossed([1.0] * looks[-1], 0.0, looks, level, rho, seed)


def paths(looks: tuple[int, ...], level: float, rho: float = 1.5) -> int:
    """How many paths, the observed one among them, are followed beyond 16 pairs: a power of two."""
    pairs = looks[-1]
    shares = [spent(level, n, pairs, rho) for n in looks]
    smallest = min(after - before for before, after in zip([0.0, *shares], shares, strict=False))
    wanted = math.ceil(math.log2(50 / smallest))
    return int(min(MOST, max(LEAST, 2**wanted)))


class _Steps:
    """Sizes as integers, so that ties between paths are exact; the scale depends on no later pair."""

    def __init__(self) -> None:
        self.scale: int | None = None

    def of(self, size: float) -> tuple[int, int]:
        """The size in integer units, and by how many bits earlier sums must be shifted right first."""
        if size == 0:
            return 0, 0
        exponent = math.frexp(size)[1]
        if self.scale is None:
            self.scale = 40 - exponent
        shift = max(0, exponent + self.scale - 50)
        self.scale -= shift
        return round(math.ldexp(size, self.scale)), shift


def _exact(gaps: Sequence[float], looks: tuple[int, ...], level: float, rho: float) -> int | None:
    import numpy as np

    alive: Integers = np.zeros(1, dtype=np.int64)
    steps, observed, used = _Steps(), 0, 0.0
    for n, gap in enumerate(gaps[: looks[-1]], start=1):
        size, shift = steps.of(abs(gap))
        alive, observed = alive >> shift, observed >> shift
        alive = np.concatenate([alive - size, alive + size])
        observed += size if gap > 0 else -size
        if n not in looks:
            continue
        most = math.floor((spent(level, n, looks[-1], rho) - used) * 2**n + 1e-9)
        if most < 1:
            continue
        place = alive.size - most - 1
        bar = int(np.partition(alive, place)[place])
        if observed > bar:
            return n
        kept = alive[alive <= bar]
        used += (alive.size - kept.size) / 2**n
        alive = kept
    return None


def _random(gaps: Sequence[float], looks: tuple[int, ...], level: float, rho: float, seed: int) -> int | None:
    import numpy as np

    count = paths(looks, level, rho)
    alive: Integers = np.zeros(count - 1, dtype=np.int64)
    kept = np.arange(count - 1)
    steps, observed, used = _Steps(), 0, 0
    for n, gap in enumerate(gaps[: looks[-1]], start=1):
        size, shift = steps.of(abs(gap))
        if shift:
            alive, observed = alive >> shift, observed >> shift
        alive = alive + np.where(_turns(seed, count, n)[kept], size, -size)
        observed += size if gap > 0 else -size
        if n not in looks:
            continue
        most = math.floor(spent(level, n, looks[-1], rho) * count + 1e-9) - used
        if most < 1:
            continue
        place = alive.size - most  # among these and the observed path, the (most + 1)-th largest
        whole = np.append(alive, observed)
        bar = int(np.partition(whole, place)[place])
        if observed > bar:
            return n
        low = alive <= bar
        used += int(alive.size - np.count_nonzero(low))
        alive, kept = alive[low], kept[low]
    return None


@lru_cache(maxsize=128)
def _turns(seed: int, count: int, n: int) -> NDArray[np.bool_]:
    """The signs of the n-th pair in all random paths: raw bits of a generator, which no version of numpy reshapes."""
    import numpy as np

    words = np.random.PCG64([seed, n]).random_raw(-(-count // 64))
    return np.unpackbits(words.view(np.uint8))[: count - 1].astype(bool)
