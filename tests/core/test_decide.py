from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.arm import canonical
from novum.decide import decide
from novum.errors import StudyError
from novum.stats import across
from novum.stats.design import design
from novum.stats.paired import boundary

ACCURACY = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0}
LOSS = {"name": "loss", "direction": "min", "worst": 9.0, "unit": "nats", "low": 0.0, "high": None}
SCALE = {"metric": "accuracy", "chance": 0.5, "reference": 1.0}
SIDES = ("control", "treatment")
OK = {"state": "done", "seconds": 1.0, "memory": 1000, "because": None}

BETTER = (0.1, 0.12, 0.11, 0.09, 0.1)
WORSE = (-0.1, -0.12, -0.11, -0.09, -0.1)
NEAR = (0.001, -0.001, 0.0, 0.002, -0.002)
WIDE = (0.3, -0.3, 0.2, -0.1, 0.1)


def plan(
    n: int = 5, margin: float = 0.02, metric: Any = ACCURACY, tasks: Sequence[str] = ("digits",), **parts: Any
) -> dict[str, Any]:
    """A plan whose only look is at n pairs."""
    method = parts.pop("method", "sequential-t")  # of the test; the plan's is the verdict function
    null = 0.0 if parts.get("margins") == "zone" else margin
    test = design(method, n, looks=(n,), null=null, claimed=margin, futility=0.0).to_json()
    each = {
        "metric": metric,
        "margin": margin,
        "scale": SCALE,
        "resolution": {"dev": 0.0, "test": 0.0},
        "test": test,
        "secondary": None,
        "bar": None,
        "dev": None,
        "power": None,
        "trials_per_pair": 2,
    }
    bound = [float(f"{boundary(0.05, n):.9g}")]
    return {
        "hypothesis": "h-1",
        "method": {"name": "sequential", "version": 1},
        "alpha": 0.05,
        "level": 0.05,
        "stream": None,
        "scope": "all",
        "margins": "strict",
        "estimand": "mean",
        "confirm": "same-networks",
        "open": False,
        "price_per_hour": None,
        "keep": "first",
        "order": list(tasks),
        "seeds": {"root": 0, "block": "0", "indices": list(range(n))},
        "tasks": dict.fromkeys(tasks, each),
        "average": None,
        "fixed": {"0.05 0.05": {"upper": bound, "lower": bound}},
    } | parts


def resolve(frozen: dict[str, Any], step: float) -> dict[str, Any]:
    """The plan with a metric that moves in steps."""
    frozen["tasks"]["digits"]["resolution"]["dev"] = frozen["tasks"]["digits"]["test"]["resolution"] = step
    return frozen


def rows(differences: Sequence[float], start: float = 0.5) -> list[dict[str, Any]]:
    return [
        {"index": at, "control": {**OK, "value": start}, "treatment": {**OK, "value": start + each, "seconds": 2.0}}
        for at, each in enumerate(differences)
    ]


def spoil(found: list[dict[str, Any]], at: int, side: str, state: str) -> list[dict[str, Any]]:
    found[at][side] = {"state": state, "value": None, "seconds": 1.0, "because": f"the {side} went wrong"}
    return found


def verdict(differences: Sequence[float], **parts: Any) -> dict[str, Any]:
    return dict(decide(plan(len(differences), **parts), {"digits": rows(differences)}, None))


# ---------------------------------------------------------------------------------------------------------- one task


@pytest.mark.parametrize(
    ("differences", "outcome", "says"),
    [
        (BETTER, "supported", "The treatment is better by at least 0.02"),
        (WORSE, "refuted", "The treatment is not better by at least 0.02"),
        (NEAR, "equivalent", "The arms differ by less than 0.02 either way"),
        (WIDE, "inconclusive", "5 seeds do not decide"),
    ],
)
def test_each_outcome_comes_with_its_reason(differences: Sequence[float], outcome: str, says: str) -> None:
    found = verdict(differences)

    assert found["outcome"] == found["tasks"]["digits"]["outcome"] == outcome
    assert says in found["tasks"]["digits"]["reasons"][0]


@pytest.mark.parametrize(
    ("margin", "differences", "says"),
    [
        (0.0, (0.1, 0.2, 0.1, 0.3, 0.1, 0.2), "The treatment wins more than half of the pairs: the interval"),
        (0.0, (-0.1, -0.2, -0.1, -0.3, -0.1, -0.2), "The treatment does not win more than half of the pairs"),
        (0.05, (0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.2, 0.1), "The treatment wins at least 55 % of the pairs: the interval"),
    ],
)
def test_a_claim_about_wins_speaks_of_wins(margin: float, differences: Sequence[float], says: str) -> None:
    found = verdict(differences, margin=margin, method="sequential-sign", estimand="win")

    assert found["tasks"]["digits"]["reasons"][0].startswith(says)
    assert found["effect_unit"] == "probability of winning, above one half"


def test_an_undecided_claim_says_how_many_seeds_would_decide_it() -> None:
    found = verdict((0.01, 0.05, 0.02, 0.06, 0.03))

    assert found["outcome"] == "inconclusive"
    assert "about 8 seeds would decide it" in found["tasks"]["digits"]["reasons"][0]


def test_an_interval_inside_the_margins_is_equivalent_before_it_is_refuted() -> None:
    assert verdict(NEAR)["outcome"] == "equivalent"
    assert verdict(NEAR, margin=0.0)["outcome"] == "inconclusive"
    assert verdict([each - 0.02 for each in NEAR])["outcome"] == "refuted"


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=12),
    st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    st.sampled_from([0.0, 0.01]),
)
def test_interval_and_outcome_never_disagree(differences: list[float], margin: float, resolution: float) -> None:
    frozen = resolve(plan(len(differences), margin), resolution)

    found = decide(frozen, {"digits": rows(differences, start=0.0)}, None)

    if found["interval"] == {"undefined": "the seeds do not vary"}:
        assert found["outcome"] == "inconclusive"
        return
    low, high = found["interval"]
    expected = "inconclusive"
    if low > margin:
        expected = "supported"
    elif margin > 0 and -margin < low and high < margin:
        expected = "equivalent"
    elif high < margin:
        expected = "refuted"
    assert found["outcome"] == expected


def test_interval_and_outcome_agree_where_only_digits_that_are_not_shown_would_decide() -> None:
    low = 0.2 - float(f"{boundary(0.05, 3):.9g}") * 0.1 / math.sqrt(3)
    margin = float(f"{low:.9g}")
    assert margin < low

    found = verdict((0.1, 0.2, 0.3), margin=margin)

    assert found["interval"][0] == margin
    assert found["outcome"] == "inconclusive"


@pytest.mark.parametrize("value", [0.0, 0.25, -0.25])
def test_seeds_that_do_not_vary_decide_nothing(value: float) -> None:
    frozen = resolve(plan(), 0.001)

    found = decide(frozen, {"digits": rows([value] * 5)}, None)

    assert found["outcome"] == "inconclusive"
    assert found["interval"] == found["tasks"]["digits"]["p"] == {"undefined": "the seeds do not vary"}
    assert found["effect"] == value
    assert "The seeds do not vary" in found["tasks"]["digits"]["reasons"][0]


def test_the_resolution_of_the_metric_widens_the_interval() -> None:
    frozen = resolve(plan(), 0.2)

    wide, narrow = decide(frozen, {"digits": rows(BETTER)}, None), verdict(BETTER)

    assert wide["effect"] == narrow["effect"]
    assert wide["interval"][0] < narrow["interval"][0]


@pytest.mark.parametrize("state", ["diverged", "undefined"])
@pytest.mark.parametrize(("metric", "worst"), [(ACCURACY, 0.0), (LOSS, 9.0)])
def test_what_diverged_or_is_undefined_counts_as_the_worst_in_its_pair_and_is_named(
    state: str, metric: Any, worst: float
) -> None:
    found = decide(plan(metric=metric), {"digits": spoil(rows(BETTER), 2, "treatment", state)}, None)

    task = found["tasks"]["digits"]
    values = [0.5 + each for each in BETTER]
    values[2] = worst
    assert task["treatment"] == pytest.approx(math.fsum(values) / 5)
    assert task["pairs"] == 5
    assert task["notes"] == [f"Seed 2, treatment: the treatment went wrong; it counts as the worst value, {worst:g}."]


def test_a_pair_in_which_both_arms_diverged_makes_no_difference() -> None:
    dev = spoil(spoil(rows(BETTER), 1, "treatment", "diverged"), 1, "control", "diverged")

    found = decide(plan(), {"digits": dev}, None)["tasks"]["digits"]

    assert found["effect"] == pytest.approx((math.fsum(BETTER) - BETTER[1]) / 5)
    assert len(found["notes"]) == 2


@pytest.mark.parametrize("side", SIDES)
def test_a_trial_that_failed_makes_the_claim_invalid_and_is_named(side: str) -> None:
    found = decide(plan(), {"digits": spoil(rows(BETTER), 3, side, "failed")}, None)

    assert found["outcome"] == "invalid"
    assert f"The trial of the {side} at seed 3 broke: the {side} went wrong" in found["tasks"]["digits"]["reasons"][0]
    assert found["effect"] == found["interval"] == {"undefined": "the experiment broke"}


def test_a_claim_whose_pairs_have_not_all_ended_is_not_decided_and_says_what_it_waits_for() -> None:
    found = decide(plan(5), {"digits": rows(BETTER[:3])}, None)

    assert not found["ended"]
    assert found["outcome"] == "inconclusive"
    assert found["reasons"] == ["The next look is on digits, at 5 pairs."]


def test_a_metric_that_is_to_be_small_turns_every_difference() -> None:
    assert verdict(BETTER, metric=LOSS)["outcome"] == "refuted"
    assert verdict(WORSE, metric=LOSS)["outcome"] == "supported"
    assert verdict(WORSE, metric=LOSS)["effect"] == pytest.approx(0.104)
    assert verdict(WORSE, metric=LOSS)["tasks"]["digits"]["wins"] == 5


def test_a_verdict_tells_means_wins_spread_correlation_and_cost() -> None:
    dev = rows((0.1, 0.2, -0.1, 0.3))
    for row, value in zip(dev, (0.1, 0.2, 0.3, 0.4), strict=True):
        row["control"]["value"] = value
        row["treatment"]["value"] = 2 * value

    task = decide(plan(4), {"digits": dev}, None)["tasks"]["digits"]

    assert (task["control"], task["treatment"], task["wins"], task["correlation"]) == (0.25, 0.5, 4, 1.0)
    assert task["deviation"] == pytest.approx(0.129099445)
    assert (task["cost"]["control"], task["cost"]["treatment"], task["cost"]["ratio"]) == (4.0, 8.0, 2.0)


def test_numbers_have_nine_significant_digits() -> None:
    found = verdict((1 / 3, 1 / 7, 1 / 11))

    numbers = [
        *found["interval"],
        found["effect"],
        found["tasks"]["digits"]["p"],
        found["tasks"]["digits"]["deviation"],
    ]
    assert numbers == [float(f"{number:.9g}") for number in numbers]


def test_what_cannot_be_measured_says_why() -> None:
    dev = rows((0.1, 0.2, 0.3))
    for row in dev:
        row["control"]["seconds"] = 0.0

    task = decide(plan(3), {"digits": dev}, None)["tasks"]["digits"]

    assert task["cost"]["ratio"] == {"undefined": "the control cost nothing"}
    assert task["correlation"] == {"undefined": "one arm does not vary over seeds"}


# -------------------------------------------------------------------------------------------------------- purity


def test_deciding_twice_gives_the_same_bytes_and_changes_no_input() -> None:
    frozen, dev, test = plan(), {"digits": rows(BETTER)}, {"digits": rows(WIDE)}
    before = copy.deepcopy((frozen, dev, test))

    first, second = canonical(decide(frozen, dev, test)), canonical(decide(frozen, dev, test))

    assert first == second
    assert (frozen, dev, test) == before


def test_a_plan_read_back_from_json_decides_the_same() -> None:
    frozen, dev = plan(tasks=("a", "b")), {"a": rows(BETTER), "b": rows(WIDE)}
    text = canonical([frozen, dev])

    again, rows_again = json.loads(text)

    assert canonical(decide(again, rows_again, None)) == canonical(decide(frozen, dev, None))


@pytest.mark.parametrize("method", [{"name": "paired-t", "version": 1}, {"name": "sequential", "version": 2}])
def test_a_method_that_is_not_here_is_refused_and_never_replaced(method: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="which this Novum lacks"):
        decide(plan() | {"method": method}, {"digits": rows(BETTER)}, None)


# ------------------------------------------------------------------------------------------------------ new data


@pytest.mark.parametrize(
    ("test", "outcome"),
    [(BETTER, "supported"), (WORSE, "refuted"), (NEAR, "inconclusive"), (WIDE, "inconclusive"), ("broken", "invalid")],
)
def test_new_data_can_confirm_a_claim_or_lower_it(test: Any, outcome: str) -> None:
    again = spoil(rows(BETTER), 0, "control", "failed") if test == "broken" else rows(test)

    found = decide(plan(), {"digits": rows(BETTER)}, {"digits": again})

    task = found["tasks"]["digits"]
    assert found["outcome"] == task["outcome"] == outcome
    assert found["new_data"] == "opened"
    said = "New data say the same" if outcome == "supported" else "It held on dev and does not hold on new data"
    assert any(said in reason for reason in task["reasons"])


def test_new_data_never_raise_a_claim() -> None:
    for differences in (WORSE, NEAR, WIDE):
        found = decide(plan(), {"digits": rows(differences)}, {"digits": rows(BETTER)})
        assert found["outcome"] == verdict(differences)["outcome"]


def test_the_effect_is_that_on_new_data_where_they_were_opened() -> None:
    halved = [each / 2 for each in BETTER]

    found = decide(plan(), {"digits": rows(BETTER)}, {"digits": rows(halved)})

    assert found["effect"] == pytest.approx(0.052)
    assert found["tasks"]["digits"]["effect"] == pytest.approx(0.104)
    assert found["tasks"]["digits"]["new_data"]["effect"] == pytest.approx(0.052)


# --------------------------------------------------------------------------------------------------- across tasks


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (BETTER, BETTER, "supported"),
        (BETTER, WORSE, "refuted"),
        (WORSE, WIDE, "refuted"),
        (BETTER, WIDE, "inconclusive"),
        (NEAR, WIDE, "refuted"),
        (NEAR, NEAR, "equivalent"),
        (BETTER, NEAR, "refuted"),
        (BETTER, "broken", "invalid"),
        (WORSE, "broken", "refuted"),
    ],
)
def test_a_claim_about_all_tasks_is_only_as_good_as_its_worst(first: Any, second: Any, outcome: str) -> None:
    other = spoil(rows(BETTER), 0, "control", "failed") if second == "broken" else rows(second)

    found = decide(plan(tasks=("a", "b")), {"a": rows(first), "b": other}, None)

    assert found["outcome"] == outcome


def test_the_tasks_that_decided_are_named() -> None:
    dev = {"a": rows(BETTER), "b": rows(WORSE), "c": rows(WORSE)}

    found = decide(plan(tasks=("a", "b", "c")), dev, None)

    assert "It fails on b, and" in found["reasons"][0]
    assert "Stopped with the claim" in found["tasks"]["c"]["reasons"][0]


def test_the_effect_over_several_tasks_is_the_random_effects_mean_on_their_scales() -> None:
    frozen = plan(tasks=("a", "b"))
    frozen["tasks"]["b"] = frozen["tasks"]["b"] | {
        "metric": LOSS,
        "scale": {"metric": "loss", "chance": 3.0, "reference": 1.0},
    }
    gains = {"a": (0.1, 0.2, 0.1, 0.2, 0.1), "b": (-0.4, -0.2, -0.4, -0.2, -0.4)}

    found = decide(frozen, {name: rows(each) for name, each in gains.items()}, None)

    # On the scales the gains are .2 .4 .2 .4 .2 and .2 .1 .2 .1 .2.
    means, errors = (0.28, 0.16), (0.12 * math.sqrt(5 / 6) / math.sqrt(5), 0.06 * math.sqrt(5 / 6) / math.sqrt(5))
    pooled = across.random_effects(means, [each * math.sqrt(1) for each in errors])
    assert found["across"]["effects"] == pytest.approx(dict(zip("ab", means, strict=True)))
    assert found["effect"] == found["across"]["mean"]
    assert min(means) < found["effect"] < max(means)
    assert found["effect"] == pytest.approx(pooled.mean, rel=0.2)
    assert "describes and does not decide" in found["effect_unit"]
    assert found["across"]["leave_one_out"] == pytest.approx({"a": 0.16, "b": 0.28})
    assert found["across"]["prediction"] == {"undefined": "it needs three tasks or more"}


def test_without_scales_there_is_no_effect_over_several_tasks_and_it_says_why() -> None:
    frozen = plan(tasks=("a", "b"))
    frozen["tasks"]["b"] = frozen["tasks"]["b"] | {"scale": None}

    found = decide(frozen, {"a": rows(BETTER), "b": rows(BETTER)}, None)

    assert found["effect"] == found["interval"] == {"undefined": "not every task states a scale"}


def test_tasks_that_do_not_vary_have_no_mean_over_them() -> None:
    found = decide(plan(tasks=("a", "b")), {"a": rows([0.25] * 5), "b": rows([0.25] * 5)}, None)

    assert found["effect"] == found["interval"] == {"undefined": "the differences on a do not vary"}


def test_a_broken_task_leaves_no_effect_over_tasks() -> None:
    dev = {"a": rows(BETTER), "b": spoil(rows(BETTER), 1, "control", "failed")}

    assert decide(plan(tasks=("a", "b")), dev, None)["effect"] == {"undefined": "the experiment broke"}


def test_costs_add_up_over_tasks() -> None:
    found = decide(plan(tasks=("a", "b")), {"a": rows(BETTER), "b": rows(WIDE)}, None)

    assert found["cost"] == {"control": 10.0, "treatment": 20.0, "ratio": 2.0}
