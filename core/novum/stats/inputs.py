"""What the statistics accept: each check returns the clean value or raises ConfigError naming the field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from novum.errors import ConfigError


def number(field: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number from `least` to `most`."""
    found = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    if not math.isfinite(found) or not least <= found <= most:
        raise ConfigError(f"{field}: received {value!r}; give a finite number{_span(least, most)}.")
    return found


def numbers(
    field: str, values: Iterable[Any], count: int = 1, least: float = -math.inf, most: float = math.inf
) -> tuple[float, ...]:
    """At least `count` finite numbers, each from `least` to `most`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{field}: received {values!r}; give a sequence of numbers.")
    found = tuple(number(f"{field}[{at}]", value, least, most) for at, value in enumerate(values))
    if len(found) < count:
        raise ConfigError(f"{field}: received {len(found)} numbers; give at least {count}.")
    return found


def positive(field: str, value: Any) -> float:
    """A finite number above 0."""
    found = number(field, value)
    if found <= 0:
        raise ConfigError(f"{field}: received {value!r}; give a finite number above 0.")
    return found


def level(field: str, value: Any) -> float:
    """An error rate: above 0 and below 0.5."""
    found = number(field, value)
    if not 0 < found < 0.5:
        raise ConfigError(f"{field}: received {value!r}; give a number above 0 and below 0.5.")
    return found


def whole(field: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    found = number(field, value, least)
    if found != int(found):
        raise ConfigError(f"{field}: received {value!r}; give a whole number of at least {least}.")
    return int(found)


def one_of(field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of the names in `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{field}: received {value!r}; allowed: {', '.join(allowed)}.")
    return str(value)


def _span(least: float, most: float) -> str:
    if math.isinf(most):
        return "" if math.isinf(least) else f" of at least {least:g}"
    return f" of at most {most:g}" if math.isinf(least) else f" from {least:g} to {most:g}"
