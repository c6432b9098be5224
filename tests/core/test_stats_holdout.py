from __future__ import annotations

import math
from typing import Any

import pytest
from novum.errors import ConfigError
from novum.stats.holdout import ladder, parameter_free_ladder, warnings, winners_curse


def test_a_ladder_tells_a_submission_only_where_it_gains_a_step() -> None:
    assert ladder((0.50, 0.48, 0.40, 0.41, 0.385, 0.30), 0.05) == pytest.approx((0.5, 0.5, 0.4, 0.4, 0.4, 0.3))


def test_the_parameter_free_ladder_asks_for_more_than_the_noise_of_the_items() -> None:
    found = parameter_free_ladder([(1, 1, 0), (1, 0, 1), (1, 0, 0)])

    assert found == pytest.approx((2 / 3, 2 / 3, 1 / 3))


@pytest.mark.parametrize(("candidates", "inflation"), [(1, 0.0), (10, 0.014), (100, 0.022)])
def test_the_best_of_many_equals_looks_better_than_it_is(candidates: int, inflation: float) -> None:
    assert winners_curse(candidates, 2000, 0.8) == pytest.approx(inflation, abs=5e-4)


@pytest.mark.parametrize(
    ("queries", "items", "gain", "sd", "said"),
    [
        (6, 300, 0.1, 0.3, []),
        (7, 300, 0.1, 0.3, ["7 arms have been scored on these 300 items"]),
        (1, 300, 0.01, 0.3, ["The gain, 0.01, is less than twice the standard error of 0.017"]),
        (40, 300, -0.01, 0.3, ["40 arms", "The gain, -0.01"]),
    ],
)
def test_it_warns_of_worn_items_and_of_gains_within_their_noise(
    queries: int, items: int, gain: float, sd: float, said: list[str]
) -> None:
    found = warnings(queries, items, gain, sd)

    assert len(found) == len(said)
    assert all(sentence.startswith(begin) for sentence, begin in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ladder((0.5,), 0), "eta: received 0"),
        (lambda: ladder((math.nan,), 0.1), r"losses\[0\]: received nan"),
        (lambda: parameter_free_ladder([(1, 0), (1,)]), r"losses\[1\]: received 1 items after 2"),
        (lambda: winners_curse(0, 10, 0.5), "candidates: received 0"),
        (lambda: winners_curse(1, 10, 1.5), "accuracy: received 1.5"),
        (lambda: warnings(-1, 300, 0.1, 0.3), "queries: received -1"),
        (lambda: warnings(1, 0, 0.1, 0.3), "items: received 0"),
        (lambda: warnings(1, 300, math.nan, 0.3), "gain: received nan"),
        (lambda: warnings(1, 300, 0.1, math.nan), "sd: received nan"),
    ],
)
def test_bad_input_is_named(call: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call()
