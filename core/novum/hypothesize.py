"""Hypothesize: a claim that an experiment can test. The record of the second act."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from novum.arm import Arm, fingerprint
from novum.errors import ConfigError

KEEP = ("none", "first", "all")


@dataclass(frozen=True)
class Comparison:
    """One task of a claim: two arms, the metric, and the least effect that counts.

    metric: None means the evaluator's primary one. minimum_effect: on the task's scale, where 0 is chance and 1 the
    reference; minimum_effect_raw: in the metric's own units. At most one is given; neither means the claim's.
    """

    control: Arm
    treatment: Arm
    metric: str | None = None
    minimum_effect: float | None = None
    minimum_effect_raw: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        return {
            "control": self.control.to_json(),
            "treatment": self.treatment.to_json(),
            "metric": self.metric,
            "minimum_effect": self.minimum_effect,
            "minimum_effect_raw": self.minimum_effect_raw,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` gave."""
        plain: dict[str, Any] = {name: data[name] for name in ("metric", "minimum_effect", "minimum_effect_raw")}
        return cls(Arm.from_json(data["control"]), Arm.from_json(data["treatment"]), **plain)


@dataclass(frozen=True)
class Hypothesis:
    """On these tasks, the treatment beats the control by at least a minimum effect on the primary metric.

    claim: one sentence. control, treatment: for a claim about one task; `tasks` for several: names to
    `Comparison`s or to (control, treatment) pairs. minimum_effect: at least 0, on each task's scale;
    minimum_effect_raw: in the metric's units instead. alpha: one-sided error rate, in (0, 0.5), for this hypothesis.
    max_seeds: pairs of trials per task, at least 3. seed: root of the seed schedule. keep: which weights outlive the
    verdict. rests_on: ids of the observations behind it. parent: the hypothesis that this one replaces.
    revision: raised to register an unchanged claim anew.

    Raises ConfigError for anything out of range.
    """

    claim: str
    control: Arm | None = None
    treatment: Arm | None = None
    minimum_effect: float = 0.0
    minimum_effect_raw: float | None = None
    max_seeds: int = 10
    alpha: float = 0.05
    seed: int = 0
    scope: str = "all"
    keep: str = "first"
    metric: str | None = None
    name: str = "treatment"
    tasks: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rests_on: tuple[str, ...] = ()
    parent: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        _check("claim", self.claim, bool(self.claim.strip()), "one sentence")
        _check("alpha", self.alpha, _number(self.alpha) and 0 < self.alpha < 0.5, "a number above 0 and below 0.5")
        _check("max_seeds", self.max_seeds, _whole(self.max_seeds) and self.max_seeds >= 3, "a whole number from 3 on")
        _check("seed", self.seed, _whole(self.seed) and self.seed >= 0, "a whole number from 0 on")
        _check("scope", self.scope, self.scope == "all", "'all': the claim must hold on every task")
        _check("keep", self.keep, self.keep in KEEP, f"one of {', '.join(KEEP)}")
        tasks = {name: _comparison(value) for name, value in self.tasks.items()}
        if (self.control is None) != (self.treatment is None) or (self.control is None) == (not tasks):
            raise ConfigError(
                "a hypothesis compares `control` with `treatment`, or names several comparisons in `tasks`; "
                "give both arms or `tasks`, not a part of each."
            )
        if self.control is not None and self.treatment is not None:
            tasks = {task_name(self.control): Comparison(self.control, self.treatment)}
        filled = {name: self._fill(name, each) for name, each in tasks.items()}
        object.__setattr__(self, "tasks", MappingProxyType(filled))
        for side in ("control", "treatment"):  # they live in `tasks` from here on, so that there is one place to look
            object.__setattr__(self, side, None)

    def _fill(self, name: str, each: Comparison) -> Comparison:
        if each.control.to_json() == each.treatment.to_json():
            raise ConfigError(
                f"task {name!r}: control and treatment are the same arm; give the treatment something of its own."
            )
        own = each.minimum_effect is None and each.minimum_effect_raw is None
        scaled = (None if self.minimum_effect_raw is not None else self.minimum_effect) if own else each.minimum_effect
        raw = self.minimum_effect_raw if own else each.minimum_effect_raw
        for label, value in (("minimum_effect", scaled), ("minimum_effect_raw", raw)):
            _check(f"{label} of task {name!r}", value, value is None or (_number(value) and value >= 0), "at least 0")
        if scaled is not None and raw is not None:
            raise ConfigError(f"task {name!r}: give minimum_effect or minimum_effect_raw, not both.")
        return replace(each, metric=each.metric or self.metric, minimum_effect=scaled, minimum_effect_raw=raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hypothesis) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (32 hexadecimal digits) of what is claimed and how it is tested; `parent` is not part of it."""
        return fingerprint(self.to_json() | {"parent": None})

    @property
    def id(self) -> str:
        """The name it goes by, "h-" and ten digits of the fingerprint."""
        return f"h-{self.fingerprint[:10]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        return {
            "claim": self.claim,
            "name": self.name,
            "alpha": self.alpha,
            "max_seeds": self.max_seeds,
            "seed": self.seed,
            "scope": self.scope,
            "keep": self.keep,
            "rests_on": list(self.rests_on),
            "parent": self.parent,
            "revision": self.revision,
            "tasks": {name: each.to_json() for name, each in self.tasks.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hypothesis:
        """Read what `to_json` gave."""
        plain = {name: value for name, value in data.items() if name not in ("tasks", "rests_on")}
        tasks = {name: Comparison.from_json(each) for name, each in data["tasks"].items()}
        return cls(**plain, tasks=tasks, rests_on=tuple(data["rests_on"]))


def task_name(arm: Arm) -> str:
    """What a task is called where nobody named it: its only text option ("digits"), else its plugin's name."""
    texts = [value for value in arm.task.options.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else arm.task.name.removeprefix("local:")


def _comparison(value: Any) -> Comparison:
    if isinstance(value, Comparison):
        return value
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(each, Arm) for each in value):
        return Comparison(*value)
    raise ConfigError(f"tasks: received {value!r}; give a pair of arms (control, treatment) or a Comparison.")


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ConfigError(f"{name}: received {value!r}; allowed: {allowed}.")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
