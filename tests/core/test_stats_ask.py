from __future__ import annotations

import math
from typing import Any

import novum.stats
import pytest
from novum.errors import ConfigError
from novum.stats import SequentialTest

PAIRS = [(0.81, 0.84), (0.82, 0.86), (0.80, 0.84), (0.83, 0.86), (0.81, 0.85), (0.82, 0.86), (0.80, 0.83)]


def told(test: SequentialTest, pairs: Any = PAIRS) -> SequentialTest:
    for control, treatment in pairs:
        if not test.decided:
            test.tell(control=control, treatment=treatment)
    return test


def test_a_test_is_open_before_any_pair() -> None:
    test = SequentialTest()

    assert (test.decided, test.outcome, test.pairs, test.saved, test.effect, test.interval, test.p) == (
        *(False, None, 0, None, None, None, None),
    )
    assert repr(test) == "SequentialTest(sequential-t: open after 0 pairs, at most 10)"


def test_it_is_told_pairs_until_it_is_decided_and_says_what_it_saved() -> None:
    test = told(SequentialTest(minimum_effect=0.01))

    assert (test.outcome, test.pairs, test.saved) == ("supported", 3, 7)
    assert test.interval is not None and test.interval[0] > 0.01
    assert test.p is not None and test.p <= 0.05
    assert "supported after 3 pairs" in repr(test)


def test_telling_more_after_the_decision_changes_nothing() -> None:
    test = told(SequentialTest(minimum_effect=0.01))
    before = test.decision

    test.tell(control=1.0, treatment=0.0)

    assert test.decision == before


def test_less_is_better_where_the_direction_says_so() -> None:
    swapped = [(treatment, control) for control, treatment in PAIRS]

    assert told(SequentialTest(direction="min"), swapped).outcome == "supported"
    assert told(SequentialTest(direction="min")).outcome == "refuted"


@pytest.mark.parametrize("method", ["t", "sign-flip", "sign"])
def test_every_method_takes_the_same_pairs(method: Any) -> None:
    assert told(SequentialTest(method=method, max_seeds=7)).outcome == "supported"


def test_without_a_maximum_it_is_an_e_process() -> None:
    test = told(SequentialTest(max_seeds=None))

    assert test.design.method == "e-process"
    assert (test.outcome, test.saved) == ("supported", None)
    assert "no declared maximum" in repr(test)


def test_an_interval_that_is_open_is_infinite() -> None:
    test = told(SequentialTest(method="sign-flip"), PAIRS[:3])

    assert test.interval == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"method": "welch"}, "method: received 'welch'"),
        ({"max_seeds": None, "method": "t"}, "max_seeds: received None with method 't'"),
        ({"max_seeds": 10, "method": "e-process"}, "max_seeds: received 10 with method 'e-process'"),
        ({"max_seeds": 2}, "max_seeds: received 2"),
        ({"alpha": 0.7}, "alpha: received 0.7"),
        ({"direction": "up"}, "direction: received 'up'"),
        ({"margins": "loose"}, "margins: received 'loose'"),
        ({"minimum_effect": -1}, "minimum_effect: received -1"),
    ],
)
def test_what_is_out_of_range_is_named(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SequentialTest(**parts)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "0.9", None, True])
def test_a_score_that_is_no_number_is_refused_and_leaves_the_test_as_it_was(bad: Any) -> None:
    test = told(SequentialTest(), PAIRS[:2])

    with pytest.raises(ConfigError, match="treatment: received"):
        test.tell(control=0.8, treatment=bad)

    assert test.pairs == 2


def test_the_statistics_are_loaded_when_they_are_used() -> None:
    assert sorted(novum.stats.__all__) == ["Decision", "Design", "Look", "SequentialTest", "judge"]
    assert all(hasattr(novum.stats, name) for name in novum.stats.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'ttest'"):
        _ = novum.stats.ttest
