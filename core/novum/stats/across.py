"""One claim over several tasks: on how many it holds, its mean effect and how far tasks differ, ranks of methods.

`partial_conjunction` tests "it holds on at least r tasks". `random_effects` generalises to tasks that were not run: it
describes and does not decide, as effects of tests that stopped early are biased upwards. `friedman` and `nemenyi`
(in `novum.stats.ranks`) compare many methods. Input that is no data raises ConfigError naming the field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from novum.errors import ConfigError
from novum.stats.inputs import level, numbers, one_of, whole

COMBINATIONS = ("bonferroni", "fisher")
HETEROGENEITY = ("dersimonian-laird", "paule-mandel")


# --------------------------------------------------------------------------------------------- partial conjunction


def partial_conjunction(p: Sequence[float], r: int, combine: str = "bonferroni") -> float:
    """The p value of "the effect is there on at least r of the k tasks" (Benjamini & Heller 2008).

    p: one p value per task, each in 0..1. r: 1 to k. combine: "bonferroni", min(1, (k - r + 1) p_(r)), valid under any
    dependence; or "fisher", which takes -2 Σ_{i≥r} ln p_(i) as χ² with 2 (k - r + 1) degrees of freedom and needs
    independent tasks.
    """
    given = numbers("p", p, least=0.0, most=1.0)
    one_of("combine", combine, COMBINATIONS)
    if whole("r", r, 1) > len(given):
        raise ConfigError(f"r: received {r}; give a number of tasks, 1 to {len(given)}.")
    return _conjunction(sorted(given), r, combine)


def count(p: Sequence[float], alpha: float = 0.05, combine: str = "bonferroni") -> int:
    """k-hat, the number of tasks on which the effect is shown: 0 to k (Dror, Baumer, Bogomolov & Reichart 2017).

    The largest r such that the partial conjunctions of 1, …, r tasks all have p ≤ alpha; the statement "at least k-hat
    tasks" is wrong with probability at most alpha. p, combine: as in `partial_conjunction`.
    """
    given = sorted(numbers("p", p, least=0.0, most=1.0))
    one_of("combine", combine, COMBINATIONS)
    level("alpha", alpha)
    for r in range(1, len(given) + 1):
        if _conjunction(given, r, combine) > alpha:
            return r - 1
    return len(given)


def _conjunction(ordered: Sequence[float], r: int, combine: str) -> float:
    from scipy.special import chdtrc

    rest = ordered[r - 1 :]
    if combine == "bonferroni":
        return min(1.0, len(rest) * rest[0])
    if rest[0] == 0:
        return 0.0
    return float(chdtrc(2 * len(rest), -2 * math.fsum(math.log(each) for each in rest)))


# -------------------------------------------------------------------------------------------------- random effects


@dataclass(frozen=True)
class RandomEffects:
    """The mean effect over a population of tasks, from k tasks. All in the unit of the effects.

    mean: weighted by 1 / (error² + tau2). error: its standard error, 1 / √(Σ weights). low, high: modified
    Knapp-Hartung interval of the mean. prediction_low, prediction_high: interval of the true effect on a new task.
    tau2: variance between tasks. q: Cochran's Q on k - 1 degrees of freedom, p: of Q, for equal effects. i2: share of
    the total variance that lies between tasks, 0..1.

    None where k tasks do not determine it: with one task low, high, tau2, q, p and i2, and the mean is that task's
    effect; with fewer than three the prediction interval.
    """

    k: int
    mean: float
    error: float
    low: float | None = None
    high: float | None = None
    prediction_low: float | None = None
    prediction_high: float | None = None
    tau2: float | None = None
    q: float | None = None
    p: float | None = None
    i2: float | None = None


def random_effects(
    effects: Sequence[float], errors: Sequence[float], *, tau: str = "dersimonian-laird", alpha: float = 0.05
) -> RandomEffects:
    """Random-effects meta-analysis of one effect per task.

    effects: estimates on one scale. errors: their standard errors, above 0. tau: how tau2 is estimated,
    "dersimonian-laird" (1986) or "paule-mandel" (1982; solved as in DerSimonian & Kacker 2007). Intervals have
    confidence 1 - alpha: that of the mean has t(k - 1) and a variance inflated, never deflated, by the weighted spread
    of the effects (Knapp & Hartung 2003, modified as in Röver, Knapp & Friede 2015); the prediction interval is that of
    Higgins, Thompson & Spiegelhalter (2009) with t(k - 2). I² is that of Higgins & Thompson (2002). With fewer than
    five tasks all of it is rough.
    """
    y = numbers("effects", effects)
    s = numbers("errors", errors)
    if len(y) != len(s):
        raise ConfigError(f"errors: received {len(s)} for {len(y)} effects; give one for each.")
    if min(s) <= 0:
        raise ConfigError(f"errors: received {min(s)}; a standard error is above 0.")
    one_of("tau", tau, HETEROGENEITY)
    level("alpha", alpha)
    return _pooled(y, s, tau, alpha)


def leave_one_out(
    effects: Sequence[float], errors: Sequence[float], *, tau: str = "dersimonian-laird", alpha: float = 0.05
) -> tuple[RandomEffects, ...]:
    """`random_effects` without task 1, without task 2, …: whether one task carries the result. Needs two tasks."""
    random_effects(effects, errors, tau=tau, alpha=alpha)
    y, s = numbers("effects", effects, count=2), numbers("errors", errors)
    return tuple(_pooled(y[:i] + y[i + 1 :], s[:i] + s[i + 1 :], tau, alpha) for i in range(len(y)))


def _pooled(y: Sequence[float], s: Sequence[float], tau: str, alpha: float) -> RandomEffects:
    from scipy.special import chdtrc, stdtrit

    k = len(y)
    if k == 1:
        return RandomEffects(1, y[0], s[0])
    _, q = _spread(y, s, 0.0)
    tau2 = (_dersimonian_laird if tau == "dersimonian-laird" else _paule_mandel)(y, s, q)
    mean, weighted = _spread(y, s, tau2)
    error = 1 / math.sqrt(math.fsum(_weights(s, tau2)))
    half = -float(stdtrit(k - 1, alpha / 2)) * error * math.sqrt(max(1.0, weighted / (k - 1)))
    further = None if k < 3 else -float(stdtrit(k - 2, alpha / 2)) * math.sqrt(tau2 + error**2)
    return RandomEffects(
        k=k,
        mean=mean,
        error=error,
        low=mean - half,
        high=mean + half,
        prediction_low=None if further is None else mean - further,
        prediction_high=None if further is None else mean + further,
        tau2=tau2,
        q=q,
        p=float(chdtrc(k - 1, q)),
        i2=max(0.0, (q - (k - 1)) / q) if q > 0 else 0.0,
    )


def _weights(s: Sequence[float], tau2: float) -> list[float]:
    return [1 / (each**2 + tau2) for each in s]


def _spread(y: Sequence[float], s: Sequence[float], tau2: float) -> tuple[float, float]:
    """The weighted mean, and the weighted sum of squares about it: Cochran's Q where tau2 is 0."""
    w = _weights(s, tau2)
    mean = math.fsum(a * b for a, b in zip(w, y, strict=True)) / math.fsum(w)
    return mean, math.fsum(a * (b - mean) ** 2 for a, b in zip(w, y, strict=True))


def _dersimonian_laird(y: Sequence[float], s: Sequence[float], q: float) -> float:
    w = _weights(s, 0.0)
    total = math.fsum(w)
    return max(0.0, (q - (len(y) - 1)) / (total - math.fsum(each**2 for each in w) / total))


def _paule_mandel(y: Sequence[float], s: Sequence[float], q: float) -> float:
    """The tau2 at which the weighted sum of squares is k - 1; 0 where it is smaller even at 0.

    Newton's steps on a convex falling function come from below and do not overshoot.
    """
    freedom, tau2, spread = len(y) - 1, 0.0, q
    while spread > freedom * (1 + 1e-13):
        mean, _ = _spread(y, s, tau2)
        slope = math.fsum((a * (b - mean)) ** 2 for a, b in zip(_weights(s, tau2), y, strict=True))
        step = (spread - freedom) / slope
        if tau2 + step == tau2:
            break
        tau2 += step
        _, spread = _spread(y, s, tau2)
    return tau2
