"""What a design can see: its outcomes under an assumed effect and spread, by seeded simulation.

Differences are drawn as N(effect, σ²) and judged by the rules of `novum.stats.sequential.judge`, all studies at once.
Every effect meets the same draws (common random numbers), so that a power curve is smooth and equal calls give equal
bytes. Two methods are special. The sequential sign test needs no draws: its number of wins is binomial, and the shares
are exact. The sequential sign-flip test is replaced by the t-test of the same levels whose looks begin where the
sign-flip test can accept: within about a point of power of the exact test under normal differences, and labelled
`approximate`. The step of the metric (resolution) is ignored: where it matters beside σ, power is lower than shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from novum.errors import ConfigError
from novum.stats import inputs
from novum.stats.boundaries import boundaries
from novum.stats.design import Design, earliest, smallest
from novum.stats.design import design as designed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STUDIES = 4000
"""Simulated studies where a number is searched for: power ± 0.6 points (one standard error) at 80 %."""

CELLS = 2_000_000
"""Differences drawn at once: bounds the memory, changes no result."""

BLOCKS = 64
"""Beyond so many looks `pairs_for` lets the mean of a block of pairs stand for one pair, and the sign test gives up by
the bound of so many: both move power by less than a point, and spare seconds."""

OUTCOMES = ("supported", "equivalent", "refuted", "inconclusive")


@dataclass(frozen=True)
class Outcomes:
    """How often a design ends how, and after how many pairs on average, at one true effect.

    effect: in the metric's units (sequential-sign: P(win) - 1/2). supported, equivalent, refuted, inconclusive:
    shares in 0..1 that add up to 1. pairs: mean number of pairs used. studies: how many were simulated; None where the
    shares are exact. approximate: another test stood in for the design's own.
    """

    effect: float
    supported: float
    equivalent: float
    refuted: float
    inconclusive: float
    pairs: float
    studies: int | None
    approximate: bool = False


def simulate(design: Design, effect: float, sd: float, *, studies: int = 20_000, seed: int = 0) -> Outcomes:
    """Outcomes of the design when the true mean difference is `effect`.

    sd: standard deviation of the paired differences, above 0, in the unit of effect. For sequential-sign, effect is
    P(win) - 1/2 as are the design's margins, within ±0.5, and sd, studies and seed change nothing. Raises ConfigError.
    """
    inputs.number("effect", effect)
    inputs.positive("sd", sd)
    inputs.whole("studies", studies, 1)
    return _share(design, effect, sd, _draw(design.looks, studies, seed), studies)


def judge_many(design: Design, x: Array) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """What `judge` says of many studies at once: for simulations under differences of any law.

    design: sequential-t or e-process; sequential-sign-flip is judged by its stand-in. x: [studies, pairs] with
    looks[-1] pairs. Returns for each study an index into `OUTCOMES`, and the pairs used. Raises ConfigError.
    """
    import numpy as np

    if design.method == "sequential-sign":
        raise ConfigError(f"method: {design.method!r} judges wins, not values; use `simulate`, which is exact.")
    if x.ndim != 2 or x.shape[1] != design.looks[-1] or not np.isfinite(x).all():
        raise ConfigError(f"x: received shape {x.shape}; give finite values [studies, {design.looks[-1]}].")
    means, deviations = _moments(x, design.looks)
    return _walk(design, means, np.sqrt(deviations**2 + design.resolution**2 / 12))


def detectable(
    design: Design, sd: float, chance: float = 0.8, *, studies: int = STUDIES, seed: int = 0
) -> float | None:
    """The smallest true effect that is supported with this chance, in the unit of sd; for sequential-sign P(win) - 1/2.

    chance: from 0.01 to 0.99. By bisection, to a thousandth of σ. None where no effect reaches the chance: the design
    has no look at which its level can be spent (few pairs at a small level), or the margin of a sign test leaves no
    room below certainty.
    """
    inputs.positive("sd", sd)
    inputs.number("chance", chance, 0.01, 0.99)
    inputs.whole("studies", studies, 1)
    if earliest(design) is None:
        return None
    signs = design.method == "sequential-sign"
    step, most = (0.5 - design.null, 0.5) if signs else (sd, math.inf)
    draws = [] if signs else list(_draw(design.looks, studies, seed))

    def reached(effect: float) -> bool:
        return _share(design, effect, sd, draws, studies).supported >= chance

    low, high = design.null, min(most, design.null + step)
    while not reached(high):
        if high >= most or high - design.null > 1e9 * sd:
            return None
        low, high = high, design.null + 2 * (high - design.null)
    while high - low > step / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


GRID = (0.5, 1.0, 1.5, 2.0)
"""Effects of a power table, in σ above the claimed effect."""


def table(
    design: Design, sd: float, effects: Sequence[float] | None = None, *, studies: int = 20_000, seed: int = 0
) -> list[Outcomes]:
    """Outcomes at several true effects, in increasing order.

    effects: by default no effect, the null bound, halfway to the claimed effect, the claimed effect, and 0.5, 1, 1.5
    and 2 σ above it (sequential-sign: quarters of the way from there to certainty), without repetition.
    """
    inputs.positive("sd", sd)
    inputs.whole("studies", studies, 1)
    signs = design.method == "sequential-sign"
    if effects is None:
        unit = (0.5 - design.claimed) / 2 if signs else sd
        known = (0.0, design.null, (design.null + design.claimed) / 2, design.claimed)
        effects = sorted({*known, *(design.claimed + each * unit for each in GRID)})
    for each in effects:
        inputs.number("effects", each)
    draws = [] if signs else list(_draw(design.looks, studies, seed))
    return [_share(design, each, sd, draws, studies) for each in sorted(effects)]


def pairs_for(
    method: str,
    alpha: float,
    effect: float,
    sd: float,
    null: float = 0.0,
    claimed: float = 0.0,
    chance: float = 0.8,
    most: int = 1000,
    batch: int = 1,
    *,
    studies: int = STUDIES,
    seed: int = 0,
) -> int | None:
    """The least declared maximum of pairs at which `effect` is supported with this chance; a multiple of batch.

    By bisection: power grows with the maximum, but for the steps of the two sign tests, where one a step smaller may
    do as well. With more than `BLOCKS` batches the t-test, and the sign-flip test with it, is judged on that many
    blocks of pairs, which errs by about one pair in a hundred, towards more. None where `most` pairs do not reach the
    chance, as with an effect that does not exceed the null bound. Raises ConfigError.
    """
    inputs.number("effect", effect)
    inputs.positive("sd", sd)
    inputs.number("chance", chance, 0.01, 0.99)
    inputs.whole("most", most, 3)
    inputs.whole("studies", studies, 1)
    least = smallest(method, alpha, batch)
    if effect <= null:
        return None
    blocks = method in ("sequential-t", "sequential-sign-flip")

    def reached(count: int) -> bool:
        long = blocks and count > BLOCKS
        chosen, pairs = ("sequential-t", BLOCKS) if long else (method, count * batch)
        plan = designed(chosen, pairs, alpha=alpha, null=null, claimed=claimed, batch=1 if long else batch)
        spread = sd * math.sqrt(BLOCKS / (count * batch)) if long else sd
        return simulate(plan, effect, spread, studies=studies, seed=seed).supported >= chance

    low, high = math.ceil(least / batch) - 1, math.ceil(least / batch)
    while not reached(high):
        if high * batch >= most:
            return None
        low, high = high, min(2 * high, most // batch)
        if high <= low:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high * batch


# --------------------------------------------------------------------------------------------------- t and e-process


def _draw(looks: tuple[int, ...], studies: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Mean and standard deviation of standard normal differences at each look, each [looks, studies], in parts."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    rows = max(1, CELLS // looks[-1])
    for start in range(0, studies, rows):
        yield _moments(generator.standard_normal((min(rows, studies - start), looks[-1])), looks)


def _moments(x: Array, looks: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and standard deviation of each row's first n values, for n in looks; each [looks, rows]."""
    import numpy as np

    at, counts = np.array(looks) - 1, np.array(looks, dtype=float)[:, None]
    first = x[:, :1].T  # the deviation of values far from 0 would suffer from cancellation
    gaps = x.T - first
    total, square = np.cumsum(gaps, axis=0)[at], np.cumsum(gaps * gaps, axis=0)[at]
    spread = np.maximum(square - total * total / counts, 0.0) / (counts - 1)
    return first + total / counts, np.sqrt(spread)


@dataclass(frozen=True)
class _Bars:
    """Critical values of t at each look; infinite where none is reachable.

    up: against the null bound, above it "supported". down: the same for the claimed effect, mirrored. up_hope,
    down_hope: below both the question is given up; -inf where it never is.
    """

    up: tuple[float, ...]
    down: tuple[float, ...]
    up_hope: tuple[float, ...]
    down_hope: tuple[float, ...]


@lru_cache(maxsize=64)
def _bars(design: Design) -> _Bars:
    if design.method == "sequential-sign-flip":
        up, down = (_stand_in(design, side) for side in (design.support, design.refute))
    else:
        up, down = (tuple(math.inf if each is None else each for each in side) for side in (design.upper, design.lower))
    hope, against = _hopes(design, up[-1]), _hopes(design, down[-1])
    if design.give_up == "support":  # refutation may be as near as it will
        against = tuple(each if each == -math.inf else math.inf for each in hope)
    return _Bars(up, down, hope, against)


def _stand_in(design: Design, level: float) -> tuple[float, ...]:
    """Boundaries of the t-test of that level whose looks begin where the sign-flip test can reject at it."""
    from novum.stats import signflip

    first = signflip.earliest(design.looks, level, design.rho, design.seed)
    if first is None:
        return (math.inf,) * len(design.looks)
    late = tuple(n for n in design.looks if n >= first)
    return (math.inf,) * (len(design.looks) - len(late)) + boundaries(late, level, design.rho)


def _hopes(design: Design, final: float) -> tuple[float, ...]:
    """The t at each look below which the predictive power falls short of `design.futility`.

    Φ((z - c√f) / √(1 - f)) < futility, solved for z and taken back to t: z, c are the normal scores of t and of the
    final bound, f the share of pairs seen. -inf below four pairs, at the last look, and without futility.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    pairs = design.looks[-1]
    score = math.inf if math.isinf(final) else -float(ndtri(stdtr(pairs - 1, -final)))
    found = []
    for n in design.looks:
        if n < 4 or n == pairs or design.futility == 0 or design.method == "e-process":
            found.append(-math.inf)
        elif math.isinf(score):
            found.append(math.inf)
        else:
            share = n / pairs
            z = score * math.sqrt(share) + float(ndtri(design.futility)) * math.sqrt(1 - share)
            found.append(-float(stdtrit(n - 1, ndtr(-z))))
    return tuple(found)


def _walk(design: Design, means: Array, deviations: Array) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Where each study ends, as an index into `OUTCOMES`, and after how many pairs; from moments [looks, studies]."""
    import numpy as np

    bars = _bars(design)
    outcome = np.full(means.shape[1], OUTCOMES.index("inconclusive"), dtype=np.int8)
    pairs = np.full(means.shape[1], design.looks[-1], dtype=np.int64)
    alive = np.arange(means.shape[1])
    for at, n in enumerate(design.looks):
        mean, error = means[at, alive], deviations[at, alive] / math.sqrt(n)
        low, high = mean - bars.up[at] * error, mean + bars.down[at] * error
        supported = low > design.null
        refuted = ~supported & (high < design.claimed)
        equivalent = refuted & (low > -design.claimed) & (design.claimed > 0)
        hopeless = mean - design.null < bars.up_hope[at] * error
        hopeless &= design.claimed - mean < bars.down_hope[at] * error
        for name, those in (("supported", supported), ("refuted", refuted), ("equivalent", equivalent)):
            outcome[alive[those]] = OUTCOMES.index(name)
        ended = supported | refuted | hopeless
        pairs[alive[ended]] = n
        alive = alive[~ended]
        if not alive.size:
            break
    return outcome, pairs


def _share(design: Design, effect: float, sd: float, draws: Iterable[tuple[Array, Array]], studies: int) -> Outcomes:
    import numpy as np

    if design.method == "sequential-sign":
        return _binomial(design, effect)
    counts, used = np.zeros(len(OUTCOMES), dtype=np.int64), 0
    for means, deviations in draws:
        outcome, pairs = _walk(design, effect + sd * means, sd * deviations)
        counts += np.bincount(outcome, minlength=len(OUTCOMES))
        used += int(pairs.sum())
    return Outcomes(
        effect=float(effect),
        **{name: int(count) / studies for name, count in zip(OUTCOMES, counts, strict=True)},
        pairs=used / studies,
        studies=studies,
        approximate=design.method == "sequential-sign-flip",
    )


# ---------------------------------------------------------------------------------------------------- the sign test


def _binomial(design: Design, effect: float) -> Outcomes:
    """The outcomes of the sequential sign test when P(win) = 1/2 + effect and no pair ties; by its exact law.

    Carries the law of the number of wins from look to look, one row for the paths that have not yet rejected "the
    effect is at most -claimed", which equivalence asks for, and one for those that have.
    """
    import numpy as np

    from novum.stats import sign

    share = 0.5 + effect
    if not 0 <= share <= 1:
        raise ConfigError(f"effect: received {effect!r}; P(win) - 1/2 lies from -0.5 to 0.5.")
    pairs, never = design.looks[-1], design.looks[-1] + 1
    up, over, down = (
        [never if bar is None else bar for bar in sign.counts(design.looks, level, margin, design.rho)]
        for level, margin in (
            (design.support, 0.5 + design.null),
            (design.support, 0.5 - design.claimed),
            (design.refute, 0.5 - design.claimed),
        )
    )
    law = np.zeros((2, pairs + 1))
    law[0, 0] = 1.0
    wins, shares, used, n = np.arange(pairs + 1), dict.fromkeys(OUTCOMES, 0.0), 0.0, 0
    for at, look in enumerate(design.looks):
        while n < look:
            law[:, 1:] = law[:, 1:] * (1 - share) + law[:, :-1] * share
            law[:, 0] *= 1 - share
            n += 1
        law[1, over[at] :] += law[0, over[at] :]
        law[0, over[at] :] = 0.0
        supported = wins >= up[at]
        refused = ~supported & (n - wins >= down[at])
        given_up = ~(supported | refused) & ((n == pairs) | _hopeless(design, n))
        equal = float(law[1, refused].sum()) if design.claimed > 0 else 0.0
        shares["supported"] += float(law[:, supported].sum())
        shares["equivalent"] += equal
        shares["refuted"] += float(law[:, refused].sum()) - equal
        shares["inconclusive"] += float(law[:, given_up].sum())
        ended = supported | refused | given_up
        used += n * float(law[:, ended].sum())
        law[:, ended] = 0.0
    return Outcomes(
        effect=float(effect),
        supported=shares["supported"],
        equivalent=shares["equivalent"],
        refuted=shares["refuted"],
        inconclusive=shares["inconclusive"],
        pairs=used,
        studies=None,
    )


@lru_cache(maxsize=4096)
def _hopeless(design: Design, n: int) -> NDArray[np.bool_]:
    """For each number of wins among n < N pairs, whether `judge` gives up: [N + 1], of which the first n + 1 occur."""
    import numpy as np
    from scipy.special import ndtr, ndtri, stdtr

    pairs = design.looks[-1]
    if design.futility == 0 or n < 4 or n == pairs:
        return np.zeros(pairs + 1, dtype=bool)
    mean = np.minimum(np.arange(pairs + 1), n) / n - 0.5
    error = np.sqrt(n * (0.25 - mean**2) / (n - 1) + design.resolution**2 / 12) / math.sqrt(n)
    chances = []
    for gap, level in ((mean - design.null, design.support), (design.claimed - mean, design.refute)):
        looks = design.looks if len(design.looks) <= BLOCKS else tuple(range(3, BLOCKS + 1))
        c = -ndtri(stdtr(looks[-1] - 1, -boundaries(looks, level, design.rho)[-1]))
        with np.errstate(divide="ignore"):  # all won or all lost: certain
            z = -ndtri(stdtr(n - 1, -gap / error))
        chances.append(ndtr((z - c * math.sqrt(n / pairs)) / math.sqrt(1 - n / pairs)))
    out_of_reach = chances[0] if design.give_up == "support" else np.maximum(*chances)
    return out_of_reach < design.futility
