"""Reusing evaluation data: what the best of many looks like by chance, and when a split's items are worn or too few."""

from __future__ import annotations

import math
from collections.abc import Sequence

from novum.errors import ConfigError
from novum.stats import inputs

QUERIES_PER_ITEM = 50
"""One question to a split per so many items is still harmless; more are warned about."""


def ladder(losses: Sequence[float], eta: float) -> tuple[float, ...]:
    """The Ladder (Blum & Hardt 2015): after each submission the best loss, as far as it may be told.

    losses: of the submissions in order, on the same items. eta: a submission is told only where it is better than the
    best told so far by more than eta; its loss is then rounded to a multiple of eta.
    """
    step = inputs.positive("eta", eta)
    best, told = math.inf, []
    for loss in inputs.numbers("losses", losses):
        if loss < best - step:
            best = round(loss / step) * step
        told.append(best)
    return tuple(told)


def parameter_free_ladder(losses: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The Ladder without a parameter (Blum & Hardt 2015, section 4): the step is what the items' noise makes of it.

    losses: per submission the loss of each of the n items, in the same order. A submission is told where its mean loss
    is below the best one's by more than the standard deviation of their per-item difference over √n; the mean is then
    rounded to a multiple of 1 / n. Raises ConfigError for submissions of different lengths.
    """
    best: tuple[float, ...] | None = None
    told: list[float] = []
    for at, submission in enumerate(losses):
        items = inputs.numbers(f"losses[{at}]", submission)
        n = len(items)
        if best is not None and len(best) != n:
            raise ConfigError(
                f"losses[{at}]: received {n} items after {len(best)}; every submission has the same items."
            )
        if best is None or _gain(best, items) > _noise(best, items):
            best = items
            told.append(round(math.fsum(items)) / n)
        else:
            told.append(told[-1])
    return tuple(told)


def _gain(before: Sequence[float], after: Sequence[float]) -> float:
    return math.fsum(a - b for a, b in zip(before, after, strict=True)) / len(before)


def _noise(before: Sequence[float], after: Sequence[float]) -> float:
    n, mean = len(before), _gain(before, after)
    spread = math.fsum((a - b - mean) ** 2 for a, b in zip(before, after, strict=True)) / n
    return math.sqrt(spread / n)


def winners_curse(candidates: int, items: int, accuracy: float) -> float:
    """By how much the best of equally good candidates looks better than it is, on a split of so many items.

    The expected largest of k standard normals times √(a (1 - a) / n): the candidates' errors are taken as independent,
    which overstates it where their answers agree. accuracy: within 0..1, of all of them.
    """
    import numpy as np
    from scipy.special import ndtr

    count = inputs.whole("candidates", candidates, 1)
    n = inputs.whole("items", items, 1)
    share = inputs.number("accuracy", accuracy, 0.0, 1.0)
    z = np.linspace(-9.0, 9.0, 4001)
    density = count * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * ndtr(z) ** (count - 1)
    return float(np.trapezoid(z * density, z)) * math.sqrt(share * (1 - share) / n)


def warnings(queries: int, items: int, gain: float, sd: float) -> list[str]:
    """Sentences that a reader of a claim on these items should know; none where all is well.

    queries: arms scored on them before. items: how many there are. gain: the mean difference that is claimed. sd: of
    the per-item differences, at least 0. It warns of more than one query per 50 items, and of a gain below
    2 sd / √items. Raises ConfigError for what is no such number: NaN would compare as "all is well".
    """
    queries, items = inputs.whole("queries", queries, 0), inputs.whole("items", items, 1)
    gain, sd = inputs.number("gain", gain), inputs.number("sd", sd, 0.0)
    said = []
    if queries > items / QUERIES_PER_ITEM:
        said.append(
            f"{queries} arms have been scored on these {items} items of dev before, more than one per "
            f"{QUERIES_PER_ITEM}: what was chosen by looking at them looks better there than it is."
        )
    error = sd / math.sqrt(items)
    if abs(gain) < 2 * error:
        said.append(
            f"The gain, {gain:.3g}, is less than twice the standard error of {error:.2g} that the {items} items of dev "
            "alone give it: other items might not show it, however many seeds are run."
        )
    return said
