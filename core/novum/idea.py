"""Decorators that give a person's own code a name: for `novum --load FILE`, and for scripts that go on to use it.

The name is that of the class or function in small letters with dashes ("GradientNoise" → "gradient-noise"), or the one
that is given: `@novum.technique("noise")`. It lasts until the process ends. Where an installed plugin, or other code,
has the name, each raises ConfigError with both places.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, overload

from novum import plugins
from novum.errors import ConfigError

T = TypeVar("T")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@overload
def technique(named: str) -> Callable[[type[T]], type[T]]: ...
@overload
def technique(named: type[T]) -> type[T]: ...
def technique(named: Any) -> Any:
    """Offer a subclass of `novum.Technique`. Raises ConfigError for another class."""
    return _decorated("technique", named, _check_technique)


@overload
def optimizer(named: str) -> Callable[[T], T]: ...
@overload
def optimizer(named: T) -> T: ...
def optimizer(named: Any) -> Any:
    """Offer a function `(params, learning_rate, weight_decay, **recipe values that it names) -> torch Optimizer`.

    Raises ConfigError where it cannot be called like that.
    """
    return _decorated("optimizer", named, lambda thing: _check_function("optimizer", thing, 3))


@overload
def schedule(named: str) -> Callable[[T], T]: ...
@overload
def schedule(named: T) -> T: ...
def schedule(named: Any) -> Any:
    """Offer a function from the share of the budget used, 0 to 1, to a factor on the learning rate.

    Raises ConfigError where it cannot be called like that.
    """
    return _decorated("schedule", named, lambda thing: _check_function("schedule", thing, 1))


@overload
def plugin(named: str) -> Callable[[type[T]], type[T]]: ...
@overload
def plugin(named: type[T]) -> type[T]: ...
def plugin(named: Any) -> Any:
    """Offer a subclass of `novum.Task`, `novum.Model`, `novum.Evaluator` or `novum.Technique`, as what it is.

    Raises ConfigError for another class.
    """
    if isinstance(named, str):
        return lambda thing: _offer(_kind(thing), thing, named)
    return _offer(_kind(named), named, spelt(named))


def spelt(thing: Any) -> str:
    """What a class or function is called where nothing else is said: "GradientNoise" → "gradient-noise"."""
    return _HUMP.sub("-", thing.__name__).replace("_", "-").strip("-").lower()


def _decorated(kind: str, named: Any, check: Callable[[Any], None]) -> Any:
    def offer(thing: Any, name: str | None = None) -> Any:
        check(thing)
        return _offer(kind, thing, name or spelt(thing))

    return (lambda thing: offer(thing, named)) if isinstance(named, str) else offer(named)


def _offer(kind: str, thing: Any, name: str) -> Any:
    plugins.offer(kind, thing, name)
    return thing


def _check_technique(thing: Any) -> None:
    from novum.technique import Technique

    if not (isinstance(thing, type) and issubclass(thing, Technique)):
        raise ConfigError(f"@novum.technique: received {thing!r}; it goes above a subclass of novum.Technique.")


def _check_function(kind: str, thing: Any, count: int) -> None:
    try:
        inspect.signature(thing).bind_partial(*range(count))
    except (TypeError, ValueError):
        takes = {3: "(params, learning_rate, weight_decay)", 1: "(share)"}[count]
        raise ConfigError(f"@novum.{kind}: received {thing!r}; it goes above a function {takes}.") from None
    if not hasattr(thing, "__qualname__"):
        raise ConfigError(f"@novum.{kind}: received {thing!r}; it goes above a function or a class, with a name.")


def _kind(thing: Any) -> str:
    from novum.evaluator import Evaluator
    from novum.model import Model
    from novum.task import Task
    from novum.technique import Technique

    kinds: dict[str, type[Any]] = {"task": Task, "model": Model, "evaluator": Evaluator, "technique": Technique}
    for kind, base in kinds.items():
        if isinstance(thing, type) and issubclass(thing, base):
            return kind
    raise ConfigError(
        f"@novum.plugin: received {thing!r}; it goes above a subclass of novum.Task, novum.Model, novum.Evaluator or "
        "novum.Technique."
    )
