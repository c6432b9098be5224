"""A start that is trained once for all seeds: one trial of it, shared, whatever happens to the study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError
from novum.evidence import evidence
from novum.experiment import meant
from novum.loop import registered

PARENT = {"learning_rate": 0.123, "budget": "1 epochs"}
"""By its rate a parent is told from what starts from it."""


@pytest.fixture
def started(claim: Any) -> Any:
    """Makes a claim that what starts from another arm beats what sees nothing; parts of a hypothesis can be given."""

    def make(once: bool, *, both: bool = False, **changes: Any) -> novum.Hypothesis:
        comparison = claim().tasks["Blobs"]
        parent = comparison.treatment.but(**PARENT)
        treatment = comparison.treatment.but(start_from=parent, start_once=once, **changes.pop("recipe", {}))
        control = comparison.control.but(start_from=parent, start_once=once) if both else comparison.control
        return claim(control=control, treatment=treatment, futility=0.0, **changes)  # type: ignore[no-any-return]

    return make


def starts(study: Any) -> list[dict[str, Any]]:
    """Rows of the trials of the parent."""
    with study.reading() as ledger:
        return [row for row in ledger.trials() if row["plan"]["plan"]["arm"]["recipe"]["learning_rate"] == 0.123]


def children(study: Any) -> list[dict[str, Any]]:
    with study.reading() as ledger:
        return [row for row in ledger.trials() if row["kind"] == "train" and row["plan"]["plan"]["start_from"]]


# -------------------------------------------------------------------------------------------------- how many trials


@pytest.mark.parametrize(("once", "indices"), [(True, [0]), (False, [0, 1, 2])])
def test_a_start_has_one_trial_for_all_seeds_or_one_for_each(
    study: Any, started: Any, once: bool, indices: Any
) -> None:
    study.run(started(once, confirm="same-networks"))

    rows = starts(study)
    assert [row["plan"]["seed"]["index"] for row in rows] == indices
    assert {row["plan"]["parent"] for row in children(study)} == {row["key"] for row in rows}
    assert [row["attempts"] for row in rows] == [1] * len(indices)


def test_the_plan_counts_it_once_and_the_preview_and_the_first_line_say_so(study: Any, started: Any) -> None:
    told = study.plan(started(True))

    assert told.record["trials"] == 3 * 2 + 1
    assert told.record["tasks"]["Blobs"]["trials_per_pair"] == 2
    assert told.line.startswith("At most 7 trials")
    assert any(each.startswith("Trained once for all seeds: a start on Blobs") for each in told.said)
    assert not any("once for all seeds" in each for each in study.plan(started(False)).said)


def test_both_arms_and_two_claims_of_a_study_share_it(study: Any, started: Any) -> None:
    study.run(started(True, both=True))
    study.run(started(True, both=True, sentence="a higher rate helps", recipe={"learning_rate": 0.3}))

    (row,) = starts(study)
    assert row["attempts"] == 1
    assert {each["plan"]["parent"] for each in children(study)} == {row["key"]}
    assert len(children(study)) == 9  # the control's three are shared as well


def test_fresh_seeds_that_confirm_begin_with_the_same_network(study: Any, started: Any) -> None:
    verdict = study.run(started(True, confirm="fresh-seeds"))

    assert verdict.outcome == "supported"
    assert max(row["plan"]["seed"]["index"] for row in children(study)) > 3
    assert len(starts(study)) == 1


def test_a_claim_that_is_registered_anew_trains_it_anew_on_its_own_block(study: Any, started: Any) -> None:
    study.run(started(True))
    study.run(started(True), new=True)

    assert [row["plan"]["seed"]["block"] for row in starts(study)] == ["0", "1"]


# ------------------------------------------------------------------------------------------------- the same numbers


def test_seed_0_gives_the_numbers_of_a_start_per_seed_and_later_seeds_others(study: Any, started: Any) -> None:
    arms = {once: started(once).tasks["Blobs"].treatment for once in (True, False)}

    runs = {once: study.train_seeds(arm, seeds=(0, 1)) for once, arm in arms.items()}

    weights = {once: [run.weights for run in found] for once, found in runs.items()}
    assert weights[True][0] == weights[False][0]
    assert weights[True][1] != weights[False][1]


def test_an_arm_whose_start_is_trained_once_is_another_arm_and_others_are_what_they_were(arm: Any) -> None:
    plan = {"arm": {}, "units": 1, "data": "d", "checkpoint": "", "start_from": None}
    child = {**plan, "start_from": plan}

    assert meant({**child, "start_once": True}) != meant({**child, "start_once": False})
    assert meant({**child, "start_once": False}) == meant(child)  # as an earlier Novum planned it
    assert "start_once" not in arm(start_from=arm(budget="1 epochs")).to_json()  # or old claims would be other claims


# -------------------------------------------------------------------------------------------------------- accidents


def test_a_study_that_loses_it_and_is_interrupted_holds_one_trial_and_the_same_verdict(
    tmp_path: Path, started: Any, meddling: Any, lost: Any
) -> None:
    def first_loses_then_interrupts() -> Iterator[str]:
        yield from ("lose", "pass", "pass", "interrupt")
        while True:
            yield "pass"

    script = first_loses_then_interrupts()

    def meddle(result: Any) -> Any:
        if result.job.kind != "train":
            return result
        match next(script):
            case "lose":
                return lost(result)
            case "interrupt":
                raise KeyboardInterrupt
        return result

    with novum.Study(tmp_path / "calm", executor="inline") as calm:
        expected = calm.run(started(True))
    with novum.Study(tmp_path / "study", executor=meddling(meddle)) as study:
        with pytest.raises(KeyboardInterrupt):
            study.run(started(True))
        verdict = study.run(started(True))

    assert {row["key"] for row in starts(study)} == {row["key"] for row in starts(calm)}
    assert verdict.effect == expected.effect
    assert {row["key"] for row in children(study)} == {row["key"] for row in children(calm)}


def test_where_it_diverges_every_pair_diverged(study: Any, started: Any) -> None:
    hypothesis = started(True)
    comparison = hypothesis.tasks["Blobs"]
    parent = comparison.treatment.start_from
    sick = parent.but(model=parent.model.but(mode="nan"))

    study.run(novum.Hypothesis("x", control=comparison.control, treatment=comparison.treatment.but(start_from=sick)))

    assert len(starts(study)) == 1
    assert {row["state"] for row in children(study)} == {"diverged"}


# ------------------------------------------------------------------------------------------------- what it is said


def test_its_seconds_are_spent_once(study: Any, started: Any) -> None:
    verdict = study.run(started(True))

    with study.reading() as ledger:
        rows = evidence(ledger, registered(ledger, verdict.hypothesis), "dev").rows["Blobs"]
        spent = {row["key"]: row["result"]["seconds"] for row in ledger.trials() if row["kind"] == "train"}
    (start,) = starts(study)
    mine = math.fsum(spent[row["key"]] for row in [start, *children(study)])
    assert math.fsum(row["treatment"]["seconds"] for row in rows) == pytest.approx(mine)
    assert [row["treatment"].get("once") for row in rows] == [spent[start["key"]], *[None] * (len(rows) - 1)]


def test_the_report_says_that_the_claim_is_about_one_network(study: Any, started: Any) -> None:
    verdicts = [study.run(started(once)) for once in (True, False)]

    once, each = (study.report(verdict.hypothesis).read_text(encoding="utf-8") for verdict in verdicts)

    assert "starts from was trained once, and all its seeds begin with that one network" in once
    assert "once for all seeds" in once  # beside what the arms differ in
    assert "trained once" not in each and "once for all seeds" not in each


# --------------------------------------------------------------------------------------------------- how it is said


def test_the_word_stands_beside_start_from_in_a_claim_file_and_in_python(tmp_path: Path) -> None:
    file = tmp_path / "claim.toml"
    file.write_text(
        'claim = "x"\n[treatments.pretrained]\nstart_once = true\n[tasks.a]\ntask = { plugin = "t" }\n'
        'model = { plugin = "m" }\n[tasks.a.treatments.pretrained.start_from]\nrecipe = { budget = "9 epochs" }\n'
    )
    base = novum.arm("t", "m")

    (comparison,) = novum.load(file).tasks.values()
    (off,) = novum.load_all(file, ["treatments.pretrained.start_once=false"])[0].tasks.values()

    assert comparison.treatment == novum.arm("t", "m", start_from=base.but(budget="9 epochs"), start_once=True)
    assert (comparison.control, off.treatment) == (base, base.but(start_from=base.but(budget="9 epochs")))
    assert novum.Arm.from_json(comparison.treatment.to_json()) == comparison.treatment


def test_without_a_start_nothing_can_be_trained_once(tmp_path: Path, arm: Any) -> None:
    file = tmp_path / "claim.toml"
    file.write_text(
        'claim = "x"\n[treatments.a]\nstart_once = true\n[tasks.b]\ntask = { plugin = "t" }\nmodel = { plugin = "m" }\n'
    )

    with pytest.raises(ConfigError, match="start_once: received True; allowed: true where the arm has a start_from"):
        arm(start_once=True)
    with pytest.raises(ConfigError, match=r"tasks\.b\.start_once: received true, but this arm has no start_from"):
        novum.load(file)
    assert not arm(start_from=arm(budget="1 epochs"), start_once=True).but(start_from=None).start_once
