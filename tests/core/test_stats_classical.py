"""Vectors are those of R, of Jennison & Turnbull (2000) and of the papers; scipy.stats is the oracle elsewhere."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import ConfigError
from novum.stats.classical import (
    MOST_FLIPS,
    equivalence,
    group_sequential,
    hedges,
    noether,
    paired_t,
    power,
    sample_size,
    sign_flip,
    welch,
    wilcoxon,
)
from scipy import stats

SLEEP = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)
DRUGS = (
    (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4),
    (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0),
)
DEPRESSION = (
    (1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30),
    (0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29),
)
STEPS = st.lists(st.integers(-6, 6), min_size=2, max_size=9)


def test_the_paired_t_test_of_the_sleep_data_is_that_of_r() -> None:
    found = paired_t(SLEEP)

    assert found.t == pytest.approx(4.062128, abs=1e-6)
    assert found.p == pytest.approx(0.00283289, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert (found.n, found.mean) == pytest.approx((10, 1.58))


def test_effect_sizes_of_the_sleep_data_and_their_intervals_are_those_of_the_literature() -> None:
    found = paired_t(SLEEP)

    assert found.dz == pytest.approx(1.284558, abs=1e-6)
    assert found.correction == pytest.approx(0.913875, abs=1e-6)
    assert found.g == pytest.approx(1.173925, abs=1e-6)
    assert found.dz_interval == pytest.approx((0.414628, 2.118017), abs=1e-6)
    assert found.g_interval == pytest.approx((0.913875 * 0.414628, 0.913875 * 2.118017), abs=2e-6)


def test_a_margin_moves_the_t_value_and_leaves_interval_and_effect_size() -> None:
    bare, found = paired_t(SLEEP), paired_t(SLEEP, margin=0.5)

    assert found.t == pytest.approx(2.776644, abs=1e-6)
    assert found.p == pytest.approx(2 * 0.010759, abs=2e-6)
    assert (found.low, found.high, found.dz_interval) == (bare.low, bare.high, bare.dz_interval)


@given(st.floats(-40, 40), st.integers(3, 60), st.sampled_from([0.05, 0.1, 0.01]))
def test_the_interval_of_an_effect_size_puts_it_at_both_tails_of_the_noncentral_t(d: float, n: int, a: float) -> None:
    unit = [1.0, -1.0, *[0.0] * (n - 2)]
    sd = math.sqrt(2 / (n - 1))

    found = paired_t([d * sd + each for each in unit], alpha=a)

    t = d * math.sqrt(n)
    assert found.dz_interval is not None
    low, high = (stats.nct.cdf(t, n - 1, end * math.sqrt(n)) for end in found.dz_interval)
    assert (low, high) == pytest.approx((1 - a / 2, a / 2), abs=1e-9)


def test_differences_that_do_not_vary_have_no_statistics() -> None:
    found = paired_t([0.3 - 0.2, 0.1, 0.4 - 0.3])

    assert (found.t, found.p, found.low, found.high, found.dz, found.g, found.dz_interval) == (None,) * 7
    assert found.mean == pytest.approx(0.1)
    assert equivalence([0.1] * 5, 1.0) is None


def test_two_pairs_have_no_hedges_correction_as_its_gamma_function_has_a_pole() -> None:
    found = paired_t([1.0, 2.0])

    assert hedges(1) is None
    assert (found.correction, found.g, found.g_interval) == (None, None, None)
    assert found.dz is not None


def test_an_effect_beyond_the_reach_of_the_noncentral_t_has_no_interval() -> None:
    found = paired_t([1.0, 1.0001, 1.0002])

    assert found.t is not None
    assert found.t > 1000
    assert found.dz_interval is None
    assert found.dz is not None


@pytest.mark.parametrize(("differences", "p"), [(SLEEP, 2 / 1024), ((1.2, 0.4, 0.9, -0.1, 0.7), 2 / 32)])
def test_the_sign_flip_test_counts_patterns_exactly(differences: tuple[float, ...], p: float) -> None:
    assert sign_flip(differences) == p


@given(STEPS, st.sampled_from([0.0, 0.1, -0.3]))
def test_the_sign_flip_test_equals_an_enumeration_with_rounding_put_aside(steps: list[int], margin: float) -> None:
    differences = [each / 10 for each in steps]
    tenths = [each - round(10 * margin) for each in steps]
    sums = [
        sum(a * b for a, b in zip(signs, tenths, strict=True))
        for signs in itertools.product((1, -1), repeat=len(steps))
    ]

    expected = sum(each >= sum(tenths) for each in sums) / len(sums)

    assert sign_flip(differences, margin) == expected


def test_the_sign_flip_test_is_exact_up_to_its_stated_number_of_pairs() -> None:
    assert sign_flip([1.0] * MOST_FLIPS) == 2.0**-MOST_FLIPS
    with pytest.raises(ConfigError, match=f"differences: received {MOST_FLIPS + 1}"):
        sign_flip([1.0] * (MOST_FLIPS + 1))


def test_welchs_test_of_the_sleep_data_is_that_of_r() -> None:
    found = welch(DRUGS[1], DRUGS[0])

    assert found.t == pytest.approx(-1.860813, abs=1e-6)
    assert found.freedom == pytest.approx(17.776, abs=1e-3)
    assert found.p == pytest.approx(0.07939, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-6)
    assert found.difference == pytest.approx(-1.58)


def test_welchs_test_needs_one_sample_that_varies() -> None:
    still = welch([1.0, 1.0], [2.0, 2.0])

    assert (still.difference, still.t, still.p, still.low) == (-1.0, None, None, None)
    assert welch([1.0, 1.0], [2.0, 3.0]).freedom == pytest.approx(1.0)


def test_wilcoxons_test_of_the_depression_data_is_that_of_r() -> None:
    found = wilcoxon([before - after for before, after in zip(*DEPRESSION, strict=True)])

    assert (found.n, found.v, found.p) == (9, 40.0, 0.01953125)


@given(STEPS)
def test_wilcoxons_p_is_exact_under_ties_and_without_zeros(steps: list[int]) -> None:
    found = wilcoxon([each / 10 for each in steps])

    kept = [each for each in steps if each]
    ranks: list[float] = stats.rankdata([abs(each) for each in kept]).tolist() if kept else []
    seen = sum(rank for rank, each in zip(ranks, kept, strict=True) if each > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(kept))]
    assert found.n == len(kept)
    assert found.v == seen
    assert found.p == (pytest.approx(sum(each >= seen for each in sums) / len(sums), abs=1e-14) if kept else None)


def test_wilcoxons_p_equals_scipys_where_nothing_ties() -> None:
    differences = [(-1) ** at * (at + 1.5) ** 1.3 if at % 3 else at + 0.7 for at in range(40)]

    found = wilcoxon(differences, margin=0.01)

    oracle = stats.wilcoxon([each - 0.01 for each in differences], alternative="greater", method="exact")
    assert (found.v, found.p) == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-12)


def test_equivalence_of_the_centred_sleep_data_within_one_hour() -> None:
    mean = sum(SLEEP) / len(SLEEP)

    assert equivalence([each - mean for each in SLEEP], 1.0) == pytest.approx(0.0150700, abs=1e-7)
    assert equivalence(SLEEP, 1.0) == pytest.approx(equivalence([-each for each in SLEEP], 1.0))


@pytest.mark.parametrize(("n", "effect", "chance"), [(5, 1, 0.579737), (10, 1, 0.897517), (3, 2, 0.712159)])
def test_power_of_the_one_sided_t_test(n: int, effect: float, chance: float) -> None:
    assert power(n, effect) == pytest.approx(chance, abs=1e-6)


@pytest.mark.parametrize(("effect", "n"), [(1.0, 11), (0.5, 36)])
def test_the_sample_size_is_the_first_that_reaches_the_chance(effect: float, n: int) -> None:
    assert sample_size(effect) == n
    assert power(n - 1, effect) < 0.9 <= power(n, effect)


def test_a_large_effect_needs_two_pairs_and_no_fewer() -> None:
    assert sample_size(100.0) == 2


@pytest.mark.parametrize(("probability", "n"), [(0.75, 29), (0.7, 46)])
def test_noethers_sample_size(probability: float, n: int) -> None:
    assert noether(probability) == n


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [(2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040)],
)
def test_group_sequential_constants_are_those_of_jennison_and_turnbull(
    looks: int, pocock: float, obrien_fleming: float
) -> None:
    flat, falling = group_sequential("pocock", looks), group_sequential("obrien-fleming", looks)

    assert flat == pytest.approx([pocock] * looks, abs=5.01e-4)
    assert falling == pytest.approx([obrien_fleming * math.sqrt(looks / k) for k in range(1, looks + 1)], abs=2e-3)
    assert falling[-1] == pytest.approx(obrien_fleming, abs=5.01e-4)


def test_one_look_is_the_fixed_test_and_two_agree_with_the_bivariate_normal_law() -> None:
    first, second = group_sequential("pocock", 2, alpha=0.1)
    pair = stats.multivariate_normal([0, 0], [[1, math.sqrt(0.5)], [math.sqrt(0.5), 1]])

    inside = pair.cdf([first, second], lower_limit=[-first, -second])

    assert group_sequential("obrien-fleming", 1) == pytest.approx([1.959964], abs=1e-6)
    assert 1 - inside == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: paired_t([1.0]), "differences: received 1 numbers"),
        (lambda: paired_t([1.0, math.nan]), r"differences\[1\]: received nan"),
        (lambda: paired_t([1.0, "2"]), r"differences\[1\]: received '2'"),  # type: ignore[list-item]
        (lambda: paired_t("12"), "differences: received '12'"),  # type: ignore[arg-type]
        (lambda: paired_t([1.0, True]), r"differences\[1\]: received True"),
        (lambda: paired_t([1.0, 2.0], margin=math.inf), "margin: received inf"),
        (lambda: paired_t([1.0, 2.0], alpha=0.5), "alpha: received 0.5"),
        (lambda: welch([1.0, 2.0], [1.0, math.inf]), r"b\[1\]: received inf"),
        (lambda: sign_flip([]), "differences: received 0 numbers"),
        (lambda: wilcoxon([math.nan]), r"differences\[0\]: received nan"),
        (lambda: equivalence(SLEEP, 0.0), "margin: received 0.0"),
        (lambda: power(1, 1.0), "n: received 1"),
        (lambda: power(5, 1.0, alpha=0.0), "alpha: received 0.0"),
        (lambda: sample_size(0.0), "effect: received 0.0"),
        (lambda: sample_size(1.0, chance=1.0), "chance: received 1.0"),
        (lambda: noether(0.5), "probability: received 0.5"),
        (lambda: group_sequential("haybittle", 3), "kind: received 'haybittle'; allowed: pocock"),
        (lambda: group_sequential("pocock", 51), "looks: received 51"),
        (lambda: hedges(0), "freedom: received 0"),
        (lambda: hedges(2.5), "freedom: received 2.5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_data_is_refused_by_name(call: Any, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        call()
