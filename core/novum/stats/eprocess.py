"""Evidence that needs no declared maximum: the right-Haar t e-process, and the bound it puts on t.

Eₙ is the ratio of the laws of tₙ under a standardised effect δ and under none; it is an e-process for the composite
null (any σ), so that P(Eₙ ≥ 1/α at any n) ≤ α (Pérez-Ortiz, Lardy, de Heide & Grünwald 2022, arXiv 2208.07610).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from novum.errors import ConfigError
from novum.stats.boundaries import significant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Standardised effects (mean / σ) over which the evidence is averaged; a mean of e-processes is one."""

NODES = 192
"""Points of the quadrature; 400 give the same nine digits."""


def evidence(t: float, n: int, effect: float | Sequence[float] = EFFECTS) -> float:
    """Eₙ at the statistic t of n ≥ 2 differences, averaged over the effects δ > 0.

    Eₙ = nct(t; n - 1, √n δ) / t(t; n - 1), the ratio of the noncentral to the central density. Above 1 it speaks for
    a positive effect; math.inf where it exceeds the largest float.
    """
    import numpy as np

    if n < 2:
        raise ConfigError(f"n: {n} differences have no t statistic; needs at least 2")
    effects = (float(effect),) if isinstance(effect, int | float) else tuple(float(each) for each in effect)
    share = 1.0 if math.isinf(t) and t > 0 else t / math.sqrt(n - 1 + t * t)
    log, _ = _log_evidence(np.array([float(n)]), np.array([share]), effects)
    return math.exp(log[0]) if log[0] < 709 else math.inf


@lru_cache(maxsize=1024)
def critical(looks: tuple[int, ...], level: float) -> tuple[float | None, ...]:
    """At each look the t at which the averaged evidence reaches 1 / level, nine significant digits.

    None where no t reaches it: Eₙ is bounded in t, so that few pairs cannot decide. With s = t/√(n - 1 + t²), log Eₙ
    is convex and increasing in s, so that Newton's steps from s = 1 fall onto the root from above.
    """
    import numpy as np

    n = np.array(looks, dtype=float)
    share, goal = np.ones_like(n), -math.log(level)
    log, slope = _log_evidence(n, share, EFFECTS)
    able = log > goal
    for _ in range(40):
        step = np.where(able, (log - goal) / slope, 0.0)
        share = share - step
        if float(np.max(np.abs(step), initial=0.0)) < 1e-15:
            break
        log, slope = _log_evidence(n, share, EFFECTS)
    t = share * np.sqrt(n - 1) / np.sqrt(np.maximum(1 - share**2, 1e-300))
    return tuple(significant(float(each)) if can else None for each, can in zip(t, able, strict=True))


def _log_evidence(n: Array, share: Array, effects: tuple[float, ...]) -> tuple[Array, Array]:
    """Log Eₙ and its slope in s, at one s for each n.

    For one effect, Eₙ = exp(-nδ²/2) · E[exp(z W)] with W ~ chi(n) and z = √n δ s (the integral form of the
    noncentral t density). In y = log w the integrand is smooth and vanishes at both ends: the trapezium rule.
    """
    import numpy as np
    from scipy.special import gammaln, logsumexp

    n, share, delta = n[:, None, None], share[:, None, None], np.array(effects)[None, :, None]
    shift = np.sqrt(n) * delta
    z = shift * share
    peak = (z + np.sqrt(z * z + 4 * n)) / 2
    width = 1 / np.sqrt(peak * peak + n)
    left, right = np.maximum(9 * width, 45 / n), 9 * width
    grid = np.linspace(0.0, 1.0, NODES)[None, None, :]
    y = np.log(peak) - left + (left + right) * grid
    w = np.exp(y)
    body = n * y - w * w / 2 + z * w
    top = body.max(axis=2, keepdims=True)
    weight = np.exp(body - top)
    total = weight.sum(axis=2)
    lean = (weight * w).sum(axis=2) / total
    spacing = ((left + right) / (NODES - 1))[:, :, 0]
    norm = gammaln(n[:, :, 0] / 2) + (n[:, :, 0] / 2 - 1) * math.log(2)
    log = np.log(total * spacing) + top[:, :, 0] - norm - (shift * shift)[:, :, 0] / 2
    mean = logsumexp(log, axis=1) - math.log(len(effects))
    slope = np.sum(np.exp(log - logsumexp(log, axis=1, keepdims=True)) * shift[:, :, 0] * lean, axis=1)
    return mean, slope


def wang_ramdas(x: Sequence[float], c2: float = 1.0) -> float:
    """The Gaussian mixture e-value of Wang & Ramdas (2024, arXiv 2310.03722) against mean 0 at unknown σ.

    √(c²/(n + c²)) · ((n + c²) V / ((n + c²) V - S²))^(n/2) with S = Σx and V = Σx². For comparison: it needs about
    twice the pairs of `evidence`. x: at least 1 number, not all 0; c2: the precision of the mixture, > 0.
    """
    n, total, square = len(x), math.fsum(x), math.fsum(each * each for each in x)
    if n == 0 or not square > 0 or not math.isfinite(square):
        raise ConfigError(f"x: {list(x)} has no mixture evidence; needs finite numbers that are not all 0")
    if not c2 > 0:
        raise ConfigError(f"c2: {c2} is no precision; needs a number above 0")
    whole = (n + c2) * square
    return math.sqrt(c2 / (n + c2)) * float((whole / (whole - total * total)) ** (n / 2))
