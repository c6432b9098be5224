from __future__ import annotations

from typing import Annotated, Any

import pydantic
import pytest
from novum import Config, ConfigError
from novum.config import parse
from pydantic import Field


class Inner(Config):
    colour: str = "red"
    """What it looks like."""


class Options(Config):
    width: Annotated[int, Field(ge=1, le=64)] = 8
    """Units in the layer."""
    rate: float = 0.1
    """Share that is dropped."""
    name: str
    """What it is called."""
    inner: Inner = Inner()
    """A nested table."""
    parts: dict[str, Inner] = {}
    """Named tables."""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widht": 3}, ["'widht'", "3", "did you mean 'width'?", "inner, name, parts, rate, width"]),
        ({"width": "many"}, ["'width'", "'many'", "integer"]),
        ({"width": 0}, ["'width'", "0", "greater than or equal to 1"]),
        ({"width": 65}, ["'width'", "65", "less than or equal to 64"]),
        ({"rate": float("nan")}, ["'rate'", "nan", "finite"]),
        ({"inner": {"color": "blue"}}, ["'inner.color'", "'blue'", "did you mean 'colour'?"]),
        ({"parts": {"left": {"color": "blue"}}}, ["'parts.left.color'", "'blue'", "did you mean 'colour'?"]),
        ({"inner": {"colour": 3}}, ["'inner.colour'", "3", "string"]),
        ({"inner": 3}, ["'inner'", "3"]),
    ],
)
def test_a_fault_is_told_with_its_path_its_value_and_what_is_allowed(options: Any, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Options, {"name": "x"} | options, "model 'toy'")

    message = str(caught.value)
    assert message.startswith("model 'toy':")
    assert [part for part in told if part not in message] == []


def test_a_missing_option_is_told_with_what_it_means() -> None:
    with pytest.raises(ConfigError, match=r"model 'toy': option 'name' is required \(What it is called"):
        parse(Options, {}, "model 'toy'")


def test_every_fault_is_told_at_once_a_line_each() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Options, {"name": 3, "width": 0, "other": 1}, "model 'toy'")

    assert len(str(caught.value).splitlines()) == 3


def test_a_configuration_cannot_be_changed() -> None:
    options = parse(Options, {"name": "x"}, "model 'toy'")

    with pytest.raises(pydantic.ValidationError):
        options.width = 9  # type: ignore[misc]


def test_defaults_are_checked_as_well() -> None:
    class Wrong(Config):
        width: Annotated[int, Field(ge=1)] = 0
        """Units."""

    with pytest.raises(ConfigError, match="'width'"):
        parse(Wrong, {}, "model 'toy'")
