"""Many methods on many tasks, compared by their ranks: Friedman's test and Nemenyi's critical difference.

Demšar (2006), "Statistical comparisons of classifiers over multiple data sets", JMLR 7. Two methods alone are better
served by a paired test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from novum.errors import ConfigError
from novum.stats.inputs import level, number, numbers, whole


@dataclass(frozen=True)
class Friedman:
    """Whether k methods rank alike over n tasks. ranks: mean rank of each method, 1 is best, ties share the middle.

    chi2, p_chi2: Friedman's statistic on k - 1 degrees of freedom, not corrected for ties, which makes it conservative.
    f, p: Iman & Davenport's F on k - 1 and (k - 1)(n - 1) degrees of freedom, the better approximation; None where
    every task ranks the methods alike, which leaves F without a bound.
    """

    n: int
    k: int
    ranks: tuple[float, ...]
    chi2: float
    p_chi2: float
    f: float | None
    p: float | None


def friedman(scores: Sequence[Sequence[float]]) -> Friedman:
    """Friedman (1937) with the correction of Iman & Davenport (1980).

    scores: [tasks, methods], at least 2 of each, larger is better; equal scores tie. Raises ConfigError.
    """
    from scipy.special import chdtrc, fdtrc

    rows = [numbers(f"scores[{at}]", row, count=2) for at, row in enumerate(scores)]
    if len(rows) < 2:
        raise ConfigError(f"scores: received {len(rows)} tasks; give at least 2.")
    n, k = len(rows), len(rows[0])
    for at, row in enumerate(rows):
        if len(row) != k:
            raise ConfigError(f"scores[{at}]: received {len(row)} methods; give {k}, as on the first task.")
    ranked = [_ranks(row) for row in rows]
    ranks = tuple(math.fsum(column) / n for column in zip(*ranked, strict=True))
    chi2 = 12 * n / (k * (k + 1)) * math.fsum((rank - (k + 1) / 2) ** 2 for rank in ranks)
    room = n * (k - 1) - chi2
    f = (n - 1) * chi2 / room if room > 1e-9 * n * k else None
    p = None if f is None else float(fdtrc(k - 1, (k - 1) * (n - 1), f))
    return Friedman(n, k, ranks, chi2, float(chdtrc(k - 1, chi2)), f, p)


def nemenyi(k: int, n: int, alpha: float = 0.05) -> float:
    """Nemenyi's (1963) critical difference of mean ranks, q √(k (k + 1) / (6 n)).

    Mean ranks of any two of k ≥ 2 methods over n ≥ 2 tasks that lie further apart differ; all pairs at once have error
    rate alpha.
    """
    return critical_range(k, alpha) * math.sqrt(k * (k + 1) / (6 * whole("n", n, 2)))


def nemenyi_p(difference: float, k: int, n: int) -> float:
    """P value of the difference of two mean ranks among k methods over n tasks, adjusted for all pairs."""
    number("difference", difference)
    spread = math.sqrt(whole("k", k, 2) * (k + 1) / (6 * whole("n", n, 2)))
    return max(0.0, 1 - _range(math.sqrt(2) * abs(difference) / spread, k))


def critical_range(k: int, alpha: float = 0.05) -> float:
    """Demšar's q: the upper alpha point of the range of k independent standard normals, divided by √2."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    whole("k", k, 2)
    level("alpha", alpha)
    least = -math.sqrt(2) * float(ndtri(alpha / 2))  # k = 2 is a difference of two normals
    most = -2 * float(ndtri(alpha / 2 / k))  # every one of k within most / 2 of 0, by Bonferroni
    if k == 2:
        return least / math.sqrt(2)
    return float(brentq(lambda q: 1 - _range(q, k) - alpha, least, most)) / math.sqrt(2)


def _range(q: float, k: int) -> float:
    """P(range of k standard normals ≤ q) = k ∫ φ(z) (Φ(z) - Φ(z - q))^(k - 1) dz, z the largest of them."""
    import numpy as np
    from scipy.special import ndtr

    roots, weights = np.polynomial.legendre.leggauss(200)
    z = 10 * roots
    inside = np.exp(-(z**2) / 2) * (ndtr(z) - ndtr(z - q)) ** (k - 1)
    return k * math.fsum(10 * weights * inside) / math.sqrt(2 * math.pi)


def _ranks(row: Sequence[float]) -> list[float]:
    """1 for the largest; ties share the middle rank."""
    return [sum(b > a for b in row) + (sum(b == a for b in row) + 1) / 2 for a in row]
