"""The sequential test by ask and tell: for scores that arrive one pair at a time from anywhere."""

from __future__ import annotations

import math
from typing import Any, Literal

from novum.errors import ConfigError
from novum.stats import inputs
from novum.stats.design import Design, design
from novum.stats.sequential import Decision, anytime_p, judge, looks

OPEN = 1000
"""Pairs at which a test without a declared maximum ends after all."""
METHODS = {
    "t": "sequential-t",
    "sign-flip": "sequential-sign-flip",
    "sign": "sequential-sign",
    "e-process": "e-process",
}


class SequentialTest:
    """Tell it pairs of scores until it is `decided`. Looking, at any time and however often, changes nothing.

    ::

        test = SequentialTest(minimum_effect=0.01, max_seeds=10)
        while not test.decided:
            test.tell(control=train(seed, old), treatment=train(seed, new))
    """

    def __init__(
        self,
        minimum_effect: float = 0.0,
        max_seeds: int | None = 10,
        alpha: float = 0.05,
        *,
        method: Literal["t", "sign-flip", "sign", "e-process"] | None = None,
        margins: Literal["strict", "zone"] = "strict",
        direction: Literal["max", "min"] = "max",
        batch: int = 1,
        futility: float = 0.1,
        resolution: float = 0.0,
        seed: int = 0,
    ) -> None:
        """minimum_effect: the least difference that counts, in the score's units (for "sign": how far the probability
        of winning lies above one half). max_seeds: most pairs; None: no declared maximum, which is the "e-process".
        method: default "t". margins, batch, futility: as in `novum.Hypothesis`. direction: whether more or less is
        better. resolution: the step in which the score moves. seed: of the sign-flip test beyond 16 pairs.

        Raises ConfigError, which names the field, its value and what is allowed.
        """
        chosen = inputs.one_of("method", method or ("t" if max_seeds is not None else "e-process"), tuple(METHODS))
        if (max_seeds is None) != (chosen == "e-process"):
            raise ConfigError(
                f"max_seeds: received {max_seeds!r} with method {chosen!r}; the e-process alone has no declared "
                "maximum: give max_seeds, or leave both to it (max_seeds=None)."
            )
        inputs.one_of("margins", margins, ("strict", "zone"))
        self._sign = 1.0 if inputs.one_of("direction", direction, ("max", "min")) == "max" else -1.0
        self._design = design(
            METHODS[chosen],
            OPEN if max_seeds is None else max_seeds,
            alpha=alpha,
            null=minimum_effect if margins == "strict" else 0.0,
            claimed=minimum_effect,
            batch=batch,
            futility=futility,
            resolution=resolution,
            seed=seed,
        )
        self._differences: list[float] = []

    def tell(self, *, control: float, treatment: float) -> Decision:
        """Take the scores of one more pair, and say where the test stands. A decision never changes any more.

        Raises ConfigError for a score that is not a finite number: give one that diverged its worst value.
        """
        scores = [_score(name, value) for name, value in (("control", control), ("treatment", treatment))]
        self._differences.append(self._sign * (scores[1] - scores[0]))
        return judge(self._design, self._differences)

    @property
    def design(self) -> Design:
        """The looks and critical values, fixed before any data."""
        return self._design

    @property
    def decision(self) -> Decision | None:
        """Where the test stands; None before the first pair."""
        return judge(self._design, self._differences) if self._differences else None

    @property
    def decided(self) -> bool:
        """Whether no further pair is needed."""
        return self.outcome is not None

    @property
    def outcome(self) -> str | None:
        """supported, equivalent, refuted or inconclusive; None while it is open."""
        return None if self.decision is None else self.decision.outcome

    @property
    def pairs(self) -> int:
        """Pairs that the decision rests on; while it is open, those told so far."""
        return 0 if self.decision is None else self.decision.n

    @property
    def saved(self) -> int | None:
        """Pairs of the declared maximum that the decision spared; None while it is open, or without a maximum."""
        open_ = not self.decided or self._design.method == "e-process"
        return None if open_ else self._design.looks[-1] - self.pairs

    @property
    def effect(self) -> float | None:
        """Mean difference, above 0 where the treatment is better; None before the first pair."""
        return None if self.decision is None else self.decision.look.mean

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the interval at the last look, infinite where it is open; None before the first look."""
        seen = looks(self._design, self._differences) if self._differences else []
        if not seen:
            return None
        low, high = seen[-1].low, seen[-1].high
        return -math.inf if low is None else low, math.inf if high is None else high

    @property
    def p(self) -> float | None:
        """A p-value that holds at any look (see `sequential.anytime_p`); None where it is one half or more."""
        return anytime_p(self._design, self._differences) if self._differences else None

    def __repr__(self) -> str:
        most = "no declared maximum" if self._design.method == "e-process" else f"at most {self._design.looks[-1]}"
        state = self.outcome or "open"
        told = "" if self.effect is None else f", effect {self.effect:+.3g}"
        if self.interval is not None:
            low, high = (
                "−∞" if end == -math.inf else "∞" if end == math.inf else f"{end:.3g}" for end in self.interval
            )
            told += f" ({low} … {high})"
        count = f"{self.pairs} pair{'' if self.pairs == 1 else 's'}"
        return f"SequentialTest({self._design.method}: {state} after {count}, {most}{told})"


def _score(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str | bytes | bool) or not math.isfinite(number):
        raise ConfigError(
            f"{name}: received {value!r}; a score is a finite number; give one that diverged its worst value."
        )
    return number
