"""The one-sided paired t-test on seed-paired differences, and the interval that matches it.

Student (1908); the test supports "beats by at least m" exactly when the interval's lower end exceeds m, so numbers
and outcome cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEGENERATE = 1e-9
"""A standard deviation at most this share of the largest difference means that the seeds do not vary."""


@dataclass(frozen=True)
class Paired:
    """n differences: their mean, standard deviation with the resolution floor, interval, and whether they vary.

    low, high: mean ∓ boundary · deviation / √n. t: None where the deviation is 0.
    """

    n: int
    mean: float
    deviation: float
    low: float
    high: float
    varies: bool
    margin: float
    t: float | None
    p: float | None


def boundary(alpha: float, n: int) -> float:
    """The critical value t(1 - alpha; n - 1). Needs n ≥ 2 and alpha in (0, 0.5)."""
    from scipy.special import stdtrit  # scipy.stats gives the same number and takes seconds to import

    return -float(stdtrit(n - 1, alpha))


def paired(differences: Sequence[float], margin: float, critical: float, resolution: float = 0.0) -> Paired:
    """Test mean > margin at the registered critical value.

    differences: at least 2 finite numbers, treatment minus control in the direction of better. resolution: the step
    in which the metric moves (0: continuous); a metric that is rounded to steps hides up to resolution²/12 of
    variance, which is added (Sheppard's correction, used conservatively).
    """
    n = len(differences)
    mean = math.fsum(differences) / n
    raw = math.fsum((each - mean) ** 2 for each in differences) / (n - 1)
    largest = max(abs(each) for each in differences)
    varies = math.sqrt(raw) > DEGENERATE * largest
    deviation = math.sqrt(raw + resolution**2 / 12)
    error = deviation / math.sqrt(n)
    statistic = (mean - margin) / error if error > 0 else None
    return Paired(
        n=n,
        mean=mean,
        deviation=deviation,
        low=mean - critical * error,
        high=mean + critical * error,
        varies=varies,
        margin=margin,
        t=statistic,
        p=None if statistic is None else _tail(statistic, n - 1),
    )


def _tail(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))


def pairs_needed(mean: float, deviation: float, margin: float, alpha: float, most: int = 1000) -> int | None:
    """Pairs after which the interval would exclude the margin if mean and deviation stayed as they are.

    None when they would not within `most`, or when nothing separates mean and margin.
    """
    gap = abs(mean - margin)
    if gap == 0 or gap < boundary(alpha, most) * deviation / math.sqrt(most):
        return None
    low, high = 2, most
    while low < high:
        n = (low + high) // 2
        if gap > boundary(alpha, n) * deviation / math.sqrt(n):
            high = n
        else:
            low = n + 1
    return low
