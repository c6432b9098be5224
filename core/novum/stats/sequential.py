"""The decision of a sequential test: pure over its design and the differences, look after look.

Outcome and interval are one thing: the interval holds the effects that are not rejected at the look, its ends are
rounded to nine significant digits, and the rounded ends decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from novum.stats import inputs
from novum.stats.boundaries import boundaries, significant
from novum.stats.design import Design

DEGENERATE = 1e-9
"""A standard deviation at most this share of the largest difference means that the seeds do not vary."""
SPREAD_KNOWN = 4
"""Pairs from which a question may be given up: fewer say too little of their own spread."""
HOLES = 8
"""Parts of the rejected range that are looked into for an m that is not rejected."""
TOLERANCE = 1e-5
"""Width to which an interval's end is searched, in shares of the range of the differences."""
GRID = tuple(float(f"{digit}e-{power}") for power in range(1, 7) for digit in (4, 3, 2, 1.5, 1, 0.7, 0.5))
"""Levels at which `anytime_p` asks whether the test would have rejected, falling."""


@dataclass(frozen=True)
class Look:
    """What is seen at n pairs.

    mean: of the differences; for the sign test the share of wins less one half, a tie being half a win. deviation:
    their standard deviation, the resolution's share included. low, high: ends of the interval; None where it is open
    on that side, since no effect can be rejected there yet. t: (mean - null) in standard errors; None where these are
    0. wins: pairs with a difference above 0.
    """

    n: int
    mean: float
    deviation: float
    low: float | None
    high: float | None
    t: float | None
    wins: int


@dataclass(frozen=True)
class Decision:
    """Where a test stands after n pairs.

    outcome: "supported", "equivalent", "refuted", "inconclusive", or None while it is open. reason: "support",
    "equivalence", "refutation", "no variation", "futility" or "budget"; "" while it is open.
    """

    n: int
    outcome: str | None
    reason: str
    look: Look


def judge(design: Design, x: Sequence[float]) -> Decision:
    """Look after look up to len(x); the first look that decides, whatever came after it.

    x: the differences treatment minus control in the order of their seeds, above 0 where the treatment is better.
    At each look in this order: differences that are all equal decide nothing; supported; equivalent; refuted; given
    up for futility (from four pairs on); inconclusive at the last look. Raises ConfigError for no or a bad difference.
    """
    values = inputs.numbers("differences", x)
    n, outcome, reason = _walk(design, values)
    return Decision(n, outcome, reason, _look(design, values[:n]))


def looks(design: Design, x: Sequence[float]) -> list[Look]:
    """Every look up to where `judge` stops, with its interval."""
    values = inputs.numbers("differences", x)
    stop = _walk(design, values)[0]
    return [_look(design, values[:n]) for n in design.looks if n <= stop]


def _walk(design: Design, x: tuple[float, ...]) -> tuple[int, str | None, str]:
    n = len(x)
    crossed = None if design.upper else _crossings(design, x)
    for look in design.looks:
        if look > len(x):
            break
        n = look
        if crossed is None:
            outcome, reason = _at(design, x[:look])
        else:
            rejected = [each is not None and each <= look for each in crossed]
            outcome, reason = _ruled(design, x[:look], (rejected[0], rejected[1], rejected[2]))
        if outcome is not None:
            return look, outcome, reason
    return n, None, ""


Rejected = tuple[bool, bool, bool]
"""Whether the effects up to null, up to -claimed, and from claimed on are rejected."""


@lru_cache(maxsize=16384)
def _at(design: Design, x: tuple[float, ...]) -> tuple[str | None, str]:
    """What the look at exactly these pairs decides by its interval of t, given that no earlier one did."""
    look = _look(design, x)
    low, high = look.low, look.high
    rejected = (
        low is not None and low > design.null,
        low is not None and low > -design.claimed,
        high is not None and high < design.claimed,
    )
    return _ruled(design, x, rejected)


def _ruled(design: Design, x: tuple[float, ...], rejected: Rejected) -> tuple[str | None, str]:
    """The outcome of a look, in the order in which outcomes are tested."""
    last = len(x) == design.looks[-1]
    above, beyond, below = rejected
    if not _varies(x):
        return ("inconclusive", "no variation") if last else (None, "")
    if above:
        return "supported", "support"
    if design.claimed > 0 and beyond and below:
        return "equivalent", "equivalence"
    if below:
        return "refuted", "refutation"
    if last:
        return "inconclusive", "budget"
    able = design.futility > 0 and len(x) >= SPREAD_KNOWN and design.method != "e-process"
    hopeless = able and _chance(design, x) < design.futility
    return ("inconclusive", "futility") if hopeless else (None, "")


def _chance(design: Design, x: tuple[float, ...]) -> float:
    """The predictive power of what has to be out of reach before the question is given up."""
    support, refute = _predictive(design, x)
    return support if design.give_up == "support" else max(support, refute)


def _varies(x: Sequence[float]) -> bool:
    mean = math.fsum(x) / len(x)
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in x) / max(len(x) - 1, 1))
    return spread > DEGENERATE * max(abs(each) for each in x)


Crossing = Callable[[float], int | None]


@lru_cache(maxsize=4096)
def _crossings(design: Design, x: tuple[float, ...]) -> tuple[int | None, int | None, int | None]:
    """The first looks that reject the effects up to null, up to -claimed, and from claimed on; None: none does.

    One pass over all pairs tells them, as a longer series never changes an earlier look.
    """
    rises, falls = _tests(design, x)
    beyond = rises(-design.claimed) if design.claimed > 0 else None  # asked for equivalence alone
    return rises(design.null), beyond, falls(design.claimed)


def _tests(design: Design, x: tuple[float, ...]) -> tuple[Crossing, Crossing]:
    """Tests of "the effect is at most m" and "it is at least m": the first look up to len(x) that rejects it."""
    if design.method == "sequential-sign":
        from novum.stats import sign

        won, lost = [each > 0 for each in x], [each < 0 for each in x]
        return (
            lambda m: sign.crossed(won, design.looks, design.support, 0.5 + m, design.rho),
            lambda m: sign.crossed(lost, design.looks, design.refute, 0.5 - m, design.rho),
        )
    from novum.stats import signflip

    mirrored = tuple(-each for each in x)
    return (
        lambda m: signflip.crossed(x, m, design.looks, design.support, design.rho, design.seed),
        lambda m: signflip.crossed(mirrored, -m, design.looks, design.refute, design.rho, design.seed),
    )


# ------------------------------------------------------------------------------------------------------- intervals


Rejects = Callable[[float], bool]


@lru_cache(maxsize=4096)
def _look(design: Design, x: tuple[float, ...]) -> Look:
    n, values = len(x), _values(design, x)
    mean = math.fsum(values) / n
    raw = math.fsum((each - mean) ** 2 for each in values) / (n - 1) if n > 1 else 0.0
    deviation = math.sqrt(raw + _floor(design))
    error = deviation / math.sqrt(n)
    t = (mean - design.null) / error if error > 0 else None
    look = Look(n, mean, deviation, None, None, t, sum(each > 0 for each in x))
    if n not in design.looks or not _varies(x):
        return look
    if design.upper:
        place = design.looks.index(n)
        up, down = design.upper[place], design.lower[place]
        low = None if up is None else significant(mean - up * error)
        high = None if down is None else significant(mean + down * error)
        return replace(look, low=low, high=high)
    rises, falls = _tests(design, x)
    bottom, top = (-0.5, 0.5) if design.method == "sequential-sign" else (min(x), max(x))
    low = _end(lambda m: rises(m) is not None, (design.null, -design.claimed), bottom, top)
    high = _end(lambda m: falls(-m) is not None, (-design.claimed,), -top, -bottom)
    if design.method == "sequential-sign":  # the search begins a hair outside of what a probability can be
        low, high = (None if end is None else max(end, -0.5) for end in (low, high))
    return replace(look, low=low, high=None if high is None else -high)


def _floor(design: Design) -> float:
    """The variance that the metric's steps hide; signs have none."""
    return 0.0 if design.method == "sequential-sign" else design.resolution**2 / 12


def _values(design: Design, x: Sequence[float]) -> Sequence[float]:
    """The differences; for the sign test a win is 1/2, a loss -1/2, a tie 0."""
    if design.method != "sequential-sign":
        return x
    return [math.copysign(0.5, each) if each else 0.0 for each in x]


def _end(rejects: Rejects, anchors: Sequence[float], bottom: float, top: float) -> float | None:
    """The largest m that is rejected, by bisection; None where none is.

    The anchors, at which the test decides, are asked first: a rejected one lies below the end that is given, and one
    that is not rejected lies on or above it, so that the end never disagrees with the decision.
    """
    span = top - bottom
    low, high = bottom - span * 1e-6, top + span * 1e-6
    refused = [m for m in anchors if rejects(m)]
    passed = [m for m in anchors if m not in refused]
    if refused:
        low = max([*refused, low] if rejects(low) else refused)
    elif not rejects(low):
        return None
    high = min([each for each in passed if each > low] + [max(high, low + span * TOLERANCE)])
    low, high = _bisect(rejects, low, high, span * TOLERANCE)
    floor = max(refused, default=bottom)
    for at in range(1, HOLES):  # deleted paths depend on m, so that what is rejected need not be quite an interval
        inner = floor + (low - floor) * at / HOLES
        if inner < low and not rejects(inner):
            low, _ = _bisect(rejects, floor + (low - floor) * (at - 1) / HOLES, inner, span * TOLERANCE)
            break
    end = significant(low)
    if refused and end <= max(refused):  # rejected at the anchor, and not a millionth further: it lies above
        end = _next(max(refused))
    return min([end, *(significant(each) for each in passed)])


def _bisect(rejects: Rejects, low: float, high: float, width: float) -> tuple[float, float]:
    """A rejected and a passed m so close to each other, from a rejected and a passed one."""
    while high - low > width:
        middle = (low + high) / 2
        low, high = (middle, high) if rejects(middle) else (low, middle)
    return low, high


def _next(value: float) -> float:
    """The next larger number of nine significant digits."""
    if value == 0:
        return 1e-12
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 8)
    return significant(value + step)


# ----------------------------------------------------------------------------------------------- predictive power, p


def predictive(design: Design, x: Sequence[float]) -> tuple[float, float]:
    """The chance, as things stand, that support and that refutation will be reached at the last look.

    With z the normal score of t at this look, c that of the final bound, f the share of pairs seen:
    Φ((z - c√f) / √(1 - f)) (predictive power: Spiegelhalter, Freedman & Blackburn 1986). Each is 1 or 0 where the
    differences do not vary. For the two sign tests the bound is that of the t-test of the same level, and for the
    e-process that of a single look: both are approximate, and decide at most to give up.
    """
    return _predictive(design, inputs.numbers("differences", x, 2))


@lru_cache(maxsize=16384)
def _predictive(design: Design, x: tuple[float, ...]) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri, stdtr

    values = _values(design, x)
    n, pairs = len(values), design.looks[-1]
    mean = math.fsum(values) / n
    raw = math.fsum((each - mean) ** 2 for each in values) / (n - 1)
    error = math.sqrt(raw + _floor(design)) / math.sqrt(n)
    found = []
    for gap, level in ((mean - design.null, design.support), (design.claimed - mean, design.refute)):
        if n >= pairs or error <= DEGENERATE * max(abs(each) for each in values):
            found.append(float(gap > 0))
            continue
        z = -float(ndtri(stdtr(n - 1, -gap / error)))
        c = -float(ndtri(stdtr(pairs - 1, -_final(design, level))))
        share = n / pairs
        found.append(float(ndtr((z - c * math.sqrt(share)) / math.sqrt(1 - share))))
    return found[0], found[1]


def _final(design: Design, level: float) -> float:
    """The bound of t at the last look."""
    if design.method == "e-process":
        return boundaries((design.looks[-1],), level)[-1]
    return boundaries(design.looks, level, design.rho)[-1]


def anytime_p(design: Design, x: Sequence[float]) -> float | None:
    """A p-value that holds at any look: the smallest level, of `GRID` and the design's own, at which the test would
    have supported by now.

    For the e-process 1 / the largest evidence so far (Ville's inequality), at most 1. None where no level below one
    half is crossed. It is an upper bound: the exact one lies above the next smaller level of the grid.
    """
    values = inputs.numbers("differences", x)
    if design.method == "e-process":
        return _e_value(design, values)
    grid = sorted({*GRID, design.support}, reverse=True)  # so that p never exceeds the level of what is supported
    own = grid.index(design.support)
    low = own if _varies(values) and _supports(design, values, design.support) else 0  # sign paths need not nest
    if not _varies(values) or not _supports(design, values, grid[low]):
        return None
    high = len(grid)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _supports(design, values, grid[middle]) else (low, middle)
    return grid[low]


def _supports(design: Design, x: tuple[float, ...], level: float) -> bool:
    """Whether the same test at another level would have supported by now."""
    if design.method != "sequential-t":
        return _tests(replace(design, support=level), x)[0](design.null) is not None
    critical = boundaries(design.looks, level, design.rho)
    for n, bar in zip(design.looks, critical, strict=True):
        if n > len(x):
            break
        t = _look(design, x[:n]).t
        if t is not None and t > bar and _varies(x[:n]):
            return True
    return False


def _e_value(design: Design, x: tuple[float, ...]) -> float | None:
    from novum.stats import eprocess

    found = [_look(design, x[:n]).t for n in design.looks if n <= len(x) and _varies(x[:n])]
    counts = [n for n in design.looks if n <= len(x) and _varies(x[:n])]
    largest = max((eprocess.evidence(t, n) for t, n in zip(found, counts, strict=True) if t is not None), default=0.0)
    return 1 / largest if largest > 1 else None
