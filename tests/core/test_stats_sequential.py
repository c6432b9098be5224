"""The sequential tests: published and derived numbers, the order of outcomes, and that looking changes nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import ConfigError
from novum.stats import eprocess, sign, signflip
from novum.stats.boundaries import boundaries
from novum.stats.design import Design, design, earliest, smallest
from novum.stats.paired import boundary
from novum.stats.sequential import GRID, anytime_p, judge, looks, predictive
from scipy import stats

MODERATE = (0.03, 0.01, 0.04, 0.02, 0.035, 0.02, 0.03, 0.01, 0.04, 0.03)
SLEEP = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)
METHODS = ("sequential-t", "sequential-sign-flip", "sequential-sign", "e-process")


def strict(method: str, margin: float, pairs: int = 10, **parts: Any) -> Design:
    return design(method, pairs, null=margin, claimed=margin, **parts)


# ------------------------------------------------------------------------------------------- critical values of t


@pytest.mark.parametrize(
    ("looks", "alpha", "rho", "expected", "tolerance"),
    [
        (range(3, 11), 0.05, 1.5, (7.705, 5.252, 3.973, 3.322, 2.930, 2.662, 2.463, 2.304), 3e-3),
        (range(3, 11), 0.05, 2.0, (10.470, 6.001, 4.246, 3.427, 2.951, 2.629, 2.389, 2.198), 3e-3),
        (range(3, 11), 0.005, 1.5, (24.65, 12.53, 8.04, 6.19, 5.23, 4.65, 4.25, 3.97), 1e-2),
        ((4, 8, 12), 0.05, 1.5, (4.607, 2.520, 2.031), 3e-3),
        (range(3, 7), 0.05, 1.5, (5.175, 3.806, 2.999, 2.548), 3e-3),
    ],
)
def test_boundaries_are_those_of_independent_simulations(
    looks: Any, alpha: float, rho: float, expected: Sequence[float], tolerance: float
) -> None:
    assert boundaries(tuple(looks), alpha, rho) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(("first", "pairs", "alpha"), [(3, 10, 0.05), (4, 12, 0.01), (5, 40, 0.2)])
def test_the_first_boundary_is_the_exact_quantile(first: int, pairs: int, alpha: float) -> None:
    found = boundaries((first, pairs), alpha)

    assert found[0] == pytest.approx(stats.t.isf(alpha * (first / pairs) ** 1.5, first - 1), rel=1e-8)


@pytest.mark.parametrize("n", [3, 7, 30])
def test_a_single_look_is_the_ordinary_t_test(n: int) -> None:
    made = design("sequential-t", n, looks=(n,))

    assert made.upper == (pytest.approx(boundary(0.05, n), rel=1e-8),)


def test_smaller_levels_have_wider_boundaries_everywhere() -> None:
    wide, narrow = boundaries(tuple(range(3, 21)), 0.01), boundaries(tuple(range(3, 21)), 0.05)

    assert all(a > b for a, b in zip(wide, narrow, strict=True))


# ------------------------------------------------------------------------------------------------- single decisions


def test_the_repeated_interval_at_five_pairs() -> None:
    look = judge(design("sequential-t", 10), MODERATE).look

    assert (look.n, look.mean) == (5, pytest.approx(0.027))
    assert (look.low, look.high) == pytest.approx((0.005604, 0.048396), abs=2e-5)


@pytest.mark.parametrize(
    ("margin", "outcome", "n"), [(0.0, "supported", 5), (0.02, "inconclusive", None), (0.05, "equivalent", 5)]
)
def test_the_same_differences_against_three_margins(margin: float, outcome: str, n: int | None) -> None:
    found = judge(strict("sequential-t", margin), MODERATE)

    assert found.outcome == outcome
    assert n in (None, found.n)


def test_below_the_margin_and_outside_of_its_mirror_is_refuted() -> None:
    found = judge(strict("sequential-t", 0.05), [each - 0.1 for each in MODERATE])

    assert (found.outcome, found.reason) == ("refuted", "refutation")


def test_the_sleep_data_are_supported_at_four_pairs() -> None:
    assert judge(design("sequential-t", 10), SLEEP).n == 4


def test_ten_positive_differences_stop_the_sign_flips_at_six() -> None:
    found = judge(design("sequential-sign-flip", 10), [each + 0.1 for each in SLEEP])

    assert (found.outcome, found.n) == ("supported", 6)


def test_the_resolution_is_a_floor_of_the_spread_and_no_spread_decides_nothing() -> None:
    made = design("sequential-t", 3, resolution=0.001)

    found = judge(made, (0.001, 0.001, 0.001))

    assert found.look.t == pytest.approx(6.0)
    assert (found.outcome, found.reason) == ("inconclusive", "no variation")
    assert judge(design("sequential-t", 4), (0.1, 0.1, 0.1)).outcome is None


def test_predictive_power_is_that_of_the_formula() -> None:
    found = predictive(design("sequential-t", 10), (0.01, -0.02, 0.015, -0.01, 0.005))

    assert found == pytest.approx((0.023328, 0.023328), abs=1e-4)


@pytest.mark.parametrize("method", METHODS[:3])
def test_a_hopeless_question_is_given_up_and_an_open_one_is_not(method: str) -> None:
    rough = (0.5, -0.5, 0.4, -0.45, 0.5, -0.4, 0.45, -0.5, 0.4, -0.4)

    assert judge(design(method, 10), rough).reason == "futility"
    assert judge(design(method, 10, futility=0.0), rough).reason == "budget"


def test_a_zone_is_refuted_where_a_strict_claim_is_open() -> None:
    small = [0.01, -0.01, 0.02, 0.0, -0.02, 0.01, 0.0, 0.02, -0.01, 0.0]

    zone = judge(design("sequential-t", 10, null=0.0, claimed=0.03), small)

    assert zone.outcome in ("equivalent", "refuted")
    assert (
        judge(design("sequential-t", 10, null=0.0, claimed=0.03), [each + 0.02 for each in small]).outcome
        == "supported"
    )
    assert judge(strict("sequential-t", 0.03, futility=0.0), [each + 0.02 for each in small]).outcome != "supported"


# ------------------------------------------------------------------------------------------- properties of every test

values = st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=9)


@given(values, st.sampled_from(METHODS), st.sampled_from([0.0, 0.1, 0.3]), st.booleans())
def test_interval_and_outcome_never_disagree(x: list[float], method: str, margin: float, zone: bool) -> None:
    made = design(method, 9, null=0.0 if zone else margin, claimed=margin, futility=0.0)

    found = judge(made, x)

    low = -math.inf if found.look.low is None else found.look.low
    high = math.inf if found.look.high is None else found.look.high
    if found.reason == "no variation" or (found.outcome is None and found.reason == ""):
        return
    expected = "inconclusive"
    if low > made.null:
        expected = "supported"
    elif margin > 0 and -margin < low and high < margin:
        expected = "equivalent"
    elif high < margin:
        expected = "refuted"
    assert found.outcome == expected
    assert low <= found.look.mean <= high or method == "sequential-sign-flip"


@given(values, st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_what_comes_after_a_decision_changes_nothing(x: list[float], method: str, chance: random.Random) -> None:
    made = design(method, 9)
    found = judge(made, x)
    if found.outcome is None:
        return

    later = [*x[: found.n], *(chance.uniform(-5, 5) for _ in range(3))]

    assert judge(made, later[:9]) == found


@pytest.mark.parametrize("method", METHODS)
def test_looking_a_hundred_times_changes_nothing(method: str) -> None:
    made = design(method, 10)

    seen = {repr((judge(made, MODERATE[:n]), looks(made, MODERATE[:n]))) for _ in range(100) for n in (5,)}

    assert len(seen) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x", [[0.0] * 10, [0.1] * 10, [0.1 + (-1) ** i * 1e-17 for i in range(10)], [1 / 3] * 10])
def test_equal_zero_and_rounding_noise_differences_support_nothing(method: str, x: list[float]) -> None:
    assert judge(design(method, 10), x).outcome in (None, "inconclusive")


@pytest.mark.parametrize("method", METHODS)
def test_exchanging_the_arms_mirrors_a_test_at_zero(method: str) -> None:
    made = design(method, 10)

    one, other = judge(made, MODERATE), judge(made, [-each for each in MODERATE])

    assert (one.outcome, other.outcome, one.n) == ("supported", "refuted", other.n)
    ends = (one.look.low, one.look.high), (-(other.look.high or 0), -(other.look.low or 0))
    assert [end for end in ends[0] if end] == pytest.approx([end for end in ends[1] if end], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_looks_only_at_its_multiples_and_at_the_end(method: str) -> None:
    if method == "e-process":
        assert design(method, 10, batch=4).looks == (4, 8, 10)
    made = design(method, 10, batch=4)

    assert made.looks == (4, 8, 10)
    assert judge(made, MODERATE[:7]).n in (4, 7)
    assert {look.n for look in looks(made, MODERATE)} <= {4, 8, 10}


def test_a_design_survives_json() -> None:
    for method in METHODS:
        made = design(method, 12, alpha=0.01, refute=0.05, null=0.0, claimed=0.1, batch=3)

        assert Design.from_json(made.to_json()) == made


def test_an_anytime_p_is_the_smallest_level_of_its_grid_that_would_have_rejected() -> None:
    made = design("sequential-t", 10, futility=0.0)

    p = anytime_p(made, MODERATE[:5])

    assert p in GRID
    finer = GRID[GRID.index(p) + 1]  # type: ignore[arg-type]
    assert judge(design("sequential-t", 10, alpha=p), MODERATE[:5]).outcome == "supported"
    assert judge(design("sequential-t", 10, alpha=finer), MODERATE[:5]).outcome != "supported"
    assert anytime_p(made, [-each for each in MODERATE]) is None


@pytest.mark.parametrize("method", METHODS)
def test_a_supported_test_has_a_p_of_at_most_its_level_and_more_data_only_lower_it(method: str) -> None:
    made = design(method, 20)
    n = judge(made, MODERATE * 2).n

    first, later = anytime_p(made, (MODERATE * 2)[:n]), anytime_p(made, MODERATE * 2)

    assert first is not None and later is not None
    assert later <= first <= 0.05


@pytest.mark.parametrize("alpha", [0.0123, 0.00123, 0.05])
def test_the_p_of_a_supported_test_never_exceeds_its_level(alpha: float) -> None:
    draw = np.random.Generator(np.random.PCG64(4))
    made = design("sequential-t", 10, alpha=alpha, refute=0.05)
    seen = 0
    for _ in range(40):
        found = judge(made, x := [float(each) for each in draw.normal(1.5, 1.0, 10)])
        if found.outcome == "supported":
            seen += 1
            assert (anytime_p(made, x[: found.n]) or 1.0) <= alpha

    assert seen > 5


@pytest.mark.parametrize("alpha", [0.05, 0.03])
def test_the_p_of_supported_sign_flips_never_exceeds_the_level_though_their_paths_do_not_nest(alpha: float) -> None:
    draw = np.random.Generator(np.random.PCG64(11))
    made = design("sequential-sign-flip", 12, alpha=alpha)
    for _ in range(150):
        found = judge(made, x := [float(each) for each in draw.normal(0.8, 1.0, 12)])
        if found.outcome == "supported":
            assert (anytime_p(made, x[: found.n]) or 1.0) <= alpha


@pytest.mark.parametrize("method", METHODS)
def test_differences_that_do_not_vary_have_no_interval_and_no_p(method: str) -> None:
    made = design(method, 10, resolution=0.01)

    found = judge(made, [0.1] * 10)

    assert (found.look.low, found.look.high, anytime_p(made, [0.1] * 10)) == (None, None, None)


# ---------------------------------------------------------------------------------------------------- sign-flips


def brute(x: Sequence[float], looks: Sequence[int], level: float) -> int | None:
    """The definition, path by path: a path is deleted at the first look at which it is among the largest allowed."""
    alive = set(product((-1, 1), repeat=len(x)))
    total, deleted = 2 ** len(x), 0
    mine = tuple(1 if each > 0 else -1 for each in x)
    for n in looks:

        def height(signs: tuple[int, ...], n: int = n) -> float:
            return round(sum(sign * abs(each) for sign, each in zip(signs[:n], x, strict=False)), 9)

        allowed = math.floor(round(level * (n / looks[-1]) ** 1.5 * 2**n - deleted / total * 2**n, 9))
        heads = sorted({(height(signs), signs[:n]) for signs in alive}, reverse=True)
        if allowed < 1:
            continue
        bar = heads[allowed][0] if allowed < len(heads) else -math.inf
        if height(mine) > bar:
            return n
        gone = {signs for signs in alive if height(signs) > bar}
        deleted += len(gone)
        alive -= gone
    return None


@pytest.mark.parametrize("seed", range(12))
def test_sign_flips_follow_their_definition_path_by_path(seed: int) -> None:
    x = [float(each) for each in np.random.Generator(np.random.PCG64(seed)).normal(0.6, 1.0, 9).round(2)]

    assert signflip.crossed(x, 0.0, tuple(range(3, 10)), 0.1) == brute(x, range(3, 10), 0.1)


def test_sign_flips_reject_at_most_the_level_of_all_sign_paths() -> None:
    sizes = (0.3, 1.7, 0.9, 0.2, 2.4, 1.1, 0.6, 0.8, 1.3)
    level = 0.08

    crossed = [
        signflip.crossed(
            [sign * size for sign, size in zip(signs, sizes, strict=True)], 0.0, tuple(range(3, 10)), level
        )
        for signs in product((-1, 1), repeat=9)
    ]

    share = sum(each is not None for each in crossed) / 2**9
    assert 0.9 * level < share <= level


def test_ties_only_make_sign_flips_cautious() -> None:
    level = 0.08

    crossed = [
        signflip.crossed([float(sign) for sign in signs], 0.0, tuple(range(3, 10)), level)
        for signs in product((-1, 1), repeat=9)
    ]

    assert sum(each is not None for each in crossed) / 2**9 <= level


def test_random_paths_beyond_sixteen_pairs_are_fixed_by_their_seed_and_near_the_exact_answer() -> None:
    draw = np.random.Generator(np.random.PCG64(3))
    looks = tuple(range(3, 17))
    near = 0
    for _ in range(40):
        x = [float(each) for each in draw.normal(0.7, 1.0, 16)]
        exact = signflip._exact(x, looks, 0.05, 1.5)
        drawn = [signflip._random(x, looks, 0.05, 1.5, seed) for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1]
        near += exact == drawn[0]

    assert near >= 36


@pytest.mark.parametrize(("pairs", "alpha", "first"), [(10, 0.05, 6), (5, 0.05, 5), (4, 0.05, None), (8, 0.025, 6)])
def test_the_first_look_at_which_sign_flips_can_support(pairs: int, alpha: float, first: int | None) -> None:
    assert earliest(design("sequential-sign-flip", pairs, alpha=alpha)) == first


@pytest.mark.parametrize(
    ("method", "alpha", "least"),
    [
        ("sequential-sign-flip", 0.05, 5),
        ("sequential-sign-flip", 0.011, 7),
        ("sequential-sign", 0.05, 5),
        ("e-process", 0.05, 3),
    ],
)
def test_the_least_maximum_with_which_a_test_can_support(method: str, alpha: float, least: int) -> None:
    assert smallest(method, alpha) == least
    assert earliest(design(method, least, alpha=alpha)) is not None
    assert least == 3 or earliest(design(method, least - 1, alpha=alpha)) is None


# ------------------------------------------------------------------------------------------------------ sign test


@pytest.mark.parametrize("share", [0.5, 0.6, 0.75])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_sign_tests_counts_spend_at_most_the_level(share: float, level: float) -> None:
    at = tuple(range(3, 13))
    critical = sign.counts(at, level, share)

    crossing = 0.0
    for signs in product((0, 1), repeat=12):
        if sign.crossed([bool(each) for each in signs], at, level, share) is not None:
            crossing += share ** sum(signs) * (1 - share) ** (12 - sum(signs))
    assert crossing <= level
    more = [None if bar is None else bar - 1 for bar in critical]
    assert all(bar is None or bar > n * share for n, bar in zip(at, more, strict=True) if bar is not None)


def test_the_sign_test_of_one_look_is_the_binomial_test() -> None:
    (bar,) = sign.counts((12,), 0.05, 0.5)

    assert stats.binom.sf(bar - 1, 12, 0.5) <= 0.05 < stats.binom.sf(bar - 2, 12, 0.5)  # type: ignore[operator]


def test_a_tie_is_a_win_for_nobody_who_claims_it() -> None:
    made = design("sequential-sign", 6, futility=0.0)

    assert judge(made, [1.0] * 3 + [2.0] * 2).outcome == "supported"
    assert judge(made, [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]).outcome == "inconclusive"
    assert judge(made, [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]).look.mean == pytest.approx(4 / 6 + 1 / 6 - 0.5)


# ------------------------------------------------------------------------------------------------------- e-process


@pytest.mark.parametrize(
    ("t", "n", "effect", "expected"),
    [
        (3, 10, 1, 26.1434),
        (5, 5, 1, 22.4007),
        (10, 3, 1, 7.62877),
        (2, 20, 0.5, 6.30131),
        (3, 100, 0.3, 75.8208),
        (-1, 10, 1, 3.8813e-4),
    ],
)
def test_the_evidence_is_the_ratio_of_noncentral_to_central_density(
    t: float, n: int, effect: float, expected: float
) -> None:
    assert eprocess.evidence(t, n, effect) == pytest.approx(expected, rel=2e-5)


def test_the_gaussian_mixture_of_wang_and_ramdas() -> None:
    assert eprocess.wang_ramdas((1.2, 0.4, 0.9, -0.1, 0.7, 1.1)) == pytest.approx(6.453312, abs=1e-6)


def test_the_critical_t_of_the_e_process_is_where_its_evidence_reaches_the_level() -> None:
    made = design("e-process", 40)

    for n, bar in zip(made.looks, made.upper, strict=True):
        if bar is not None:
            assert eprocess.evidence(bar, n) == pytest.approx(20, rel=1e-6)
    assert eprocess.evidence(math.inf, 4, 1.0) < 20
    assert made.upper[0] is None or eprocess.evidence(math.inf, 3) >= 20


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"alpha": 0.5}, "alpha: received 0.5"),
        ({"alpha": 0.0}, "alpha: received 0.0"),
        ({"alpha": "0.05"}, "alpha: received '0.05'"),
        ({"pairs": 2}, "max_seeds: received 2"),
        ({"pairs": 5.5}, "max_seeds: received 5.5"),
        ({"null": 0.2, "claimed": 0.1}, "margins: received a null bound of 0.2 and a claimed effect of 0.1"),
        ({"claimed": -0.1, "null": -0.1}, "minimum_effect: received -0.1"),
        ({"claimed": math.nan}, "minimum_effect: received nan"),
        ({"batch": 0}, "batch: received 0"),
        ({"batch": 11}, "batch: received 11"),
        ({"looks": (3, 3, 10)}, "looks: received"),
        ({"looks": (2, 10)}, r"looks\[0\]: received 2"),
        ({"futility": 0.5}, "futility: received 0.5"),
        ({"resolution": -1}, "resolution: received -1"),
        ({"method": "welch"}, "method: received 'welch'"),
        ({"method": "sequential-sign", "claimed": 0.5, "null": 0.5}, "minimum_effect: received 0.5"),
    ],
)
def test_a_bad_design_is_refused_with_the_field_its_value_and_the_range(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        design(parts.pop("method", "sequential-t"), parts.pop("pairs", 10), **parts)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "1", None, True])
def test_a_bad_difference_is_refused_with_its_place(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"differences\[1\]: received"):
        judge(design("sequential-t", 10), [0.1, bad, 0.2])
