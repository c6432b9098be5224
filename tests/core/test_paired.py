"""Vectors are those of Student's sleep data as R gives them, and of the resolution floor; scipy is the oracle."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from novum.stats.paired import boundary, paired, pairs_needed
from scipy.stats import t as student
from scipy.stats import ttest_rel

SLEEP = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)
VALUES = st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=3, max_size=20)


def test_the_sleep_data_give_the_t_value_p_value_and_interval_of_the_literature() -> None:
    found = paired(SLEEP, 0.0, boundary(0.025, 10))

    assert found.t == pytest.approx(4.062128, abs=1e-6)
    assert found.p is not None
    assert 2 * found.p == pytest.approx(0.00283289, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert (found.n, found.varies) == (10, True)
    assert found.mean == pytest.approx(1.58)


def test_a_margin_moves_the_statistic_and_not_the_interval() -> None:
    found = paired(SLEEP, 0.5, boundary(0.025, 10))

    assert found.t == pytest.approx(2.776644, abs=1e-6)
    assert found.p == pytest.approx(0.010759, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_the_resolution_of_a_metric_is_the_floor_of_its_variance() -> None:
    found = paired([0.001] * 3, 0.0, boundary(0.05, 3), resolution=0.001)

    assert found.t == pytest.approx(6.0, abs=1e-3)
    assert found.t is not None
    assert math.isfinite(found.t)
    assert not found.varies


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e-12])
def test_equal_differences_do_not_vary_and_have_no_t_value(value: float) -> None:
    found = paired([value] * 10, 0.0, boundary(0.05, 10))

    assert not found.varies
    assert found.t is None
    assert found.p is None


def test_differences_that_vary_by_rounding_alone_do_not_vary() -> None:
    differences = [0.3 - 0.2, 0.1, 0.1 + 1e-17, 0.4 - 0.3, 0.7 - 0.6]
    assert len(set(differences)) > 1

    assert not paired(differences, 0.0, boundary(0.05, 5)).varies


@given(VALUES, st.floats(-1, 1))
def test_t_and_p_are_those_of_scipy(pairs: list[tuple[float, float]], margin: float) -> None:
    control, treatment = [a for a, _ in pairs], [b for _, b in pairs]
    differences = [b - a for a, b in pairs]
    found = paired(differences, margin, boundary(0.05, len(pairs)))
    assume(found.varies and found.deviation > 1e-6)

    oracle = ttest_rel(treatment, [each + margin for each in control], alternative="greater")

    assert found.t == pytest.approx(float(oracle.statistic), rel=1e-6, abs=1e-6)
    assert found.p == pytest.approx(float(oracle.pvalue), rel=1e-6, abs=1e-9)


@given(VALUES, st.floats(-1, 1), st.floats(0.001, 0.4))
def test_the_interval_excludes_the_margin_exactly_when_p_is_below_alpha(
    pairs: list[tuple[float, float]], margin: float, alpha: float
) -> None:
    found = paired([b - a for a, b in pairs], margin, boundary(alpha, len(pairs)))
    assume(found.p is not None and abs(found.p - alpha) > 1e-9)

    assert found.p is not None
    assert (found.low > margin) == (found.p < alpha)
    assert found.high - found.mean == pytest.approx(found.mean - found.low)


@given(st.permutations(SLEEP))
def test_the_order_of_the_pairs_changes_no_bit(differences: list[float]) -> None:
    assert paired(differences, 0.1, 2.0, 0.01) == paired(SLEEP, 0.1, 2.0, 0.01)


@given(st.floats(1e-6, 0.49), st.integers(2, 200))
def test_the_boundary_is_that_of_students_distribution(alpha: float, n: int) -> None:
    assert boundary(alpha, n) == pytest.approx(float(student.isf(alpha, n - 1)), rel=1e-12)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-0.5, 0.5), st.sampled_from([0.005, 0.05, 0.2]))
def test_pairs_needed_is_the_first_number_at_which_the_interval_excludes_the_margin(
    mean: float, deviation: float, margin: float, alpha: float
) -> None:
    enough = (
        n for n in range(2, 61) if abs(mean - margin) > float(student.isf(alpha, n - 1)) * deviation / math.sqrt(n)
    )

    assert pairs_needed(mean, deviation, margin, alpha, most=60) == next(enough, None)


def test_no_number_of_pairs_separates_a_mean_from_itself() -> None:
    assert pairs_needed(0.1, 0.05, 0.1, 0.05) is None
    assert pairs_needed(0.1, 0.0, 0.1, 0.05) is None
