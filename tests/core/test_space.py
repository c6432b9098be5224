"""Search spaces: options by path, the values they may take, and arms with other values."""

from __future__ import annotations

from typing import Any

import novum
import pytest
from novum import ConfigError
from novum.space import Option, applied, current, default, described, differences, flat, spaces, written

ARM = novum.arm(
    novum.task("image-classification", data="digits"),
    novum.model("mlp", width=32),
    budget="2 epochs",
    learning_rate=1e-3,
)


def test_nested_tables_are_options_by_path() -> None:
    table = {"recipe": {"schedule": ["constant"], "learning_rate": {"low": 1, "high": 2}}, "model.width": [8]}
    assert dict(flat(table)) == {
        "recipe.schedule": ["constant"],
        "recipe.learning_rate": {"low": 1, "high": 2},
        "model.width": [8],
    }


def test_lists_ranges_and_descriptions_say_what_an_option_may_be() -> None:
    assert written("recipe.schedule", ["constant", "cosine"], ARM).choices == ("constant", "cosine")
    rate = written("recipe.learning_rate", {"low": 1e-4, "high": 0.1, "log": True}, ARM)
    assert (rate.low, rate.high, rate.log, rate.whole) == (1e-4, 0.1, True, False)
    assert written("model.width", {"low": 8, "high": 64}, ARM).whole
    assert written("model.dropout", True, ARM) == Option("model.dropout", low=0.0, high=0.9)


def test_true_takes_ends_choices_and_multiples_from_the_description() -> None:
    assert set(described("recipe.averaging", ARM).choices) == {"none", "ema", "swa"}  # type: ignore[union-attr]
    assert "cosine" in described("recipe.schedule", ARM).choices  # type: ignore[union-attr]
    assert described("recipe.budget", ARM).choices == ("2 epochs", "4 epochs", "8 epochs")  # type: ignore[union-attr]
    width = described("model.width", ARM)
    assert width is not None and (width.low, width.high, width.whole) == (8.0, 128.0, True)
    rate = described("recipe.learning_rate", ARM)
    assert rate is not None and rate.log and rate.low < 1e-3 < rate.high
    assert described("task.data", ARM) is None


def test_without_a_word_everything_that_is_described_with_ends_may_change() -> None:
    found = default(ARM)

    assert {"recipe.learning_rate", "recipe.schedule", "recipe.averaging", "model.dropout", "model.width"} <= set(found)
    assert not {path for path in found if path.split(".")[1] in ("precision", "devices", "budget", "cpus")}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("recipe.shedule", True, r"recipe\.shedule: the recipe has no such option; .*schedule"),
        ("model.depth", [1], r"model\.depth: the model 'mlp' has no such option"),
        ("evaluator.x", [1], r"is no option of an arm; allowed: recipe\.NAME, model\.NAME, task\.NAME, start_from"),
        ("recipe.schedule", [], r"received an empty list"),
        ("recipe.schedule", "cosine", r"received 'cosine'; give a list of values"),
        ("recipe.learning_rate", {"low": 1}, r"give a list of values"),
        ("recipe.learning_rate", {"low": 2, "high": 1}, r"low = 2\.0, high = 1\.0; give .* low below high"),
        ("recipe.learning_rate", {"low": 0, "high": 1, "log": True}, r"low above 0 where log = true"),
        ("recipe.learning_rate", {"low": "a", "high": 1}, r"received 'a' as an end of a range; give a number"),
        ("model.dropout", {"low": 0.0, "high": 1.5}, r"model\.dropout: .*1\.5.*Only values that the option takes"),
        ("recipe.averaging", ["mean"], r"recipe\.averaging: .*'mean'"),
        ("task.data", True, r"nothing says where its values end"),
    ],
)
def test_what_no_arm_takes_is_refused_with_what_is_allowed(path: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        written(path, value, ARM)


def test_an_option_holds_its_values_and_no_others() -> None:
    rate = Option("recipe.learning_rate", low=0.1, high=1.0)
    assert rate.holds(0.1) and rate.holds(1) and not rate.holds(2) and not rate.holds(True) and not rate.holds("1")
    width = Option("model.width", low=1, high=8, whole=True)
    assert width.holds(4) and not width.holds(4.5)
    assert (width.nearest(100), width.nearest(2.6), rate.nearest(0.01)) == (8, 3, 0.1)
    assert Option("x", choices=("a", None)).holds(None)


def test_a_change_is_put_into_the_arm_and_found_again() -> None:
    options = {
        "recipe.learning_rate": 0.01,
        "model.dropout": 0.5,
        "task.per_class": 5,
        "recipe.techniques.flooding.level": 0.1,
    }

    changed = applied(ARM, options)

    assert {path: current(changed, path) for path in options} == options
    assert differences(ARM, changed) == options
    assert differences(ARM, ARM) == {}
    assert current(ARM, "model.dropout") == 0.0
    assert ARM.recipe["learning_rate"] == 1e-3, "the arm itself is left alone"


def test_a_start_is_a_table_of_changes_to_the_arm_itself() -> None:
    table = {"task": {"per_class": 0}, "recipe": {"budget": "4 epochs"}, "start_once": True}

    changed = applied(ARM, {"start_from": table})

    assert changed.start_from is not None
    assert (changed.start_from.recipe["budget"], changed.start_from.model.options["width"]) == ("4 epochs", 32)
    assert changed.start_once
    assert applied(changed, {"start_from": None}) == ARM
    again = applied(ARM, differences(ARM, changed))
    assert again == changed


def test_a_shared_option_is_open_where_an_arm_has_it() -> None:
    other = novum.arm("text-classification", "bag")

    found = spaces({"recipe": {"schedule": True}, "model.width": [8, 16]}, {"a": {}, "b": {}}, {"a": ARM, "b": other})

    assert (set(found["a"]), set(found["b"])) == ({"recipe.schedule", "model.width"}, {"recipe.schedule"})


def test_an_option_that_no_arm_has_is_refused_and_so_is_an_empty_space() -> None:
    with pytest.raises(ConfigError, match=r"model\.depth: the model 'mlp' has no such option"):
        spaces({"model.depth": [1]}, {"a": {}}, {"a": ARM})
    with pytest.raises(ConfigError, match=r"space: it is empty: no option of any arm may change"):
        spaces({"model": {}}, {"a": {"recipe": {}}}, {"a": ARM})
