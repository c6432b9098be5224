"""Numbers in words, HTML by construction, and the geometry of plots."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.data import Undefined
from novum.report import svg
from novum.report.markup import element, joined
from novum.report.text import bound, ends, interval, numbers, peaks, seconds, signed, size, spared, used, won
from novum.report.words import level, looks, scope

FLOATS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.94736842, "0.9474"),
        (0.031234567, "0.0312"),
        (1.25e-05, "1.25e-05"),
        (486.31, "486.3"),
        (12345.6, "12,346"),
        (999.96, "1,000"),
        (0.0, "0"),
        (-0.0, "0"),
        (1437, "1,437"),
        (True, "True"),
        ("euclidean", "euclidean"),
        ([0.0201, 0.5], "0.0201 … 0.5"),
        ({"undefined": "the seeds do not vary"}, "undefined, because the seeds do not vary"),
        (Undefined("n is 1"), "undefined, because n is 1"),
        (None, "undefined, because it was not recorded"),
        (float("nan"), "undefined, because it came out as nan"),
    ],
)
def test_a_number_is_short_and_what_is_undefined_says_why(value: Any, shown: str) -> None:
    assert numbers(value) == shown


@given(FLOATS)
def test_a_shown_number_is_within_a_half_percent_of_the_stored_one(value: float) -> None:
    shown = float(numbers(value).replace(",", ""))

    assert shown == pytest.approx(value, rel=0.006, abs=1e-300)


def test_only_what_is_above_zero_has_a_plus_sign() -> None:
    assert [signed(value) for value in (0.5, 0.0, -0.5, {"undefined": "x"})] == [
        "+0.5",
        "0",
        "-0.5",
        "undefined, because x",
    ]


def test_times_are_in_words_that_people_use() -> None:
    assert [seconds(value) for value in (0.42, 38.2, 390.0, 8100.0, {"undefined": "x"})] == [
        "0.42 s",
        "38 s",
        "6.5 min",
        "2.25 h",
        "undefined, because x",
    ]


OPEN = {"undefined": "it is open on this side"}


def test_an_open_end_of_an_interval_is_infinite() -> None:
    assert [interval(each) for each in ([OPEN, 0.5], [-0.25, OPEN], [OPEN, OPEN], [0.0201, 0.5])] == [
        "−∞ … 0.5",
        "-0.25 … ∞",
        "−∞ … ∞",
        "0.0201 … 0.5",
    ]
    assert interval({"undefined": "the seeds do not vary"}) == "undefined, because the seeds do not vary"
    assert [ends(each) for each in ([OPEN, 0.5], {"undefined": "x"}, [0.1, OPEN])] == [
        (-math.inf, 0.5),
        None,
        (0.1, math.inf),
    ]


def test_a_p_value_is_shown_as_the_bound_that_it_is() -> None:
    assert [bound(each) for each in (0.02, {"undefined": "no level was crossed"})] == [
        "≤ 0.02",
        "undefined, because no level was crossed",
    ]


def test_memory_is_shown_for_each_arm_or_why_it_is_not_known() -> None:
    missing = {"undefined": "it was not measured"}
    unknown = "undefined, because it was not measured"

    assert [size(each) for each in (4.12e8, 1.3e9, missing)] == ["412 MB", "1.3 GB", unknown]
    assert peaks({"control": 4e8, "treatment": 5e8, "ratio": 1.25}) == "400 MB → 500 MB (×1.25)"
    assert peaks({"control": missing, "treatment": 5e8, "ratio": missing}) == "(it was not measured) → 500 MB"
    assert peaks({"control": missing, "treatment": missing, "ratio": missing}) == unknown


def test_what_was_spared_is_told_as_far_as_it_is_known() -> None:
    missing = {"undefined": "no price was given"}
    nothing = {"undefined": "no maximum was declared"}

    assert spared({"trials": 9, "seconds": 21.0, "money": 0.5}) == "9 trials, about 21 s of device time, 0.5 in money"
    assert spared({"trials": 1, "seconds": missing, "money": missing}) == "1 trial"
    assert spared({"trials": 0, "seconds": 0.0, "money": missing}) == "nothing"
    assert spared({"trials": nothing}) == "undefined, because no maximum was declared"
    assert [used({"pairs": 5, "planned": each}) for each in (10, nothing)] == ["5 of 10", "5"]


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (range(3, 11), "at every pair from 3 to 10"),
        ((10,), "once, at 10 pairs"),
        ((4, 8, 10), "at 4, 8 and 10 pairs"),
        (range(4, 41, 4), "every 4 pairs from 4 to 40"),
        ((3, 5, 9, 17, 33, 65, 100), "at 3, 5, 9, … 65 and 100 pairs"),
        (range(3, 1001), "at every pair from 3 to 1,000"),
    ],
)
def test_looks_are_told_in_few_words(at: Any, told: str) -> None:
    assert looks(tuple(at)) == told


def test_a_level_names_its_goal_or_says_that_it_stands_alone() -> None:
    stream = {"goal": "rates", "index": 22, "rule": "lond", "alpha": 0.05}

    assert level({"level": 0.0109, "alpha": 0.05, "stream": stream}) == (
        "Tested at 0.0109, the 22nd of goal rates (LOND at 0.05); a refutation at 0.05."
    )
    assert "nobody corrects for other claims" in level({"level": 0.05, "alpha": 0.05, "stream": {}})


def test_a_scope_says_how_many_tasks_it_needs() -> None:
    tasks = {"a": 1, "b": 2, "c": 3}

    assert [scope({"scope": each, "tasks": tasks}) for each in ("all", "at_least(2)", "average")] == [
        "every one of 3 tasks",
        "at least 2 of 3 tasks",
        "the average over 3 tasks, each on its scale",
    ]
    assert scope({"scope": "all", "tasks": {"a": 1}}) == "its only task"


def test_wins_are_undefined_where_a_pair_broke() -> None:
    assert (
        won({"effect": {"undefined": "the experiment broke"}, "wins": 2}, 3)
        == "undefined, because the experiment broke"
    )
    assert won({"effect": 0.1, "wins": 2}, 3) == "2 of 3"


@given(st.text(), st.text())
def test_no_text_or_attribute_can_leave_its_element(content: str, attribute: str) -> None:
    made = element("td", content, ["<i>", 3, None], element("b", content), title=attribute)

    assert (
        set(made.replace("<td title=", "").replace("</td>", "").replace("<b>", "").replace("</b>", "")) & {"<"} == set()
    )
    assert made.count('"') == 2


def test_only_markup_is_kept_as_it_is() -> None:
    assert joined(element("br"), "<br>", 1) == "<br>&lt;br&gt;1"


@given(FLOATS, st.floats(min_value=1e-3, max_value=1e6), st.integers(2, 8))
def test_ticks_are_few_evenly_spaced_and_inside(low: float, width: float, about: int) -> None:
    high = low + width

    found = svg.ticks(low, high, about)

    assert len(found) <= about + 1
    assert all(low - width * 1e-6 <= tick <= high + width * 1e-6 for tick in found)
    steps = {round((after - before) / width, 6) for before, after in itertools.pairwise(found)}
    assert len(steps) <= 1


def test_an_axis_is_never_empty() -> None:
    assert all(low < high for low, high in (svg.span([0.0]), svg.span([5.0, 5.0]), svg.span([-1.0, 2.0])))


def test_numbers_below_each_other_have_the_same_decimals() -> None:
    assert svg.fixed([0.9, 0.95, 1.0]) == ["0.90", "0.95", "1.00"]
    assert svg.fixed([0.0123456, -0.00004], plus=True, places=4) == ["+0.0123", "0.0000"]
    assert svg.fixed([12345.0, 0.5]) == ["12,345.0", "0.5"]


def test_decimals_show_so_many_digits_of_the_largest_and_no_more_than_there_are() -> None:
    assert [svg.decimals(each, 3) for each in ([0.0123456, 0.001], [0.1 + 0.2], [123.4, -20.06], [0.0], [])] == [
        4,
        1,
        0,
        0,
        0,
    ]


def test_a_worst_value_does_not_round_the_other_pairs_away() -> None:
    drawn = svg.pairs([row(0.5, 0.55), row(0.5, None)], LOSS | {"worst": 1e6}, "on dev")

    assert ">-0.05<" in drawn and ">-999,999.50<" in drawn


ACCURACY = {"name": "accuracy", "direction": "max", "worst": 0.0}
LOSS = {"name": "loss", "direction": "min", "worst": 9.0}


def row(control: float | None, treatment: float | None) -> dict[str, Any]:
    def side(value: float | None) -> dict[str, Any]:
        state = "done" if value is not None else "diverged"
        return {"state": state, "value": value, "because": "a loss was not finite", "seconds": 1.0}

    return {"index": 0, "control": side(control), "treatment": side(treatment)}


def test_a_lower_loss_is_a_win_and_its_worst_value_stands_on_the_right() -> None:
    drawn = svg.pairs([row(0.5, 0.4), row(0.5, None)], LOSS, "on dev")

    assert drawn.count('class="pair win"') == 1
    assert "better by +0.1<" in drawn and "lower is better; × counts as 9" in drawn
    cross = float(drawn.split('class="cross treatment"')[0].rsplit('d="M', 1)[1].split(",")[0])
    assert cross > max(float(part.split('"')[0]) for part in drawn.split('cx="')[1:])


def test_many_pairs_stay_a_page_high() -> None:
    drawn = svg.pairs([row(0.5, 0.6)] * 100, ACCURACY, "on dev")

    height = float(drawn.split('viewBox="0 0 420 ')[1].split('"')[0])
    assert height < 800 and drawn.count('class="pair win"') == 100


def test_a_curve_that_broke_off_counts_as_far_as_it_goes() -> None:
    whole = [(10.0, 0.5), (20.0, 0.9)]

    drawn = svg.curves({"control": [whole, [(10.0, 0.1)]], "treatment": []}, "accuracy", "samples seen")

    assert drawn is not None
    assert "control after 10 units: mean 0.3, 0.1 to 0.5 over 2 seeds" in drawn
    assert "control after 20 units: mean 0.9, 0.9 to 0.9 over 1 seeds" in drawn
    assert svg.curves({"control": [], "treatment": []}, "accuracy", "samples seen") is None


def test_points_that_are_no_numbers_are_left_out_of_a_curve() -> None:
    points: list[dict[str, Any]] = [{"units": 10, "value": 0.5}, {"units": 20, "value": {"undefined": "no class"}}]

    assert svg.curve_of(points) == [(10.0, 0.5)]
