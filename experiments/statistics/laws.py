"""Laws of paired differences with mean 0, for simulations; the first eight are symmetric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shape = tuple[int, int]


def _outliers(g: np.random.Generator, shape: Shape) -> Array:
    return g.standard_normal(shape) * np.where(g.random(shape) < 0.1, 10.0, 1.0)


def _uneven(g: np.random.Generator, shape: Shape) -> Array:
    return g.standard_normal(shape) * np.exp(g.standard_normal(shape))


def _growing(g: np.random.Generator, shape: Shape) -> Array:
    return g.standard_normal(shape) * np.linspace(1.0, 3.0, shape[1])


def _bimodal(g: np.random.Generator, shape: Shape) -> Array:
    return np.where(g.random(shape) < 0.5, -1.0, 1.0) + 0.1 * g.standard_normal(shape)


def _collapse(g: np.random.Generator, shape: Shape) -> Array:
    return g.standard_normal(shape) + 1.0 - np.where(g.random(shape) < 0.1, 10.0, 0.0)


LAWS: Mapping[str, tuple[str, Callable[[np.random.Generator, Shape], Array]]] = {
    "normal": ("normal", lambda g, shape: g.standard_normal(shape)),
    "t3": ("t with 3 degrees of freedom", lambda g, shape: g.standard_t(3, shape)),
    "laplace": ("Laplace", lambda g, shape: g.laplace(size=shape)),
    "outliers": ("10 % of values ten times as large", _outliers),
    "uneven": ("a spread of its own per pair (log-normal)", _uneven),
    "growing": ("spread growing threefold over the pairs", _growing),
    "uniform": ("uniform", lambda g, shape: g.uniform(-1.0, 1.0, shape)),
    "bimodal": ("two points, ±1 with a little noise", _bimodal),
    "exponential": ("exponential, skewed to the left", lambda g, shape: 1.0 - g.exponential(size=shape)),
    "collapse": ("10 % collapses of the treatment", _collapse),
}
SYMMETRIC = tuple(LAWS)[:8]


def draw(law: str, studies: int, pairs: int, seed: int) -> Array:
    """Differences [studies, pairs] of the law, from a seed."""
    return LAWS[law][1](np.random.Generator(np.random.PCG64(seed)), (studies, pairs))
