from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError, Hypothesis, PluginError
from novum.design import design
from novum.evidence import evidence
from novum.experiment import Experiment, Trial
from novum.ledger import Ledger, Score

ACCURACY = {"name": "accuracy", "direction": "max", "worst": 0.0, "unit": "", "low": 0.0, "high": 1.0, "per_unit": True}
RETURN = {"name": "return", "direction": "max", "worst": 0.0, "unit": "points", "low": None, "high": None}
FACTS = [{"id": "dev.size", "value": 50}, {"id": "test.size", "value": 200}]
SEEN = {"facts": FACTS, "scale": {"metric": "accuracy", "chance": 0.2, "reference": 1.0}}
BASE = novum.arm("images", "resnet", budget="1 epochs")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        yield opened


def plan(arm: str, start: dict[str, Any] | None = None, code: str = "1") -> dict[str, Any]:
    fixed = {"units": 100, "data": "d", "checkpoint": "", "device": "cpu", "precision": "fp32"}
    return {"arm": {"name": arm}, "code": {"runner": code}, "start_from": start, **fixed}


def resolved(plan: dict[str, Any], *metrics: dict[str, Any]) -> dict[str, Any]:
    given = list(metrics or (ACCURACY, RETURN | {"per_unit": False}))
    return {"plan": plan, "signature": {}, "metrics": given}


def claim(**parts: Any) -> Hypothesis:
    written: dict[str, Any] = {"max_seeds": 3, "minimum_effect": 0.05, "tasks": {"digits": (BASE, BASE.but(clip=1.0))}}
    return Hypothesis("clipping helps", **(written | parts))


def designed(ledger: Ledger, hypothesis: Hypothesis | None = None, **parts: Any) -> Experiment:
    given = {"control": resolved(plan("control")), "treatment": resolved(plan("treatment"))} | parts
    seen = given.pop("seen", SEEN)
    return design(hypothesis or claim(), {f"digits/{side}": given[side] for side in given}, {"digits": seen}, ledger)


def record(ledger: Ledger, trial: Trial, state: str = "done", value: Any = 0.5, seconds: float = 1.0) -> None:
    """A trial as it stands in the ledger once it has ended."""
    ledger.plan_trials([trial.to_json()])
    result: dict[str, Any] = {"seconds": seconds}
    if state != "done":
        result[state] = "it went wrong"
    scores = {"dev": Score({"accuracy": value}, {}, {}, seconds)} if state == "done" else {}
    ledger.finish(trial.key, ledger.start(trial.key), state, result, scores)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- design


def test_a_minimum_effect_is_a_share_of_the_tasks_scale(ledger: Ledger) -> None:
    assert designed(ledger).tasks["digits"]["margin"] == pytest.approx(0.05 * 0.8)


def test_a_worst_value_that_is_better_than_chance_is_refused(ledger: Ledger) -> None:
    generous = [ACCURACY | {"worst": 0.5}]

    with pytest.raises(ConfigError, match=r"worst value of 'accuracy' is 0.5, which is better than chance \(0.2\)"):
        designed(
            ledger,
            control=resolved(plan("control"), *generous),
            treatment=resolved(plan("treatment"), *generous),
        )


def test_a_raw_minimum_effect_is_the_margin_itself(ledger: Ledger) -> None:
    hypothesis = claim(minimum_effect_raw=3.0, metric="return")

    task = designed(ledger, hypothesis).tasks["digits"]

    assert (task["margin"], task["metric"]["name"], task["scale"]) == (3.0, "return", None)


def test_a_share_of_a_scale_that_is_not_there_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="no chance and reference for 'return'; give minimum_effect_raw in points"):
        designed(ledger, claim(metric="return"))
    with pytest.raises(ConfigError, match="give minimum_effect_raw in its units"):
        designed(ledger, seen=SEEN | {"scale": None})


def test_any_effect_at_all_needs_no_scale(ledger: Ledger) -> None:
    assert designed(ledger, claim(minimum_effect=0.0), seen=SEEN | {"scale": None}).tasks["digits"]["margin"] == 0.0


def test_an_unknown_metric_is_refused_with_the_closest(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="'digits': no metric is called 'accuracies'; did you mean 'accuracy'"):
        designed(ledger, claim(metric="accuracies"))


def test_arms_that_are_judged_differently_are_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="judge both arms by the same evaluator"):
        designed(ledger, treatment=resolved(plan("treatment"), ACCURACY | {"worst": 0.1}))


def test_the_resolution_of_a_score_per_unit_is_one_over_the_number_of_units(ledger: Ledger) -> None:
    assert designed(ledger).tasks["digits"]["resolution"] == {"dev": 1 / 50, "test": 1 / 200}
    returns = designed(ledger, claim(metric="return", minimum_effect=0.0))
    assert returns.tasks["digits"]["resolution"] == {"dev": 0.0, "test": 0.0}


def test_a_plan_holds_method_level_boundary_and_seeds(ledger: Ledger) -> None:
    found = designed(ledger, claim(alpha=0.025, seed=7)).record

    test = found["tasks"]["digits"]["test"]
    assert found["method"] == {"name": "sequential", "version": 1}
    assert (found["alpha"], found["level"], test["support"]) == (0.025, 0.025, 0.025)
    assert (test["looks"], test["upper"]) == ([3], [pytest.approx(4.30265273)])
    assert found["seeds"] == {"root": 7, "block": "0", "indices": [0, 1, 2]}


def test_the_same_claim_gives_the_same_plan_and_another_gives_another(ledger: Ledger) -> None:
    assert designed(ledger).id == designed(ledger).id
    assert designed(ledger).id != designed(ledger, claim(max_seeds=4)).id


def test_trials_come_pair_by_pair(ledger: Ledger) -> None:
    found = [(trial.index, trial.side) for trial in designed(ledger).trials()]

    assert found == [(index, side) for index in range(3) for side in ("control", "treatment")]


@pytest.mark.parametrize(
    ("metric", "parts", "method"),
    [
        (ACCURACY, {}, "sequential-t"),
        (ACCURACY | {"kind": "score"}, {}, "sequential-t"),
        (ACCURACY | {"kind": "success"}, {}, "sequential-sign-flip"),
        (ACCURACY | {"kind": "episodes"}, {}, "sequential-sign-flip"),
        (ACCURACY | {"kind": "episodes"}, {"test": "t"}, "sequential-t"),
        (ACCURACY, {"test": "sign-flip"}, "sequential-sign-flip"),
        (ACCURACY, {"estimand": "win"}, "sequential-sign"),
        (ACCURACY | {"kind": "episodes"}, {"max_seeds": None}, "e-process"),
    ],
)
def test_the_kind_of_a_metric_and_the_claim_choose_the_test_before_any_data(
    ledger: Ledger, metric: dict[str, Any], parts: dict[str, Any], method: str
) -> None:
    arms = {side: resolved(plan(side), metric) for side in ("control", "treatment")}

    found = designed(ledger, claim(**{"max_seeds": 8} | parts), **arms)

    assert found.tasks["digits"]["test"]["method"] == method


def test_an_unknown_kind_of_metric_is_refused(ledger: Ledger) -> None:
    arms = {side: resolved(plan(side), ACCURACY | {"kind": "episode"}) for side in ("control", "treatment")}

    with pytest.raises(PluginError, match=r"has the kind 'episode', .* did you mean 'episodes'"):
        designed(ledger, **arms)


def test_arms_that_resolve_to_the_same_plan_are_refused(ledger: Ledger) -> None:
    with pytest.raises(
        ConfigError, match="control and treatment resolve to the same arm once every default is filled in"
    ):
        designed(ledger, treatment=resolved(plan("control")))


@pytest.mark.parametrize(("least", "support", "refute"), [(1, 0.025, 0.05), (2, 0.05, 0.025)])
def test_at_least_so_many_tasks_correct_support_and_refutation(
    ledger: Ledger, least: int, support: float, refute: float
) -> None:
    hypothesis = claim(tasks={name: (BASE, BASE.but(clip=1.0)) for name in "ab"}, scope=f"at_least({least})")
    arms = {f"{name}/{side}": resolved(plan(side)) for name in "ab" for side in ("control", "treatment")}

    tasks = design(hypothesis, arms, {"a": SEEN, "b": SEEN}, ledger).tasks

    assert {(task["test"]["support"], task["test"]["refute"]) for task in tasks.values()} == {(support, refute)}
    assert {(task["secondary"]["support"], task["secondary"]["refute"]) for task in tasks.values()} == {(0.05, 0.05)}


def test_a_zone_and_a_batch_stand_in_the_registered_test(ledger: Ledger) -> None:
    test = designed(ledger, claim(margins="zone", max_seeds=9, batch=4)).tasks["digits"]["test"]

    assert (test["null"], test["claimed"], test["looks"]) == (0.0, 0.04, [4, 8, 9])


# ----------------------------------------------------------------------------------------------------- blocks of seeds


def test_a_claim_begins_with_the_first_block_and_shares_its_controls_trials(ledger: Ledger) -> None:
    first = designed(ledger)
    for trial in first.trials():
        record(ledger, trial)

    second = designed(ledger, treatment=resolved(plan("another")))

    assert second.record["seeds"]["block"] == "0"
    keys = [{trial.key for trial in each.trials() if trial.side == "control"} for each in (first, second)]
    assert keys[0] == keys[1]


def test_a_treatment_that_was_seen_gets_a_fresh_block(ledger: Ledger) -> None:
    for trial in designed(ledger).trials():
        record(ledger, trial)

    assert designed(ledger).record["seeds"]["block"] == "1"
    assert designed(ledger, control=resolved(plan("other"))).record["seeds"]["block"] == "1"


def test_a_treatment_seen_with_other_code_was_seen(ledger: Ledger) -> None:
    for trial in designed(ledger).trials():
        record(ledger, trial)

    edited: Any = {side: resolved(plan(side, code="2")) for side in ("control", "treatment")}

    assert designed(ledger, **edited).record["seeds"]["block"] == "1"


def test_an_exploratory_trial_of_the_treatment_leaves_the_first_block_unseen(ledger: Ledger) -> None:
    record(ledger, Trial.of("digits", "arm", 0, plan("treatment"), {"root": 0, "block": "explore", "index": 0}))

    assert designed(ledger).record["seeds"]["block"] == "0"


# ------------------------------------------------------------------------------------------------------------- trials


def test_a_trials_key_changes_with_everything_that_was_planned() -> None:
    seed = {"root": 0, "block": "0", "index": 0, "indices": None}

    def key(plan: dict[str, Any], **other: Any) -> str:
        return Trial.of("digits", "control", 0, plan, seed | other).key

    keys = [
        key(plan("a")),
        key(plan("b")),
        key(plan("a", code="2")),
        key(plan("a") | {"data": "e"}),
        key(plan("a") | {"device": "cuda"}),
        key(plan("a") | {"precision": "bf16"}),
        key(plan("a", start=plan("b"))),
        key(plan("a"), root=1),
        key(plan("a"), block="1"),
        key(plan("a"), index=1),
    ]
    assert len(set(keys)) == len(keys)


def test_an_equal_trial_has_one_key_in_every_task_and_on_every_side() -> None:
    seed = {"root": 0, "block": "0", "index": 0, "indices": None}

    assert Trial.of("a", "control", 0, plan("x"), seed).key == Trial.of("b", "treatment", 0, plan("x"), seed).key


def test_a_line_of_arms_is_one_trial_each_on_the_same_seed() -> None:
    seed = {"root": 0, "block": "0", "index": 0, "indices": None}

    trial = Trial.of("a", "control", 0, plan("x", start=plan("y", start=plan("z"))), seed)

    assert [each.plan["arm"]["name"] for each in trial.line()] == ["x", "y", "z"]
    assert [each.seed for each in trial.line()] == [seed] * 3
    assert trial.to_json()["parent"] == trial.parent.key if trial.parent else False


# ----------------------------------------------------------------------------------------------------------- evidence


def test_evidence_is_one_row_per_whole_pair_in_the_order_of_the_seeds(ledger: Ledger) -> None:
    experiment = designed(ledger)
    trials = list(experiment.trials())
    for trial, value in reversed(list(zip(trials[:5], (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))):
        record(ledger, trial, value=value)

    found = evidence(ledger, experiment, "dev").rows["digits"]

    values = [(row["index"], row["control"]["value"], row["treatment"]["value"]) for row in found]
    assert values == [(0, 0.1, 0.2), (1, 0.3, 0.4)]


@pytest.mark.parametrize(
    ("state", "value", "because"),
    [
        ("diverged", None, "it went wrong"),
        ("failed", None, "it went wrong"),
        ("done", {"undefined": "no unit"}, "no unit"),
    ],
)
def test_what_has_no_value_keeps_its_place_and_says_why(ledger: Ledger, state: str, value: Any, because: str) -> None:
    experiment = designed(ledger)
    control, treatment = list(experiment.trials())[:2]
    record(ledger, control)
    record(ledger, treatment, state, value)

    (row,) = evidence(ledger, experiment, "dev").rows["digits"]

    expected = "undefined" if state == "done" else state
    memory = {"undefined": "it was not measured"}
    told = {"state": expected, "value": None, "seconds": 1.0, "memory": memory, "because": because}
    assert row["treatment"] == told


def test_a_trial_that_broke_is_evidence_even_where_its_partner_never_ran(ledger: Ledger) -> None:
    experiment = designed(ledger)
    record(ledger, next(iter(experiment.trials())), "failed")

    (row,) = evidence(ledger, experiment, "dev").rows["digits"]

    assert (row["index"], row["control"]["state"], row["treatment"]["state"]) == (0, "failed", "unrun")
    assert row["control"]["because"] == "it went wrong"


def test_the_cost_of_a_trial_holds_that_of_all_it_starts_from(ledger: Ledger) -> None:
    experiment = designed(ledger, treatment=resolved(plan("t", start=plan("u", start=plan("v")))))
    control, treatment = list(experiment.trials())[:2]
    record(ledger, control, seconds=1.0)
    for seconds, trial in zip((2.0, 4.0, 8.0), treatment.line(), strict=True):
        record(ledger, trial, seconds=seconds)

    (row,) = evidence(ledger, experiment, "dev").rows["digits"]

    assert (row["control"]["seconds"], row["treatment"]["seconds"]) == (1.0, 14.0)
