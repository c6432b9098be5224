"""A goal's account: at which level each of its hypotheses is tested, and that it is spent with the registration."""

from __future__ import annotations

import json
from typing import Any

import novum
import pytest
from novum import RegistrationError, streams


def levels(study: Any, goal: str = "g") -> list[tuple[int, float, str | None]]:
    with study.reading() as ledger:
        return [(row["index"], round(row["level"], 6), row["outcome"]) for row in streams.account(ledger, goal)]


def test_a_claim_without_a_goal_is_a_stream_of_its_own(study: Any, claim: Any) -> None:
    verdict = study.run(claim())

    with study.reading() as ledger:
        assert ledger.streams() == []
        assert streams.alone(ledger) == 1
    assert (verdict.record["level"], verdict.record["stream"]) == (0.05, {})


def test_each_hypothesis_of_a_goal_is_tested_at_the_level_that_its_account_gives(study: Any, claim: Any) -> None:
    first = study.run(claim(max_seeds=8, goal="g"))
    second = study.run(claim("and again", max_seeds=8, goal="g"))

    assert [each.outcome for each in (first, second)] == ["supported", "supported"]
    assert levels(study) == [(1, 0.010937, "supported"), (2, 0.014546, "supported")]
    assert first.record["level"] == 0.0109375
    assert first.tasks["Blobs"].record["test"]["level"] == 0.0109375
    with study.reading() as ledger:
        assert streams.alone(ledger) == 0
        assert ledger.streams("g")[1]["rejections"] == [1]


def test_refutation_is_no_discovery_and_is_tested_at_alpha(study: Any, claim: Any) -> None:
    from novum.validate import recompute  # noqa: F401 - the plan is read from the ledger below

    verdict = study.run(claim(max_seeds=8, goal="g"))

    with study.reading() as ledger:
        test = ledger.experiment(verdict.hypothesis)["plan"]["tasks"]["Blobs"]["test"]
    assert (test["support"], test["refute"]) == (0.0109375, 0.05)


def test_what_was_refuted_earns_nothing(study: Any, claim: Any) -> None:
    sees = claim().tasks["Blobs"]
    study.run(claim("not seeing helps", control=sees.treatment, treatment=sees.control, goal="g", max_seeds=8))

    study.run(claim(max_seeds=8, goal="g"))

    assert [outcome for _, _, outcome in levels(study)] == ["refuted", "supported"]
    assert levels(study)[1][1] < levels(study)[0][1]


def test_treatments_of_one_file_take_their_levels_one_after_the_other(study: Any, claim: Any) -> None:
    family = [claim(max_seeds=8, goal="g", name=name, seed=seed) for seed, name in enumerate(("one", "two"))]

    study.run_all(family)

    assert [(index, level) for index, level, _ in levels(study)] == [(1, 0.010937), (2, 0.003608)]


def test_goals_have_accounts_of_their_own(study: Any, claim: Any) -> None:
    study.run(claim(goal="a", max_seeds=8))

    study.run(claim("another", goal="b", max_seeds=8))

    assert [levels(study, goal)[0][:2] for goal in ("a", "b")] == [(1, 0.010937)] * 2


def test_a_goal_has_one_rule_and_one_rate(study: Any, claim: Any) -> None:
    study.run(claim(goal="g", max_seeds=8))

    for parts in ({"alpha": 0.1}, {"fdr": "lond"}):
        with pytest.raises(RegistrationError, match=r"goal 'g' spends its error rate by 'lord\+\+' at alpha = 0\.05"):
            study.run(claim("other", goal="g", max_seeds=8, **parts))
    assert len(levels(study)) == 1


def test_a_stale_account_registers_nothing(study: Any, claim: Any) -> None:
    study.run(claim(goal="g", max_seeds=8))
    with study.reading() as ledger:
        (row,) = ledger.hypotheses()
        plan = ledger.experiment(row["id"])

    with study._working(*claim().tasks["Blobs"].arms.values()) as lab:
        twin = row | {"id": "h-twin", "fingerprint": "f" * 32}
        with pytest.raises(RegistrationError, match="was given index 1, but its next one is 2"):
            lab.ledger.register([(twin, plan | {"id": "p", "hypothesis": "h-twin"})])

    assert len(study.hypotheses()) == len(levels(study)) == 1


def test_a_plan_that_cannot_run_spends_no_level(study: Any, claim: Any) -> None:
    bad = claim(goal="g", max_seeds=8)
    task = bad.tasks["Blobs"]
    treatment = task.treatment.but(model=task.treatment.model.but(mode="nan-now"))

    with pytest.raises(novum.NovumError):
        study.run(claim(goal="g", max_seeds=8, treatment=treatment))

    with study.reading() as ledger:
        assert ledger.streams() == []


def test_a_maximum_that_could_support_nothing_is_raised_in_a_goal_and_refused_alone(study: Any, claim: Any) -> None:
    with pytest.raises(
        novum.ConfigError, match=r"max_seeds: received 4; at the level 0\.05 the sign-flip test can support"
    ):
        study.run(claim(max_seeds=4, test="sign-flip"))

    verdict = study.run(claim(max_seeds=4, test="sign-flip", goal="g"))

    assert verdict.tasks["Blobs"].record["planned"] == 7
    assert verdict.outcome == "supported"


def test_the_level_is_said_before_it_starts(study: Any, claim: Any) -> None:
    said = study.plan(claim(goal="better", max_seeds=8)).said

    assert said[1] == "Tested at 0.0109, the 1st of goal better (LORD++ at 0.05)."


def test_the_account_stands_in_the_hypothesis_and_in_its_plan(study: Any, claim: Any) -> None:
    verdict = study.run(claim(goal="g", max_seeds=8))

    with study.reading() as ledger:
        row = ledger.hypothesis(verdict.hypothesis)
        plan = ledger.experiment(verdict.hypothesis)["plan"]
    assert row is not None
    assert row["stream"] == plan["stream"] == json.loads(verdict.text)["stream"]
