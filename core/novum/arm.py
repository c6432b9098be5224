"""An arm: task + model + evaluator + recipe. What a person writes, and how it is put in words.

`Arm` is as written: plugin names with the options given, and the recipe's values given. `novum.runner.resolve`
turns it into a plan in which nothing is left to defaults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from novum import plugins
from novum.errors import ConfigError, closest
from novum.recipe import Recipe

PARTS = ("task", "model", "evaluator", "start_from", "start_once")
"""What an arm has beside its recipe."""


@dataclass(frozen=True)
class Plugin:
    """A task, model or evaluator by name, with the options given. `options_json` is canonical JSON."""

    kind: str
    name: str
    options_json: str = "{}"

    @property
    def options(self) -> dict[str, Any]:
        """The options, as a fresh dictionary."""
        return dict(json.loads(self.options_json))

    def but(self, **options: Any) -> Plugin:
        """The same plugin with some options replaced."""
        return replace(self, options_json=canonical(self.options | options))

    def to_json(self) -> dict[str, Any]:
        """As in a claim file: {"plugin": name, **options}."""
        return {"plugin": self.name, **self.options}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison, as written. Immutable; `but` makes a changed copy.

    evaluator: None means the task's default. recipe: only the values given. start_from: the arm whose trained
    weights this one begins with; it is trained once per seed, or with start_once a single time for all seeds, which
    then begin alike.
    """

    task: Plugin
    model: Plugin
    evaluator: Plugin | None = None
    recipe: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    start_from: Arm | None = None
    start_once: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.start_once, bool) or (self.start_once and self.start_from is None):
            raise ConfigError(
                f"start_once: received {self.start_once!r}; allowed: true where the arm has a start_from, which is "
                "then trained once for all seeds, or false: once per seed. Add a start_from, or drop start_once."
            )
        unknown = sorted(set(self.recipe) - set(Recipe.model_fields))
        if unknown:
            raise ConfigError(f"recipe: unknown option {unknown[0]!r}; {closest(unknown[0], Recipe.model_fields)}.")
        object.__setattr__(self, "recipe", MappingProxyType(dict(self.recipe)))

    def __hash__(self) -> int:
        return hash(canonical(self.to_json()))

    def but(self, **changes: Any) -> Arm:
        """A copy with some parts replaced: `task`, `model`, `evaluator`, `start_from`, `start_once`, or values of the
        recipe. Without its start an arm has no `start_once` either.

        Raises ConfigError for a name that is none of these.
        """
        parts = {name: changes.pop(name) for name in PARTS if name in changes}
        if "start_from" in parts and parts["start_from"] is None:
            parts.setdefault("start_once", False)
        return replace(self, **parts, recipe={**self.recipe, **changes})

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of `from_json`."""
        return {
            "task": self.task.to_json(),
            "model": self.model.to_json(),
            "evaluator": None if self.evaluator is None else self.evaluator.to_json(),
            "recipe": dict(self.recipe),
            "start_from": None if self.start_from is None else self.start_from.to_json(),
            **({"start_once": True} if self.start_once else {}),  # else as claims were written before there was one
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Arm:
        """Read what `to_json` or a claim file holds."""
        evaluator, start = data.get("evaluator"), data.get("start_from")
        return cls(
            task=_plugin("task", data["task"]),
            model=_plugin("model", data["model"]),
            evaluator=None if evaluator is None else _plugin("evaluator", evaluator),
            recipe=dict(data.get("recipe") or {}),
            start_from=None if start is None else cls.from_json(start),
            start_once=data.get("start_once", False),
        )


def _plugin(kind: str, data: Mapping[str, Any]) -> Plugin:
    options = {name: value for name, value in data.items() if name != "plugin"}
    return Plugin(kind, str(data["plugin"]), canonical(options))


def task(name: str | type[Any], /, **options: Any) -> Plugin:
    """A task by installed name (or a Task class of this script), with its options."""
    return _reference("task", name, options)


def model(name: str | type[Any], /, **options: Any) -> Plugin:
    """A model by installed name (or a Model class of this script), with its options."""
    return _reference("model", name, options)


def evaluator(name: str | type[Any], /, **options: Any) -> Plugin:
    """An evaluator by installed name (or an Evaluator class of this script), with its options."""
    return _reference("evaluator", name, options)


def _reference(kind: str, name: str | type[Any], options: Mapping[str, Any]) -> Plugin:
    return Plugin(kind, name if isinstance(name, str) else plugins.adopt(kind, name), canonical(options))


def arm(
    task: str | Plugin,
    model: str | Plugin,
    evaluator: str | Plugin | None = None,
    start_from: Arm | None = None,
    start_once: bool = False,
    **recipe: Any,
) -> Arm:
    """An arm: `novum.arm("gym", "ppo", budget="50_000 steps")`; further keywords are values of the recipe. start_from
    and start_once are described at `Arm`.

    Raises ConfigError for a keyword that no recipe has.
    """
    return Arm(
        task=task if isinstance(task, Plugin) else Plugin("task", task),
        model=model if isinstance(model, Plugin) else Plugin("model", model),
        evaluator=Plugin("evaluator", evaluator) if isinstance(evaluator, str) else evaluator,
        recipe=recipe,
        start_from=start_from,
        start_once=start_once,
    )


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no not-a-number. Raises ConfigError otherwise."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        from novum.config import plain, shown

        raise ConfigError(
            f"{shown(value)} cannot be written as JSON ({plain(str(error), 200)}); options are text, finite "
            "numbers, true or false, lists and tables of these."
        ) from None


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, 32 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]
