from __future__ import annotations

from typing import Any

import pytest
from novum import ConfigError, Recipe
from novum.config import parse
from novum.recipe import amount, units


@pytest.mark.parametrize(
    ("budget", "size", "expected"),
    [
        ("6 epochs", 100, 600),
        ("1 epoch", 7, 7),
        ("0.5 epochs", 100, 50),
        ("0.001 epochs", 100, 1),
        ("2epochs", 10, 20),
        ("  3  EPOCHS ", 10, 30),
        ("5_000 samples", 100, 5000),
        ("1 sample", 100, 1),
        ("100_000 steps", None, 100_000),
        ("1 step", None, 1),
        ("64 units", 100, 64),
        ("64", None, 64),
        ("64", 100, 64),
    ],
)
def test_a_budget_resolves_to_units_of_experience(budget: str, size: int | None, expected: int) -> None:
    assert units(budget, size) == expected


@pytest.mark.parametrize(
    ("budget", "size", "told"),
    [
        ("6 epochs", None, "an environment has no end; give environment steps"),
        ("600 samples", None, "this task is an environment; say 'steps'"),
        ("600 steps", 100, "a data set of 100 samples; say 'epochs' or 'samples'"),
    ],
)
def test_a_budget_of_the_wrong_kind_is_refused_with_the_right_one(budget: str, size: int | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        units(budget, size)

    assert repr(budget) in str(caught.value)


BAD = ["", "epochs", "-1 epochs", "0 epochs", "0", "1e3 steps", "5 hours", "1,000 samples", "5 5", "nan", "inf steps"]


@pytest.mark.parametrize("budget", BAD)
def test_a_text_that_is_no_budget_is_refused_with_examples(budget: str) -> None:
    with pytest.raises(ConfigError, match=r"recipe: option 'budget' .*'6 epochs'"):
        parse(Recipe, {"budget": budget}, "recipe")
    with pytest.raises(ValueError, match="a positive number and a unit"):
        amount(budget)


@pytest.mark.parametrize("budget", [True, None, 1.5, ["1 epochs"], -3, 0])
def test_a_value_that_is_no_budget_is_refused(budget: Any) -> None:
    with pytest.raises(ConfigError, match="option 'budget'"):
        parse(Recipe, {"budget": budget}, "recipe")


def test_a_whole_number_is_a_budget_in_units() -> None:
    assert parse(Recipe, {"budget": 500}, "recipe").budget == "500"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("weight_decay", -1),
        ("momentum", 1),
        ("clip", -1),
        ("averaging", "mean"),
        ("precision", "fp16"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_value(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"recipe: option '{option}' .*received {value!r}"):
        parse(Recipe, {option: value}, "recipe")
