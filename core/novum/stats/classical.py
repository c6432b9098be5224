"""The fixed-n tests of the textbooks, for readers who know them: none of these decides a verdict.

Differences are treatment minus control in the direction of better, one per seed. A result that the data do not
determine is None; input that is no data raises ConfigError naming the field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError
from novum.stats.inputs import level, number, numbers, one_of, positive, whole
from novum.stats.paired import Paired, boundary, paired

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_FLIPS = 40
"""Pairs up to which the sign-flip test is exact: it sorts 2^(n/2) half sums."""

TIE = 1e-12
"""Numbers closer than this share of the largest count as equal: they differ by rounding."""


# -------------------------------------------------------------------------------------------------- paired tests


@dataclass(frozen=True)
class PairedT:
    """Student's paired t-test of mean = margin with its effect size.

    n: pairs. mean, low, high: in the metric's units; low and high enclose the mean with confidence 1 - alpha.
    deviation: standard deviation (n - 1). p: two-sided. dz = mean / deviation, g = correction · dz (Hedges' g_z); their
    intervals have confidence 1 - alpha. correction, g and its interval are None for two pairs, where the correction is
    not defined. Where the differences do not vary, all but n, mean, deviation and correction are None; where |t|
    exceeds 1000, for which the noncentral t distribution is not inverted, the intervals of dz and g are.
    """

    n: int
    mean: float
    deviation: float
    correction: float | None
    low: float | None = None
    high: float | None = None
    t: float | None = None
    p: float | None = None
    dz: float | None = None
    dz_interval: tuple[float, float] | None = None
    g: float | None = None
    g_interval: tuple[float, float] | None = None


def paired_t(differences: Sequence[float], margin: float = 0.0, alpha: float = 0.05) -> PairedT:
    """Student (1908); d_z and Hedges' correction J after Hedges (1981).

    differences: at least 2. The interval of d_z inverts the noncentral t distribution (Steiger & Fouladi 1997); that
    of g is J times it. The effect size is that of the mean itself: the margin moves t and p alone.
    """
    found = _student(differences, margin)
    level("alpha", alpha)
    n, freedom = found.n, found.n - 1
    correction = hedges(freedom)
    if not found.varies or found.t is None or found.p is None:
        return PairedT(n, found.mean, found.deviation, correction)
    error = found.deviation / math.sqrt(n)
    half = boundary(alpha / 2, n) * error
    dz = found.mean / found.deviation
    noncentral = _noncentrality(found.mean / error, freedom, alpha)
    span = None if noncentral is None else (noncentral[0] / math.sqrt(n), noncentral[1] / math.sqrt(n))
    return PairedT(
        n=n,
        mean=found.mean,
        deviation=found.deviation,
        correction=correction,
        low=found.mean - half,
        high=found.mean + half,
        t=found.t,
        p=2 * min(found.p, _upper(-found.t, freedom)),
        dz=dz,
        dz_interval=span,
        g=None if correction is None else correction * dz,
        g_interval=None if correction is None or span is None else (correction * span[0], correction * span[1]),
    )


def hedges(freedom: int) -> float | None:
    """J = Γ(f/2) / (√(f/2) Γ((f-1)/2)), which takes the bias from d (Hedges 1981). None for f = 1: Γ has a pole."""
    if whole("freedom", freedom, 1) == 1:
        return None
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def equivalence(differences: Sequence[float], margin: float) -> float | None:
    """The p value of |mean| < margin by two one-sided t-tests (TOST; Schuirmann 1987): the larger of theirs.

    margin: above 0. None where the differences do not vary.
    """
    positive("margin", margin)
    above, below = _student(differences, -margin), _student([-each for each in differences], -margin)
    if not above.varies or above.p is None or below.p is None:
        return None
    return max(above.p, below.p)


def sign_flip(differences: Sequence[float], margin: float = 0.0) -> float:
    """Exact one-sided p value of mean > margin when differences are symmetric about it (Fisher 1935, chapter III).

    The share of the 2^n sign patterns whose sum is at least the one seen, counted from sorted half sums (Horowitz &
    Sahni 1974). A sum that ties with the one seen counts as at least it. differences: 1 to MOST_FLIPS.
    """
    import numpy as np

    number("margin", margin)
    x = [each - margin for each in numbers("differences", differences)]
    if len(x) > MOST_FLIPS:
        raise ConfigError(f"differences: received {len(x)}; the exact test takes at most {MOST_FLIPS}.")
    threshold = math.fsum(x) - TIE * math.fsum(abs(each) for each in x)
    left, right = np.sort(_sums(x[: len(x) // 2])), _sums(x[len(x) // 2 :])
    reached = left.size - np.searchsorted(left, threshold - right)
    return math.ldexp(int(reached.sum()), -len(x))


def _sums(x: Sequence[float]) -> Array:
    """All 2^n sums of ±x."""
    import numpy as np

    sums: Array = np.zeros(1)
    for each in x:
        sums = np.concatenate((sums - each, sums + each))
    return sums


@dataclass(frozen=True)
class SignedRank:
    """n: differences other than 0. v: sum of the ranks of those above it. p: one-sided; None where n is 0."""

    n: int
    v: float
    p: float | None


def wilcoxon(differences: Sequence[float], margin: float = 0.0) -> SignedRank:
    """Wilcoxon's (1945) signed-rank test of symmetry about margin against larger values, exact with ties too.

    Zeros are dropped; equal sizes share their middle rank, and p is exact given those ranks, as the distribution of
    twice their sum is built by convolution (Streitberg & Röhmel 1986). differences: at least 1.
    """
    import numpy as np

    number("margin", margin)
    x = [each - margin for each in numbers("differences", differences)]
    rounding = TIE * max(max(abs(each) for each in x), abs(margin))
    x = [each for each in x if abs(each) > rounding]
    if not x:
        return SignedRank(0, 0.0, None)
    ranks = _twice_ranks([abs(each) for each in x], rounding)
    v = sum(rank for each, rank in zip(x, ranks, strict=True) if each > 0)
    law = np.zeros(sum(ranks) + 1)
    law[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(law)
        moved[rank:] = law[: law.size - rank]
        law = (law + moved) / 2
    return SignedRank(len(x), v / 2, min(1.0, math.fsum(law[v:])))


def _twice_ranks(x: Sequence[float], rounding: float) -> list[int]:
    """Twice the middle rank of each: a whole number. Neighbours no further apart than `rounding` tie."""
    order = sorted(range(len(x)), key=x.__getitem__)
    ranks = [0] * len(x)
    first = 0
    for at in range(1, len(x) + 1):
        if at == len(x) or x[order[at]] - x[order[at - 1]] > rounding:
            for place in order[first:at]:
                ranks[place] = first + at + 1
            first = at
    return ranks


# ------------------------------------------------------------------------------------------------- unpaired test


@dataclass(frozen=True)
class Welch:
    """difference: mean of a minus mean of b, in low … high with confidence 1 - alpha. freedom: Satterthwaite's.

    p: two-sided. All but difference are None where neither sample varies.
    """

    difference: float
    low: float | None
    high: float | None
    t: float | None
    freedom: float | None
    p: float | None


def welch(a: Sequence[float], b: Sequence[float], alpha: float = 0.05) -> Welch:
    """Welch's (1947) t-test of equal means for unpaired samples of at least 2 each."""
    from scipy.special import stdtr, stdtrit

    level("alpha", alpha)
    x, y = _student(a, 0.0, "a"), _student(b, 0.0, "b")
    difference = x.mean - y.mean
    if not x.varies and not y.varies:
        return Welch(difference, None, None, None, None, None)
    parts = x.deviation**2 / x.n, y.deviation**2 / y.n
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (x.n - 1) + parts[1] ** 2 / (y.n - 1))
    half = -float(stdtrit(freedom, alpha / 2)) * error
    t = difference / error
    return Welch(difference, difference - half, difference + half, t, freedom, 2 * float(stdtr(freedom, -abs(t))))


# ------------------------------------------------------------------------------------------------------- planning


def power(n: int, effect: float, alpha: float = 0.05) -> float:
    """Chance that the one-sided paired t-test rejects: 1 - F(t(1 - alpha); n - 1, effect · √n), F the noncentral t.

    n: pairs, at least 2. effect: (true mean - margin) in standard deviations of the differences.
    """
    from scipy.special import nctdtr

    whole("n", n, 2)
    number("effect", effect)
    return 1 - float(nctdtr(n - 1, effect * math.sqrt(n), boundary(level("alpha", alpha), n)))


def sample_size(effect: float, chance: float = 0.9, alpha: float = 0.05) -> int:
    """Fewest pairs, at least 2, with which `power` reaches `chance`.

    effect: above 0, in standard deviations. chance: from alpha up to, not including, 1.
    """
    positive("effect", effect)
    _chance(chance, alpha)
    high = 2
    while power(high, effect, alpha) < chance:
        high *= 2
    low = max(2, high // 2)
    while low < high:
        n = (low + high) // 2
        low, high = (low, n) if power(n, effect, alpha) >= chance else (n + 1, high)
    return high


def noether(probability: float, alpha: float = 0.05, chance: float = 0.95) -> int:
    """Pairs for a one-sided Mann-Whitney test of P(A > B) > 1/2 when it is `probability` (Noether 1987).

    N = ((z(alpha) + z(1 - chance)) / (√6 (1/2 - probability)))², rounded up; Bouthillier et al. (2021) plan with it.
    probability: above 0.5, below 1.
    """
    from scipy.special import ndtri

    if not 0.5 < number("probability", probability) < 1:
        raise ConfigError(f"probability: received {probability!r}; give a number above 0.5 and below 1.")
    _chance(chance, alpha)
    z = float(ndtri(alpha) + ndtri(1 - chance))
    return math.ceil((z / (math.sqrt(6) * (0.5 - probability))) ** 2)


def group_sequential(kind: str, looks: int, alpha: float = 0.05) -> tuple[float, ...]:
    """Critical |z| at each of equally spaced looks, of size `alpha` two-sided over all of them.

    kind: "pocock" (the same c at each; Pocock 1977) or "obrien-fleming" (c √(K/k) at look k; O'Brien & Fleming 1979).
    looks: K, 1 to 50. Found by the recursive integration of Armitage, McPherson & Rowe (1969) with Gauss-Legendre
    quadrature.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    one_of("kind", kind, ("pocock", "obrien-fleming"))
    whole("looks", looks, 1)
    level("alpha", alpha)
    if looks > 50:
        raise ConfigError(f"looks: received {looks}; give at most 50.")
    shape = [1.0 if kind == "pocock" else math.sqrt(looks / k) for k in range(1, looks + 1)]
    least, most = (-float(ndtri(alpha / 2 / share)) for share in (1, looks))  # one look, and Bonferroni's bound
    c = least if looks == 1 else float(brentq(lambda c: _crossing([c * each for each in shape]) - alpha, least, most))
    return tuple(c * each for each in shape)


def _crossing(bounds: Sequence[float]) -> float:
    """P(|Z_k| ≥ bounds[k] for some k), Z_k = S_k / √k, where S_k is a sum of k standard normal steps."""
    import numpy as np

    roots, weights = np.polynomial.legendre.leggauss(64 + 4 * len(bounds))
    last = bounds[0]
    s = last * roots
    mass = last * weights * np.exp(-(s**2) / 2) / math.sqrt(2 * math.pi)
    for k, bound in enumerate(bounds[1:], 2):
        last = bound * math.sqrt(k)
        to = last * roots
        density = np.exp(-((to[:, None] - s[None, :]) ** 2) / 2) @ mass / math.sqrt(2 * math.pi)
        s, mass = to, last * weights * density
    return 1 - math.fsum(mass)


# -------------------------------------------------------------------------------------------------------- helpers


def _student(differences: Sequence[float], margin: float, field: str = "differences") -> Paired:
    return paired(numbers(field, differences, count=2), number("margin", margin), 0.0)


def _chance(chance: Any, alpha: float) -> None:
    if not level("alpha", alpha) <= number("chance", chance) < 1:
        raise ConfigError(f"chance: received {chance!r}; give a number from alpha = {alpha} up to, not including, 1.")


def _upper(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))


def _noncentrality(t: float, freedom: int, alpha: float) -> tuple[float, float] | None:
    """The noncentralities that put t at the upper and at the lower alpha/2 point; None beyond |t| = 1000."""
    from scipy.optimize import brentq
    from scipy.special import chdtri, nctdtr, ndtri

    if abs(t) > 1000:
        return None
    if t < 0:
        mirrored = _noncentrality(-t, freedom, alpha)
        return None if mirrored is None else (-mirrored[1], -mirrored[0])
    least = float(ndtri(alpha / 2)) - 1  # one below the lower end for t = 0
    most = t * math.sqrt(chdtri(freedom, alpha / 4) / freedom) - float(
        ndtri(alpha / 4)
    )  # Bonferroni: t = (z + centre) / s
    low, high = (
        float(brentq(lambda centre: float(nctdtr(freedom, centre, t)) - p, least, most))  # noqa: B023 - used at once
        for p in (1 - alpha / 2, alpha / 2)
    )
    return low, high
