"""Error control over streams: the published algorithms to their digits, the account, and what it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from novum.errors import ConfigError
from novum.stats import stream
from novum.stats.stream import Past, next_level
from numpy.typing import NDArray
from scipy import stats

P = (
    *(2.90e-08, 0.06743, 0.01514, 0.08174, 0.00171, 3.60e-05, 0.79149, 0.27201),
    *(0.28295, 7.59e-08, 0.69274, 0.30443, 0.00136, 0.72342, 0.54757),
)
"""The example of the R package onlineFDR."""


@pytest.mark.parametrize(
    ("found", "levels", "rejections"),
    [
        (
            stream.lord_plus_plus(P, 0.05, 0.005, stream.gamma_lord),
            (0.0002675839, 0.0024664457, 0.0005732818),
            (1, 6, 10),
        ),
        (stream.lond(P, 0.05, stream.gamma_lord), (0.0026758385, 0.0011638206), (1, 6, 10)),
        (stream.saffron(P), (0.005468627, 0.010937254), (1, 5, 6, 10, 13)),
        (stream.addis(P), (0.002734314,), (1, 5, 6, 10, 13)),
        (
            stream.lord_async(P, [at + 1 for at in range(1, 16)], 0.05, 0.005, stream.gamma_lord),
            (0.0002675839, 0.00005819103, 0.002457817),
            (1, 6, 10),
        ),
    ],
    ids=["lord++", "lond", "saffron", "addis", "lord-async"],
)
def test_the_published_algorithms_give_the_published_levels(found: Any, levels: Any, rejections: Any) -> None:
    assert found.levels[: len(levels)] == pytest.approx(levels, abs=1e-9)
    assert found.rejections == rejections


def test_e_values_are_rejected_together() -> None:
    assert stream.e_bh((100, 3, 45, 20, 1), 0.1) == (1, 3, 4)


@pytest.mark.parametrize("gamma", [stream.gamma, stream.gamma_lord, stream.gamma_saffron])
def test_no_sequence_spends_more_than_all(gamma: Any) -> None:
    head = math.fsum(gamma(j) for j in range(1, 20_000))

    assert 0.4 < head <= 1.0001  # that of LORD falls so slowly that 20,000 terms hold less than half of it


# ------------------------------------------------------------------------------------------------------- the account


def test_the_first_hypothesis_of_a_goal_is_tested_at_about_a_ninetieth() -> None:
    spent = next_level("lord++", 0.05, [])

    assert (spent.index, spent.level) == (1, pytest.approx(0.0109375))
    assert (spent.wealth_before, spent.wealth_after) == (0.025, pytest.approx(0.0140625))


def test_a_rejection_earns_and_an_unfinished_test_does_not() -> None:
    first = next_level("lord++", 0.05, []).level

    won = next_level("lord++", 0.05, [Past(first, True, True)])
    open_ = next_level("lord++", 0.05, [Past(first, False, True)])
    lost = next_level("lord++", 0.05, [Past(first, True, False)])

    assert won.level > lost.level == open_.level
    assert won.wealth_before == pytest.approx(lost.wealth_before + 0.025)


def test_the_account_follows_lord_plus_plus() -> None:
    whole = stream.lord_plus_plus(P)
    history: list[Past] = []
    for value in P:
        spent = next_level("lord++", 0.05, history)
        history.append(Past(spent.level, True, value <= spent.level))

    assert [each.level for each in history] == pytest.approx(whole.levels, rel=1e-8)
    assert all(each.level <= level for each, level in zip(history, whole.levels, strict=True))
    assert tuple(at for at, each in enumerate(history, 1) if each.rejected) == whole.rejections


def test_wealth_is_never_spent_twice() -> None:
    history: list[Past] = []
    for at in range(60):
        spent = next_level("lord++", 0.05, history)
        assert spent.wealth_after >= 0
        history.append(Past(spent.level, True, at % 7 == 3))


def test_lond_pays_by_discoveries_and_none_pays_alpha_each_time() -> None:
    history = [Past(0.02, True, True), Past(0.01, True, False)]

    assert next_level("lond", 0.05, history).level == pytest.approx(0.05 * stream.gamma(3) * 2)
    assert next_level("none", 0.05, history).level == 0.05


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: next_level("holm", 0.05, []), "rule: received 'holm'; allowed: lord"),
        (lambda: next_level("lond", 0.5, []), "alpha: received 0.5"),
        (lambda: stream.lond([0.1, 1.2]), "p: received 1.2 at place 2"),
        (lambda: stream.lond([math.nan]), "p: received nan at place 1"),
        (lambda: stream.lord_async([0.1], [1, 2]), "ends: received 2 times for 1 p-values"),
        (lambda: stream.lord_async([0.1, 0.1], [1, 1]), r"ends\[1\]: received 1"),
        (lambda: stream.lord_plus_plus(P, 0.05, 0.2), "w0: received 0.2"),
        (lambda: stream.lord_plus_plus(P, 0.05, math.nan), "w0: received nan"),
        (lambda: stream.saffron(P, bar=2.0), "bar: received 2.0"),
        (lambda: stream.addis(P, bar=0.6, discard=0.5), "bar: received 0.6"),
        (lambda: stream.e_bh([1, -2]), "e: received"),
    ],
)
def test_bad_input_is_named(call: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call()


# -------------------------------------------------------------------------------------------- what a stream promises

STREAMS, LENGTH = 1000, 40


def p_values(true: float, effect: float, shared: bool, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """One-sided p-values of STREAMS × LENGTH z-tests at n = 20 pairs, and which hypotheses are true.

    shared: every hypothesis of a stream is held against the same control's trials.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    helps = draw.random((STREAMS, LENGTH)) < true
    pairs = 20
    treatment = draw.normal(size=(STREAMS, LENGTH, pairs)).mean(-1)
    control = draw.normal(size=(STREAMS, 1 if shared else LENGTH, pairs)).mean(-1)
    z = (treatment - control + helps * effect * math.sqrt(2)) * math.sqrt(pairs / 2)
    return stats.norm.sf(z), helps


def false_discoveries(rule: str, p: NDArray[Any], helps: NDArray[Any]) -> NDArray[Any]:
    """The false-discovery proportion of each stream."""
    found = np.zeros(len(p))
    for at, (row, truth) in enumerate(zip(p, helps, strict=True)):
        if rule == "none":
            hit = row <= 0.05
        else:
            run = stream.lond if rule == "lond" else stream.lord_plus_plus
            hit = np.zeros(len(row), dtype=bool)
            hit[[each - 1 for each in run(row.tolist()).rejections]] = True
        found[at] = (hit & ~truth).sum() / max(hit.sum(), 1)
    return found


def holds(proportions: NDArray[Any]) -> bool:
    return bool(proportions.mean() <= 0.05 + 3 * proportions.std(ddof=1) / math.sqrt(len(proportions)))


@pytest.mark.parametrize("shared", [False, True], ids=["fresh", "shared"])
@pytest.mark.parametrize(("true", "effect"), [(0.1, 1.5), (0.3, 1.0), (0.0, 1.0)])
def test_the_false_discovery_rate_stays_below_alpha_and_without_correction_it_does_not(
    true: float, effect: float, shared: bool
) -> None:
    p, helps = p_values(true, effect, shared, seed=1)

    assert holds(false_discoveries("lord++", p, helps))
    assert holds(false_discoveries("lond", p, helps))
    assert not holds(false_discoveries("none", p, helps))
