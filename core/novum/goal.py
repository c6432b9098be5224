"""A goal: what the closed loop works on, within which limits. Written in a script, or read from a file (`goalfile`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from novum.arm import Arm, canonical, fingerprint
from novum.config import flaw, shown
from novum.errors import ConfigError
from novum.hypothesize import RULES

SCOPES = ("each", "all", "average")
PROPOSERS = ("rules", "search")
"""Who proposes where a goal does not say, in this order."""
_WALL = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What a loop may use before it ends; at least one of the three is given.

    trials: trained networks, those of claims, of screening and of observing alike; what the study had already costs
    nothing. device_hours: hours that trials compute. wall: time that the loop works, "90 s", "4 min" or "2 h";
    interruptions do not count.
    """

    trials: int | None = None
    device_hours: float | None = None
    wall: str | None = None

    def __post_init__(self) -> None:
        trials, hours = self.trials, self.device_hours
        if trials is not None and not (isinstance(trials, int) and not isinstance(trials, bool) and trials > 0):
            raise ConfigError(f"budget: trials: received {shown(trials)}; give a whole number from 1 on.")
        if hours is not None and not (_number(hours) and hours > 0):
            raise ConfigError(f"budget: device_hours: received {shown(hours)}; give a number above 0.")
        if self.wall is not None and not self.seconds:
            raise ConfigError(
                f"budget: wall: received {shown(self.wall)}; give a time such as '90 s', '4 min' or '2 h'."
            )
        if trials is None and hours is None and self.wall is None:
            raise ConfigError(
                "budget: nothing is given; a loop ends by its budget, so give trials = 60, device_hours = 2 or "
                "wall = '30 min', or several of them."
            )

    @property
    def seconds(self) -> float | None:
        """`wall` in seconds; None where there is none."""
        found = _WALL.fullmatch(self.wall.strip()) if isinstance(self.wall, str) else None
        return None if found is None else float(found["count"]) * _SECONDS[found["unit"]]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not given is left out."""
        found = {"trials": self.trials, "device_hours": self.device_hours, "wall": self.wall}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Start:
    """One task of a goal: the arm to begin with, the metric that counts (None: the evaluator's primary one), the least
    effect that counts (on the task's scale, or raw in the metric's units; neither: the goal's), and options that may
    change on this task alone, as a goal writes them.
    """

    arm: Arm
    metric: str | None = None
    minimum_effect: float | None = None
    minimum_effect_raw: float | None = None
    space: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        rest = {"minimum_effect": self.minimum_effect, "minimum_effect_raw": self.minimum_effect_raw}
        return {"arm": self.arm.to_json(), "metric": self.metric, **rest, "space": dict(self.space)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Start:
        """Read what `to_json` gave."""
        return cls(**{**data, "arm": Arm.from_json(data["arm"])})


@dataclass(frozen=True)
class Target:
    """Where the loop ends well: on this task the metric (None: the one that counts) reaches a value, which a claim
    about the one arm shows on new data.
    """

    task: str
    value: float
    metric: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"task": self.task, "value": self.value, "metric": self.metric}


@dataclass(frozen=True)
class Goal:
    """What a loop works on.

    name: of the stream of hypotheses, and of the loop: the same name goes on with the same loop. tasks: names to
    `Start`s, or to arms. budget: a `Budget`, or a number of trials. space: options by path ("recipe.schedule") that may
    change on every task that has them: a list of values, {"low": …, "high": …, "log": True}, or True for what the
    description of the option allows; empty, also on the tasks: every option of recipe and model that is described with
    ends. proposers: names, each with its options: "rules" or {"plugin": "rules", …}; they are asked in this order.

    target: ends the loop when it is reached; None: none. scope: a change is tested on "each" task alone; on all tasks
    together, where it has to help on "all"; or on their "average". minimum_effect, minimum_effect_raw, max_seeds,
    alpha, fdr: of every claim (see `Hypothesis`). seeds: trials at which each baseline is observed, 2 to 20. worth:
    seeds at which the last baseline is compared with the first on `test` at the end, 3 to 100; None: as the budget
    allows. seed: root of all draws.

    Raises ConfigError for anything out of range.
    """

    name: str
    tasks: Mapping[str, Any]
    budget: Any
    space: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    proposers: tuple[Any, ...] = PROPOSERS
    target: Target | None = None
    scope: str = "each"
    minimum_effect: float = 0.0
    minimum_effect_raw: float | None = None
    max_seeds: int = 20
    alpha: float = 0.05
    fdr: str = "lord++"
    seeds: int = 3
    worth: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        bad = flaw(self.name) if isinstance(self.name, str) else "no text"
        _check("name", self.name, not bad and bool(str(self.name).strip()), "a short name on one line")
        _check("tasks", dict(self.tasks), bool(self.tasks), "at least one task with the arm that it begins with")
        _check("scope", self.scope, self.scope in SCOPES, f"one of {', '.join(SCOPES)}")
        _check("fdr", self.fdr, self.fdr in RULES, f"one of {', '.join(RULES)}")
        _check("alpha", self.alpha, _number(self.alpha) and 0 < self.alpha < 0.5, "a number above 0 and below 0.5")
        _check("max_seeds", self.max_seeds, _whole(self.max_seeds, 3, 1000), "a whole number from 3 to 1000")
        _check("seeds", self.seeds, _whole(self.seeds, 2, 20), "a whole number from 2 to 20")
        _check("seed", self.seed, _whole(self.seed, 0, 2**63), "a whole number from 0 on")
        _check("worth", self.worth, self.worth is None or _whole(self.worth, 3, 100), "3 to 100 seeds, or left out")
        least = self.minimum_effect
        _check("minimum_effect", least, _number(least) and least >= 0, "a number from 0 on")
        starts = {name: each if isinstance(each, Start) else Start(each) for name, each in self.tasks.items()}
        for name, start in starts.items():
            _check(f"tasks.{name}", start.arm, isinstance(start.arm, Arm), "an arm, or a Start")
        budget = self.budget if isinstance(self.budget, Budget) else Budget(trials=self.budget)
        asked = tuple({"plugin": each} if isinstance(each, str) else dict(each) for each in self.proposers)
        _check("proposers", list(self.proposers), bool(asked), "at least one, such as 'rules'")
        for each in asked:
            _check("proposers", each, isinstance(each.get("plugin"), str), "names, or tables with a plugin")
        if self.target is not None and self.target.task not in starts:
            raise ConfigError(f"target: task: received {shown(self.target.task)}; allowed: {', '.join(starts)}.")
        if self.target is not None and not _number(self.target.value):
            raise ConfigError(f"target: value: received {shown(self.target.value)}; give a finite number.")
        object.__setattr__(self, "tasks", MappingProxyType(starts))
        object.__setattr__(self, "budget", budget)
        object.__setattr__(self, "proposers", asked)
        object.__setattr__(self, "space", MappingProxyType(dict(self.space)))
        canonical(self.to_json())  # a value that no file could hold is refused here

    @property
    def fingerprint(self) -> str:
        """SHA-256 (32 hexadecimal digits) of what a loop cannot change while it goes on: everything but its budget, its
        target, who proposes, and what may change.
        """
        free = ("budget", "target", "proposers", "space", "worth")
        fixed = {name: value for name, value in self.to_json().items() if name not in free}
        fixed["tasks"] = {name: {**each, "space": {}} for name, each in fixed["tasks"].items()}
        return fingerprint(fixed)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        return {name: getattr(self, name) for name in _PLAIN} | {
            "order": list(self.tasks),
            "tasks": {name: each.to_json() for name, each in self.tasks.items()},
            "budget": self.budget.to_json(),
            "space": dict(self.space),
            "proposers": [dict(each) for each in self.proposers],
            "target": None if self.target is None else self.target.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Goal:
        """Read what `to_json` gave."""
        return cls(
            **{name: data[name] for name in _PLAIN},
            tasks={name: Start.from_json(data["tasks"][name]) for name in data["order"]},
            budget=Budget(**data["budget"]),
            space=data["space"],
            proposers=tuple(data["proposers"]),
            target=None if data["target"] is None else Target(**data["target"]),
        )


_PLAIN = (
    *("name", "scope", "minimum_effect", "minimum_effect_raw", "max_seeds", "alpha", "fdr", "seeds", "worth", "seed"),
)


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise ConfigError(f"goal: {name}: received {shown(value)}; allowed: {allowed}.")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
