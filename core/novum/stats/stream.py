"""Error control over a stream of hypotheses: at which level the next one is tested, whatever comes after it.

Each rule fixes a level before its test starts, from the outcomes known by then, so that the expected share of false
discoveries among all discoveries (the false-discovery rate) stays below alpha however long the stream grows.
`next_level` is what the ledger's account uses; below it are the published algorithms on a list of p-values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from novum.errors import ConfigError
from novum.stats import inputs

RULES = ("lord++", "lond", "none")
Gamma = Callable[[int], float]


def gamma(j: int) -> float:
    """0.4375 j^-1.6, j from 1; it sums to one, and spends earlier than the published defaults: for short streams."""
    return float(0.4375 * j**-1.6)


def gamma_lord(j: int) -> float:
    """The default of LORD and LOND in the package onlineFDR: ∝ log(max(j, 2)) / (j exp √log j)."""
    return 0.07720838 * math.log(max(j, 2)) / (j * math.exp(math.sqrt(math.log(j))))


def gamma_saffron(j: int) -> float:
    """The default of SAFFRON and ADDIS in the package onlineFDR: ∝ j^-1.6."""
    return float(0.4374901658 * j**-1.6)


@dataclass(frozen=True)
class Past:
    """An earlier hypothesis of the stream: its level, whether its verdict is known by now, and whether it rejected."""

    level: float
    finished: bool
    rejected: bool


@dataclass(frozen=True)
class Spent:
    """What the account gives the next hypothesis.

    index: its place, from 1. level: rounded down to 9 significant digits. wealth_before, wealth_after: alpha-wealth,
    what was earned less what was spent (LORD++); the other rules keep no account, and both are alpha.
    """

    index: int
    level: float
    wealth_before: float
    wealth_after: float
    rule: str


def next_level(rule: str, alpha: float, history: Sequence[Past]) -> Spent:
    """The level of the next hypothesis of a stream.

    rule: "lord++" (Ramdas et al. 2017, with w₀ = alpha / 2), "lond" (Javanmard & Montanari 2015), both with γⱼ =
    0.4375 j^-1.6, or "none", which tests each at alpha. A test that has not finished counts as no rejection, as in the
    asynchronous form (Zrnic, Ramdas & Jordan 2021). Raises ConfigError for an unknown rule or an alpha outside
    (0, 0.5).
    """
    if rule not in RULES:
        raise ConfigError(f"rule: received {rule!r}; allowed: {', '.join(RULES)}.")
    _check_alpha(alpha)
    index = len(history) + 1
    rejections = [at for at, each in enumerate(history, start=1) if each.finished and each.rejected]
    if rule == "lond":
        level = alpha * gamma(index) * (len(rejections) + 1)
    elif rule == "none":
        level = alpha
    else:
        level = _lord(index, rejections, alpha, alpha / 2, gamma)
    level = _down(level)
    if rule != "lord++":
        return Spent(index, level, alpha, alpha, rule)
    earned = math.fsum([alpha / 2, *(alpha / 2 if at == 0 else alpha for at in range(len(rejections)))])
    before = earned - math.fsum(each.level for each in history)
    return Spent(index, level, _sig(before), _sig(before - level), rule)


def _lord(index: int, rejections: Sequence[int], alpha: float, w0: float, g: Gamma) -> float:
    """w₀ γᵢ + (alpha - w₀) γ_{i - τ₁} + alpha Σ_{j ≥ 2} γ_{i - τⱼ}; rejections before i only."""
    parts = [w0 * g(index)]
    for at, time in enumerate(time for time in rejections if time < index):
        parts.append((alpha if at else alpha - w0) * g(index - time))
    return math.fsum(parts)


# ----------------------------------------------------------------------------------------------- whole lists of p


@dataclass(frozen=True)
class Outcome:
    """The levels at which a list of p-values was tested, and the indices (from 1) that were rejected."""

    levels: tuple[float, ...]
    rejections: tuple[int, ...]


def lord_plus_plus(p: Sequence[float], alpha: float = 0.05, w0: float | None = None, g: Gamma = gamma) -> Outcome:
    """LORD++ (Ramdas, Yang, Wainwright & Jordan 2017, NeurIPS). w0: from 0 to alpha; None for alpha / 2."""
    start = _start(w0, alpha)
    return _run(p, alpha, lambda index, past: _lord(index, past, alpha, start, g))


def lord_async(
    p: Sequence[float], ends: Sequence[int], alpha: float = 0.05, w0: float | None = None, g: Gamma = gamma
) -> Outcome:
    """LORD* for tests that overlap (Zrnic, Ramdas & Jordan 2021, JMLR 22): only those that ended before count.

    ends: for each test the time at which its outcome is known, a whole number from its own index on; test i starts at
    time i.
    """
    start = _start(w0, alpha)
    _check(p, alpha)
    if len(ends) != len(p):
        raise ConfigError(f"ends: received {len(ends)} times for {len(p)} p-values; give one for each.")
    ends = [inputs.whole(f"ends[{at}]", end, at + 1) for at, end in enumerate(ends)]
    levels: list[float] = []
    rejected: list[int] = []
    for index, value in enumerate(p, start=1):
        known = sorted(ends[at - 1] for at in rejected if ends[at - 1] <= index)
        parts = [start * g(index)]
        parts += [(alpha if at else alpha - start) * g(index - time) for at, time in enumerate(known) if time < index]
        levels.append(math.fsum(parts))
        if value <= levels[-1]:
            rejected.append(index)
    return Outcome(tuple(levels), tuple(rejected))


def lond(p: Sequence[float], alpha: float = 0.05, g: Gamma = gamma) -> Outcome:
    """LOND (Javanmard & Montanari 2015): alpha γᵢ (D + 1), D the discoveries so far. Valid under PRDS."""
    return _run(p, alpha, lambda index, past: alpha * g(index) * (len(past) + 1))


def saffron(
    p: Sequence[float], alpha: float = 0.05, w0: float | None = None, bar: float = 0.5, g: Gamma = gamma_saffron
) -> Outcome:
    """SAFFRON (Ramdas, Zrnic, Wainwright & Jordan 2018): candidates, p ≤ bar, cost nothing. Independent p-values."""
    start, bar = _start(w0, alpha), inputs.number("bar", bar, 0.0, 1.0)

    def level(index: int, past: Sequence[int]) -> float:
        def candidates(since: int) -> int:
            return sum(value <= bar for value in p[since : index - 1])

        parts = [start * g(index - candidates(0))]
        for at, time in enumerate(past):
            parts.append((alpha if at else alpha - start) * g(index - time - candidates(time)))
        return min(bar, (1 - bar) * math.fsum(parts))

    return _run(p, alpha, level)


def addis(
    p: Sequence[float],
    alpha: float = 0.05,
    w0: float | None = None,
    bar: float = 0.25,
    discard: float = 0.5,
    g: Gamma = gamma_saffron,
) -> Outcome:
    """ADDIS (Tian & Ramdas 2019): as SAFFRON, and p-values above `discard`, at least bar, are passed over."""
    start, discard = _start(w0, alpha), inputs.number("discard", discard, 0.0, 1.0)
    bar = inputs.number("bar", bar, 0.0, discard)

    def level(index: int, past: Sequence[int]) -> float:
        def count(limit: float, since: int, until: int) -> int:
            return sum(value <= limit for value in p[since:until])

        place = 1 + count(discard, 0, index - 1)
        parts = [start * g(place - count(bar, 0, index - 1))]
        for at, time in enumerate(past):
            own = place - count(discard, 0, time) - count(bar, time, index - 1)
            parts.append((alpha if at else alpha - start) * g(own))
        return min(bar, (discard - bar) * math.fsum(parts))

    return _run(p, alpha, level)


def e_bh(e: Sequence[float], alpha: float = 0.05) -> tuple[int, ...]:
    """The e-value form of Benjamini-Hochberg (Wang & Ramdas 2022): indices from 1, under any dependence.

    Rejects the k largest e-values for the largest k with e₍ₖ₎ ≥ m / (alpha k).
    """
    _check_alpha(alpha)
    if any(not (isinstance(each, int | float) and each >= 0) for each in e):
        raise ConfigError(f"e: received {list(e)!r}; e-values are numbers from 0 on.")
    order = sorted(range(len(e)), key=lambda at: -e[at])
    most = max((k for k in range(1, len(e) + 1) if e[order[k - 1]] >= len(e) / (alpha * k)), default=0)
    return tuple(sorted(at + 1 for at in order[:most]))


def _run(p: Sequence[float], alpha: float, level: Callable[[int, Sequence[int]], float]) -> Outcome:
    _check(p, alpha)
    levels: list[float] = []
    rejected: list[int] = []
    for index, value in enumerate(p, start=1):
        levels.append(level(index, tuple(rejected)))
        if value <= levels[-1]:
            rejected.append(index)
    return Outcome(tuple(levels), tuple(rejected))


def _check(p: Sequence[float], alpha: float) -> None:
    _check_alpha(alpha)
    for at, value in enumerate(p, start=1):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise ConfigError(f"p: received {value!r} at place {at}; a p-value is a number from 0 to 1.")


def _start(w0: float | None, alpha: float) -> float:
    """The wealth to begin with; more than alpha would make the pay of the first rejection a fine."""
    _check_alpha(alpha)
    return alpha / 2 if w0 is None else inputs.number("w0", w0, 0.0, alpha)


def _check_alpha(alpha: float) -> None:
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 0.5:
        raise ConfigError(f"alpha: received {alpha!r}; allowed: a number above 0 and below 0.5.")


def _down(value: float) -> float:
    """Nine significant digits, never more than the value."""
    rounded = _sig(value)
    if rounded <= value:
        return rounded
    digit = 10.0 ** (math.floor(math.log10(rounded)) - 8)
    return _sig(rounded - digit)


def _sig(value: float) -> float:
    return float(f"{value:.9g}")
