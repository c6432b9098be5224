"""A sequential test as it is registered: method, looks, levels, margins, and the critical values that follow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from novum.errors import ConfigError
from novum.stats import inputs
from novum.stats.boundaries import boundaries

METHODS = ("sequential-t", "sequential-sign-flip", "sequential-sign", "e-process")
FIRST = 3
"""The first look: fewer pairs say too little of their own spread."""


@dataclass(frozen=True)
class Design:
    """Everything that decides, fixed before any data. Make one with `design`, which checks and fills it.

    method: one of `METHODS`. looks: increasing numbers of pairs, the last one the declared maximum. support, refute:
    one-sided levels of rejecting "the effect is at most null" and "it is at least claimed", with 0 ≤ null ≤ claimed
    (equal: strict; null 0: zone). resolution: the step in which the metric moves; its square / 12 is added to the
    variance (t and e-process). futility: predictive power below which a direction is hopeless; 0: never. give_up: the
    test is given up when "both" directions are hopeless, or when "support" is. rho: of the spending function
    level (n / N)^rho. upper, lower: critical t at each look for support and refutation, nine significant digits; None
    where none is reachable; empty for the two sign tests, whose critical values depend on the data or the margin. seed:
    of the random sign paths (sign-flip beyond 16 pairs).
    """

    method: str
    looks: tuple[int, ...]
    support: float
    refute: float
    null: float
    claimed: float
    resolution: float = 0.0
    futility: float = 0.1
    rho: float = 1.5
    upper: tuple[float | None, ...] = ()
    lower: tuple[float | None, ...] = ()
    seed: int = 0
    give_up: str = "both"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`. `give_up` is told only where it is not "both"."""
        lists = {name: list(getattr(self, name)) for name in ("looks", "upper", "lower")}
        found = asdict(self) | lists
        return found if self.give_up != "both" else {name: found[name] for name in found if name != "give_up"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Read what `to_json` gave."""
        return cls(**{**data, **{name: tuple(data[name]) for name in ("looks", "upper", "lower")}})


def design(
    method: str,
    pairs: int,
    *,
    alpha: float = 0.05,
    refute: float | None = None,
    null: float = 0.0,
    claimed: float = 0.0,
    batch: int = 1,
    looks: Sequence[int] | None = None,
    resolution: float = 0.0,
    futility: float = 0.1,
    rho: float = 1.5,
    seed: int = 0,
    give_up: str = "both",
) -> Design:
    """A checked design with its critical values, which are kept for the next one of the same looks and level.

    pairs: the declared maximum, at least 3. alpha: level of support; refute: of refutation, None for the same. batch:
    pairs between two looks, the first of which is at 3 pairs or more; looks: the looks themselves instead. A single
    look is the fixed-n test. For "sequential-sign" null and claimed are probabilities above one half, below 0.5.
    Raises ConfigError for what is out of range.
    """
    inputs.one_of("method", method, METHODS)
    inputs.whole("max_seeds", pairs, FIRST)
    inputs.level("alpha", alpha)
    against = alpha if refute is None else inputs.level("refute", refute)
    inputs.number("minimum_effect", claimed, 0.0)
    if not 0 <= inputs.number("null", null) <= claimed:
        raise ConfigError(
            f"margins: received a null bound of {null!r} and a claimed effect of {claimed!r}; the null bound lies from "
            "0 to the claimed effect."
        )
    if method == "sequential-sign" and claimed >= 0.5:
        raise ConfigError(
            f"minimum_effect: received {claimed!r}; for the sign test it is how far the probability of winning lies "
            "above one half: 0 to below 0.5."
        )
    inputs.number("resolution", resolution, 0.0)
    if not 0 <= inputs.number("futility", futility) < 0.5:
        raise ConfigError(f"futility: received {futility!r}; give 0 (never give up) or a number below 0.5.")
    inputs.positive("rho", rho)
    inputs.whole("seed", seed, 0)
    inputs.one_of("give_up", give_up, ("both", "support"))
    at = _looks(pairs, batch) if looks is None else _checked(looks, pairs)
    upper, lower = (_critical(method, at, level, rho) for level in (alpha, against))
    return Design(
        method=method,
        looks=at,
        support=float(alpha),
        refute=float(against),
        null=float(null),
        claimed=float(claimed),
        resolution=float(resolution),
        futility=float(futility),
        rho=float(rho),
        upper=upper,
        lower=lower,
        seed=seed,
        give_up=give_up,
    )


def _looks(pairs: int, batch: int) -> tuple[int, ...]:
    inputs.whole("batch", batch, 1)
    if batch > pairs:
        raise ConfigError(f"batch: received {batch!r}; give a whole number from 1 to max_seeds, {pairs}.")
    return tuple(sorted({*(n for n in range(batch, pairs + 1, batch) if n >= FIRST), pairs}))


def _checked(looks: Sequence[int], pairs: int) -> tuple[int, ...]:
    found = tuple(inputs.whole(f"looks[{at}]", each, FIRST) for at, each in enumerate(looks))
    if not found or found[-1] != pairs or any(a >= b for a, b in itertools.pairwise(found)):
        raise ConfigError(f"looks: received {list(looks)!r}; give increasing numbers of pairs that end at {pairs}.")
    return found


def _critical(method: str, looks: tuple[int, ...], level: float, rho: float) -> tuple[float | None, ...]:
    if method == "sequential-t":
        return boundaries(looks, level, rho)
    if method == "e-process":
        from novum.stats import eprocess

        return eprocess.critical(looks, level)
    return ()


def earliest(design: Design) -> int | None:
    """The first look at which "supported" is possible at all, with the most favourable data; None: never."""
    if design.method == "sequential-sign-flip":
        from novum.stats import signflip

        return signflip.earliest(design.looks, design.support, design.rho, design.seed)
    if design.method == "sequential-sign":
        from novum.stats import sign

        critical = sign.counts(design.looks, design.support, 0.5 + design.null, design.rho)
        return next((n for n, bar in zip(design.looks, critical, strict=True) if bar is not None), None)
    return next((n for n, bar in zip(design.looks, design.upper, strict=True) if bar is not None), None)


def smallest(method: str, alpha: float, batch: int = 1, null: float = 0.0) -> int:
    """The least declared maximum at which this test can support anything at this level.

    null: the null bound, which the sign test's answer depends on. Raises ConfigError for a level so small that no
    number of pairs up to 1,000 reaches it.
    """
    inputs.one_of("method", method, METHODS)
    inputs.level("alpha", alpha)
    least = FIRST
    if method == "sequential-sign-flip":
        least = max(FIRST, math.ceil(-math.log2(alpha) - 1e-9))
    elif method == "sequential-sign":
        from novum.stats import sign

        least = sign.smallest(alpha, 0.5 + null)
    elif method == "e-process":
        from novum.stats import eprocess

        least = next((n for n in range(FIRST, 1001) if eprocess.critical((n,), alpha)[0] is not None), 1001)
    if least > 1000 or (method == "sequential-sign-flip" and alpha < 2**-18):
        raise ConfigError(
            f"alpha: received {alpha!r}; {method} cannot reach so small a level with 1,000 pairs or fewer."
        )
    return max(least, batch)
