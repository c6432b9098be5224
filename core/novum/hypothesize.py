"""Hypothesize: a claim that an experiment can test. The record of the second act."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from novum.arm import Arm, fingerprint
from novum.config import flaw
from novum.errors import ConfigError

KEEP = ("none", "first", "all")
MARGINS = ("strict", "zone")
ESTIMANDS = ("mean", "win")
TESTS = ("auto", "t", "sign-flip")
CONFIRM = ("same-networks", "fresh-seeds")
RULES = ("lord++", "lond", "none")
GIVE_UP = ("both", "support")
AT_LEAST = re.compile(r"at_least\((\d+)\)")


@dataclass(frozen=True)
class Comparison:
    """One task of a claim: two arms, the metric, and the least effect that counts.

    control: an arm, or a number in the metric's units: the bar that the treatment is to reach. metric: None means the
    evaluator's primary one. minimum_effect: on the task's scale, where 0 is chance and 1 the reference;
    minimum_effect_raw: in the metric's own units. At most one is given; neither means the claim's.
    """

    control: Arm | float
    treatment: Arm
    metric: str | None = None
    minimum_effect: float | None = None
    minimum_effect_raw: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        return {
            "control": self.control.to_json() if isinstance(self.control, Arm) else self.control,
            "treatment": self.treatment.to_json(),
            "metric": self.metric,
            "minimum_effect": self.minimum_effect,
            "minimum_effect_raw": self.minimum_effect_raw,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` gave."""
        plain: dict[str, Any] = {name: data[name] for name in ("metric", "minimum_effect", "minimum_effect_raw")}
        control = data["control"] if _number(data["control"]) else Arm.from_json(data["control"])
        return cls(control, Arm.from_json(data["treatment"]), **plain)

    @property
    def arms(self) -> dict[str, Arm]:
        """Side → arm, the control first; a bar is no arm."""
        bar = not isinstance(self.control, Arm)
        return {"treatment": self.treatment} if bar else {"control": self.control, "treatment": self.treatment}  # type: ignore[dict-item]


@dataclass(frozen=True)
class Hypothesis:
    """On these tasks, the treatment beats the control by at least a minimum effect on the primary metric.

    claim: one sentence. control, treatment: for a claim about one task (control may be a number, the bar to reach);
    `tasks` for several: names to `Comparison`s or to (control, treatment) pairs.

    minimum_effect: at least 0, on each task's scale; minimum_effect_raw: in the metric's units instead.
    margins: "strict" (supported: the effect is at least the minimum; refuted: it is less) or "zone" (supported: it is
    above 0; refuted: it is less than the minimum). estimand: "mean" difference, or "win": the probability that the
    treatment wins a pair; the minimum effect is then how far it lies above one half.

    max_seeds: pairs of trials per task, at least 3; None: no declared maximum. batch: pairs between two looks.
    alpha: one-sided error rate, in (0, 0.5): of this hypothesis alone, or of the goal's whole stream where `goal`
    names one; fdr is then the stream's rule. test: "t" or "sign-flip"; "auto" goes by the metric's kind. futility:
    predictive power below which the question is given up, 0 for never; give_up: what has to be out of reach for that,
    "both" support and refutation, or "support" alone. expected_effect: the effect that is hoped
    for, in the unit of the minimum effect, for the judgement of power; None: twice the minimum effect (zone: the
    minimum effect).

    scope: "all", "at_least(r)" or "average" over tasks. confirm: new data are scored with the "same-networks", or
    with networks of "fresh-seeds". seed: root of the seed schedule. keep: which weights outlive the verdict.
    price_per_hour: of one device, in any currency; None: money is not reported. rests_on: ids of the observations
    behind it; because: why it may hold, in a
    sentence. parent: the hypothesis that this one replaces. revision: raised to register an unchanged claim anew.

    Raises ConfigError for anything out of range.
    """

    claim: str
    control: Arm | float | None = None
    treatment: Arm | None = None
    minimum_effect: float = 0.0
    minimum_effect_raw: float | None = None
    max_seeds: int | None = 10
    alpha: float = 0.05
    seed: int = 0
    scope: str = "all"
    keep: str = "first"
    metric: str | None = None
    name: str = "treatment"
    tasks: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    margins: str = "strict"
    estimand: str = "mean"
    test: str = "auto"
    batch: int = 1
    futility: float = 0.1
    expected_effect: float | None = None
    confirm: str = "same-networks"
    goal: str | None = None
    fdr: str = "lord++"
    price_per_hour: float | None = None
    rests_on: tuple[str, ...] = ()
    parent: str | None = None
    revision: int = 0
    give_up: str = "both"
    because: str = ""

    def __post_init__(self) -> None:
        _check("claim", self.claim, bool(self.claim.strip()), "one sentence")
        for name in ("claim", "name", "goal", "because"):
            text = getattr(self, name)
            wrong = None if text is None else flaw(text)
            _check(name, text, wrong is None, f"printable text; it has {wrong}")
        _check("alpha", self.alpha, _number(self.alpha) and 0 < self.alpha < 0.5, "a number above 0 and below 0.5")
        most = self.max_seeds
        _check("max_seeds", most, most is None or (_whole(most) and 3 <= most <= 1000), _SEEDS)
        _check("seed", self.seed, _whole(self.seed) and self.seed >= 0, "a whole number from 0 on")
        _check(
            "batch",
            self.batch,
            _whole(self.batch) and 1 <= self.batch <= (most or 1000),
            f"a whole number from 1 to {most or 1000}, max_seeds",
        )
        _check("futility", self.futility, _number(self.futility) and 0 <= self.futility < 0.5, "0 (never) to below 0.5")
        for name, allowed in _CHOICES.items():
            _check(name, getattr(self, name), getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        for name in ("expected_effect", "price_per_hour"):
            value = getattr(self, name)
            _check(name, value, value is None or (_number(value) and value > 0), "a number above 0, or left out")
        _check("goal", self.goal, self.goal is None or bool(self.goal.strip()), "a name, or left out")
        if most is None and (self.test == "sign-flip" or self.estimand == "win" or self.batch > 1):
            raise ConfigError(
                "max_seeds: without a declared maximum the test is an e-process on the mean difference, pair by pair; "
                "leave out `test`, `estimand` and `batch`, or declare a maximum, such as max_seeds = 20."
            )
        if self.estimand == "win" and self.test != "auto":
            raise ConfigError(
                f"test: received {self.test!r} with estimand 'win', which is tested by signs; leave it out."
            )
        if self.goal is None and self.fdr != "lord++":
            raise ConfigError(
                f"fdr: received {self.fdr!r}, but no goal is named whose error rate it could spend; add goal."
            )
        tasks = {name: _comparison(value) for name, value in self.tasks.items()}
        if (self.control is None) != (self.treatment is None) or (self.control is None) == (not tasks):
            raise ConfigError(
                "a hypothesis compares `control` with `treatment`, or names several comparisons in `tasks`; "
                "give both arms or `tasks`, not a part of each."
            )
        if self.control is not None and self.treatment is not None:
            tasks = {task_name(self.treatment): Comparison(self.control, self.treatment)}
        filled = {name: self._fill(name, each) for name, each in tasks.items()}
        object.__setattr__(self, "tasks", MappingProxyType(filled))
        self._check_scope(filled)
        for side in ("control", "treatment"):  # they live in `tasks` from here on, so that there is one place to look
            object.__setattr__(self, side, None)

    @property
    def least(self) -> int | None:
        """On how many tasks the claim must hold; None for the average over them."""
        found = AT_LEAST.fullmatch(self.scope)
        return int(found[1]) if found else len(self.tasks) if self.scope == "all" else None

    def _check_scope(self, tasks: Mapping[str, Comparison]) -> None:
        found = AT_LEAST.fullmatch(self.scope) if isinstance(self.scope, str) else None
        good = self.scope in ("all", "average") or (found is not None and 1 <= int(found[1]) <= len(tasks))
        _check("scope", self.scope, good, f"'all', 'at_least(r)' with r from 1 to {len(tasks)}, or 'average'")
        if self.scope == "average" and (self.estimand == "win" or self.max_seeds is None):
            raise ConfigError(
                "scope = 'average' needs a declared max_seeds and the estimand 'mean'; change one of them."
            )
        asked = {each.minimum_effect for each in tasks.values()}
        if self.scope == "average" and (len(asked) > 1 or None in asked):
            raise ConfigError(
                "scope = 'average' has one least effect, on their scales; give minimum_effect once, above the tasks."
            )

    def _fill(self, name: str, each: Comparison) -> Comparison:
        if isinstance(each.control, Arm) and each.control.to_json() == each.treatment.to_json():
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
        if self.estimand == "win" and not (scaled or raw or 0.0) < 0.5:
            raise ConfigError(
                f"task {name!r}: minimum_effect: received {scaled or raw!r}; for the estimand 'win' it is how far the "
                "probability of winning lies above one half: 0 to below 0.5."
            )
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
        plain = {name: getattr(self, name) for name in _PLAIN}
        late = {name: getattr(self, name) for name, usual in _LATE.items() if getattr(self, name) != usual}
        return plain | {
            **late,
            "rests_on": list(self.rests_on),
            "order": list(self.tasks),
            "tasks": {name: each.to_json() for name, each in self.tasks.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hypothesis:
        """Read what `to_json` gave; further keys, as the ledger adds them, are left alone."""
        plain = {name: data[name] for name in _PLAIN} | {name: data[name] for name in _LATE if name in data}
        tasks = {name: Comparison.from_json(data["tasks"][name]) for name in data["order"]}
        return cls(**plain, tasks=tasks, rests_on=tuple(data["rests_on"]))


_PLAIN = (
    *("claim", "name", "alpha", "max_seeds", "seed", "scope", "keep", "margins", "estimand", "test", "batch"),
    *("futility", "expected_effect", "confirm", "goal", "fdr", "price_per_hour", "parent", "revision"),
)
_LATE = {"give_up": "both", "because": ""}
"""What claims of an earlier Novum did not say; written only where it is not this, so that they keep their ids."""
_CHOICES = {
    "give_up": GIVE_UP,
    "keep": KEEP,
    "margins": MARGINS,
    "estimand": ESTIMANDS,
    "test": TESTS,
    "confirm": CONFIRM,
    "fdr": RULES,
}
_SEEDS = "a whole number from 3 to 1000, or None (in a file: 'open') for no declared maximum"


def task_name(arm: Arm) -> str:
    """What a task is called where nobody named it: its only text option ("digits"), else its plugin's name."""
    texts = [value for value in arm.task.options.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else arm.task.name.removeprefix("local:")


def _comparison(value: Any) -> Comparison:
    if isinstance(value, tuple) and len(value) == 2:
        value = Comparison(*value)
    if isinstance(value, Comparison) and isinstance(value.treatment, Arm):
        if isinstance(value.control, Arm):
            return value
        if _number(value.control):
            return replace(value, control=float(value.control))
    raise ConfigError(
        f"tasks: received {value!r}; give a pair (control, treatment) of arms, or a Comparison; the control may be a "
        "finite number, the bar to reach."
    )


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ConfigError(f"{name}: received {value!r}; allowed: {allowed}.")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
