"""Vectors are those of the BCG trials as metafor gives them and of Demšar (2006); scipy.stats is the oracle."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import ConfigError
from novum.stats.across import count, leave_one_out, partial_conjunction, random_effects
from novum.stats.ranks import critical_range, friedman, nemenyi, nemenyi_p
from scipy import stats

BCG = (  # Colditz et al. (1994): vaccinated with and without tuberculosis, not vaccinated with and without
    (4, 119, 11, 128),
    (6, 300, 29, 274),
    (3, 228, 11, 209),
    (62, 13536, 248, 12619),
    (33, 5036, 47, 5761),
    (180, 1361, 372, 1079),
    (8, 2537, 10, 619),
    (505, 87886, 499, 87892),
    (29, 7470, 45, 7232),
    (17, 1699, 65, 1600),
    (186, 50448, 141, 27197),
    (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
)
RATIOS = [math.log(a / (a + b)) - math.log(c / (c + d)) for a, b, c, d in BCG]
ERRORS = [math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)) for a, b, c, d in BCG]
P = (0.03, 0.001, 0.2, 0.004, 0.012)
TABLE_6 = (  # Demšar's ranks of four classifiers on fourteen data sets
    (4, 3, 2, 1),
    (1, 2, 3, 4),
    (4, 1, 2, 3),
    (4, 1, 3, 2),
    (4, 2, 3, 1),
    (1, 2.5, 4, 2.5),
    (3, 2, 4, 1),
    (2.5, 2.5, 4, 1),
    (4, 3, 2, 1),
    (2.5, 2.5, 2.5, 2.5),
    (4, 2.5, 1, 2.5),
    (3, 2, 4, 1),
    (4, 1, 2, 3),
    (3, 1, 4, 2),
)
EFFECTS = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.05, 3)), min_size=2, max_size=12)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


# --------------------------------------------------------------------------------------------- partial conjunction


def test_partial_conjunctions_by_bonferroni() -> None:
    found = [partial_conjunction(P, r) for r in range(1, 6)]

    assert found == pytest.approx([0.005, 0.016, 0.036, 0.06, 0.2], abs=1e-12)
    assert count(P) == 3


def test_fishers_partial_conjunction_sees_more_where_tasks_are_independent() -> None:
    assert partial_conjunction(P, 4, combine="fisher") == pytest.approx(0.036696, abs=1e-6)
    assert count(P, combine="fisher") == 4


@given(SHARES.filter(lambda p: min(p) > 0))
def test_on_at_least_one_task_fishers_partial_conjunction_is_his_combination(p: list[float]) -> None:
    assert partial_conjunction(p, 1, "fisher") == pytest.approx(stats.combine_pvalues(p).pvalue, abs=1e-9)


@given(SHARES, st.sampled_from(["bonferroni", "fisher"]))
def test_the_count_claims_nothing_that_a_smaller_claim_does_not_bear(p: list[float], combine: str) -> None:
    found = count(p, 0.05, combine)

    shown = [partial_conjunction(p, r, combine) <= 0.05 for r in range(1, len(p) + 1)]
    assert all(shown[:found])
    assert found == len(p) or not shown[found]


def test_a_count_stops_at_the_first_claim_that_fails() -> None:
    p = (0.026, 0.026)  # at least one: .052, at least two: .026

    assert partial_conjunction(p, 2) <= 0.05 < partial_conjunction(p, 1)
    assert count(p) == 0


def test_a_p_value_of_zero_is_the_limit_of_small_ones() -> None:
    assert partial_conjunction([0.0, 0.5], 1, "fisher") == 0.0
    assert partial_conjunction([0.0, 0.5], 2, "fisher") == pytest.approx(0.5)


# -------------------------------------------------------------------------------------------------- random effects


def test_random_effects_of_the_bcg_trials_are_those_of_metafor() -> None:
    found = random_effects(RATIOS, ERRORS)

    assert found.k == 13
    assert found.q == pytest.approx(152.2330, abs=1e-4)
    assert found.tau2 == pytest.approx(0.308760, abs=1e-6)
    assert found.i2 == pytest.approx(0.92117, abs=1e-5)
    assert (found.mean, found.error) == pytest.approx((-0.714117, 0.178742), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((-1.107821, -0.320413), abs=1e-6)
    assert (found.prediction_low, found.prediction_high) == pytest.approx((-1.998838, 0.570604), abs=1e-6)
    assert found.p == pytest.approx(stats.chi2.sf(152.2330, 12), rel=1e-3)


def test_paule_and_mandels_heterogeneity_of_the_bcg_trials() -> None:
    assert random_effects(RATIOS, ERRORS, tau="paule-mandel").tau2 == pytest.approx(0.3181, abs=5e-5)


@given(EFFECTS)
def test_paule_and_mandels_heterogeneity_makes_the_weighted_spread_equal_its_degrees_of_freedom(
    tasks: list[tuple[float, float]],
) -> None:
    y, s = np.array(tasks).T

    found = random_effects(y.tolist(), s.tolist(), tau="paule-mandel")

    assert found.tau2 is not None
    assert found.q is not None
    w = 1 / (s**2 + found.tau2)
    spread = float(np.sum(w * (y - np.average(y, weights=w)) ** 2))
    if found.tau2 > 0:
        assert spread == pytest.approx(len(tasks) - 1, rel=1e-9)
    else:
        assert found.q <= (len(tasks) - 1) * (1 + 1e-12)


@given(EFFECTS)
def test_the_interval_is_never_narrower_than_its_standard_error_allows(tasks: list[tuple[float, float]]) -> None:
    y, s = zip(*tasks, strict=True)

    found = random_effects(y, s)

    assert found.high is not None
    assert found.high - found.mean >= float(stats.t.isf(0.025, len(y) - 1)) * found.error * (1 - 1e-9)


def test_alike_effects_have_no_heterogeneity_and_an_interval_all_the_same() -> None:
    found = random_effects([0.5, 0.5, 0.5], [0.1, 0.1, 0.1])

    assert (found.tau2, found.q, found.i2, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert found.high == pytest.approx(0.5 + float(stats.t.isf(0.025, 2)) * 0.1 / math.sqrt(3))


def test_what_few_tasks_do_not_determine_is_none() -> None:
    one = random_effects([0.4], [0.2])
    two = random_effects([0.4, 0.6], [0.2, 0.1])

    assert astuple(one) == (1, 0.4, 0.2, None, None, None, None, None, None, None, None)
    assert (two.prediction_low, two.prediction_high) == (None, None)
    assert None not in (two.low, two.high, two.tau2, two.q, two.p, two.i2)


def test_leaving_one_out_is_the_analysis_without_it() -> None:
    found = leave_one_out(RATIOS, ERRORS, tau="paule-mandel", alpha=0.1)

    assert len(found) == 13
    assert found[3] == random_effects(RATIOS[:3] + RATIOS[4:], ERRORS[:3] + ERRORS[4:], tau="paule-mandel", alpha=0.1)


# ----------------------------------------------------------------------------------------------------------- ranks


def test_friedmans_test_of_demsars_table_6() -> None:
    found = friedman([[-rank for rank in row] for row in TABLE_6])

    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.chi2 == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    assert found.p_chi2 == pytest.approx(stats.chi2.sf(found.chi2, 3), abs=1e-12)
    assert found.f is not None
    assert found.p == pytest.approx(stats.f.sf(found.f, 3, 39), abs=1e-12)


def test_friedmans_statistic_equals_scipys_where_nothing_ties() -> None:
    scores = np.random.default_rng(5).normal(size=(9, 4))

    found = friedman(scores.tolist())

    oracle = stats.friedmanchisquare(*scores.T)
    assert (found.chi2, found.p_chi2) == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-9)


def test_where_all_tasks_rank_alike_f_has_no_bound_and_is_none() -> None:
    found = friedman([[3.0, 2.0, 1.0]] * 4)

    assert (found.f, found.p) == (None, None)
    assert found.chi2 == pytest.approx(8.0)


def test_nemenyis_critical_difference_of_demsars_example() -> None:
    assert nemenyi(4, 14) == pytest.approx(1.25, abs=5e-3)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_demsar(k: int, q: float) -> None:
    assert critical_range(k) == pytest.approx(q, abs=1e-3)


@pytest.mark.parametrize(("k", "alpha"), [(3, 0.05), (6, 0.1), (40, 0.01)])
def test_critical_values_are_those_of_scipys_studentized_range(k: int, alpha: float) -> None:
    inside = stats.studentized_range.cdf(critical_range(k, alpha) * math.sqrt(2), k, math.inf)

    assert inside == pytest.approx(1 - alpha, abs=1e-9)


def test_nemenyis_p_value_meets_alpha_at_the_critical_difference() -> None:
    assert nemenyi_p(nemenyi(5, 12, 0.03), 5, 12) == pytest.approx(0.03, abs=1e-10)
    assert nemenyi_p(-1.0, 5, 12) == nemenyi_p(1.0, 5, 12)
    assert nemenyi_p(0.0, 5, 12) == 1.0


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: partial_conjunction([0.1, 1.2], 1), r"p\[1\]: received 1.2"),
        (lambda: partial_conjunction([0.1, math.nan], 1), r"p\[1\]: received nan"),
        (lambda: partial_conjunction([], 1), "p: received 0 numbers"),
        (lambda: partial_conjunction([0.1, 0.2], 3), "r: received 3"),
        (lambda: partial_conjunction([0.1, 0.2], 0), "r: received 0"),
        (lambda: partial_conjunction([0.1], 1, "stouffer"), "combine: received 'stouffer'"),
        (lambda: count([0.1], alpha=0.7), "alpha: received 0.7"),
        (lambda: random_effects([0.1, 0.2], [0.1]), "errors: received 1 for 2 effects"),
        (lambda: random_effects([0.1, 0.2], [0.1, 0.0]), "errors: received 0.0"),
        (lambda: random_effects([0.1, "x"], [0.1, 0.1]), r"effects\[1\]: received 'x'"),  # type: ignore[list-item]
        (lambda: random_effects([0.1], [0.1], tau="reml"), "tau: received 'reml'"),
        (lambda: random_effects([0.1], [0.1], alpha=0.5), "alpha: received 0.5"),
        (lambda: leave_one_out([0.1], [0.1]), "effects: received 1 numbers"),
        (lambda: friedman([[1.0, 2.0]]), "scores: received 1 tasks"),
        (lambda: friedman([[1.0, 2.0], [1.0, 2.0, 3.0]]), r"scores\[1\]: received 3 methods"),
        (lambda: friedman([[1.0], [2.0]]), r"scores\[0\]: received 1 numbers"),
        (lambda: friedman([[1.0, 2.0], [1.0, math.nan]]), r"scores\[1\]\[1\]: received nan"),
        (lambda: critical_range(1), "k: received 1"),
        (lambda: nemenyi(3, 1), "n: received 1"),
    ],
)
def test_what_is_no_data_is_refused_by_name(call: Any, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        call()
