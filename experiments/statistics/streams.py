"""Streams of forty hypotheses tested one after the other: how many of the supported ones are wrong."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from laws import Array
from novum.stats.boundaries import boundaries
from novum.stats.stream import Past, next_level

LENGTH, PAIRS, ALPHA = 40, 20, 0.05
LEVELS = tuple(float(each) for each in np.geomspace(0.45, 1e-5, 60))
RULES = ("each at 5 %", "Bonferroni", "lord++", "lond")


@lru_cache(maxsize=1)
def _bounds() -> tuple[tuple[int, ...], Array]:
    """asinh of the critical t at each look (columns) for each level (rows), levels falling."""
    looks = tuple(range(3, PAIRS + 1))
    return looks, np.arcsinh([boundaries(looks, level) for level in LEVELS])


def smallest_levels(x: Array) -> Array:
    """For each row of differences, the smallest level at which the sequential t-test supports it; 1: none does.

    Boundaries between two levels of the grid are interpolated, on the scales on which they are nearly straight.
    """
    looks, bounds = _bounds()
    n = np.array(looks)
    total, square = np.cumsum(x, axis=1)[:, n - 1], np.cumsum(x * x, axis=1)[:, n - 1]
    t = np.arcsinh(total / n / np.sqrt((square - total**2 / n) / (n - 1) / n))
    found = np.ones(len(x))
    for at in range(len(looks)):
        log = np.interp(t[:, at], bounds[:, at], np.log(LEVELS), left=0.0)
        found = np.minimum(found, np.exp(log))
    return found


def _level(rule: str, history: list[Past]) -> float:
    if rule == "each at 5 %":
        return ALPHA
    return ALPHA / LENGTH if rule == "Bonferroni" else float(next_level(rule, ALPHA, history).level)


def run(effect: float, true: float, shared: bool, rule: str, studies: int, seed: int) -> dict[str, Any]:
    """False-discovery rate and power over many streams.

    effect: of the true hypotheses, in standard deviations of the paired difference. true: their share. shared: all
    hypotheses of a stream are compared with the same control runs, else each with fresh ones.
    """
    g = np.random.Generator(np.random.PCG64(seed))
    wrong, hit, many = [], [], 0
    for _ in range(studies):
        real = g.random(LENGTH) < true
        treated = g.standard_normal((LENGTH, PAIRS)) / math.sqrt(2)
        control = g.standard_normal((1 if shared else LENGTH, PAIRS)) / math.sqrt(2)
        levels = smallest_levels(treated - control + effect * real[:, None])
        history: list[Past] = []
        for needed in levels.tolist():
            level = _level(rule, history)
            history.append(Past(level, finished=True, rejected=needed <= level))
        said = np.array([each.rejected for each in history])
        false = int((said & ~real).sum())
        wrong.append(false / max(1, int(said.sum())))
        many += false >= 3
        if real.any():
            hit.append(float((said & real).sum() / real.sum()))
    return {
        "fdr": float(np.mean(wrong)),
        "error": float(np.std(wrong) / math.sqrt(studies)),
        "power": float(np.mean(hit)),
        "clusters": many / studies,
        "studies": studies,
    }
