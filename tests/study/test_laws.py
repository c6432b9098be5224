"""The laws of the design, each on a whole study of a task that trains in milliseconds."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum import Hypothesis, RegistrationError, SplitClosed, Study, StudyError
from novum.arm import canonical
from novum.experiment import Experiment, run
from novum.lab import Lab, Listener
from novum.loop import Question, observe, register, registered
from novum.validate import validate

RECOMPUTE = """
import sys
from novum import Study
print(Study(sys.argv[1]).verdict(sys.argv[2], recompute=True).text)
"""


def without_cost(text: str) -> str:
    """A verdict but for the seconds it took, which no two runs share."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(each) for name, each in value.items() if name != "cost"}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return canonical(strip(json.loads(text)))


def numbers(study: Study) -> dict[str, Any]:
    """By trial: everything that a trial measured, but for the seconds it took."""
    with study.reading() as ledger:
        rows = ledger.trials()
        found: dict[str, Any] = {}
        for row in rows:
            result = row["result"] or {}
            split = "test" if row["kind"] == "score" else "dev"
            curve = [{name: each[name] for name in ("units", "losses", "metrics")} for each in result.get("curve", [])]
            scores = ledger.scores([row["key"]], split).get(row["key"], {})
            found[row["key"]] = {
                "state": row["state"],
                "curve": curve,
                "weights": result.get("weights"),
                "metrics": scores.get("metrics"),
                "units": ledger.units(row["key"], split),
            }
    return found


# -------------------------------------------------------------------------------- 1: no claim without registration


class Waiting(Listener):
    """Calls something once the plan is registered, before any trial."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def registered(self, plan: Mapping[str, Any]) -> None:
        self._then()


def stop() -> None:
    raise KeyboardInterrupt


def with_lab(study: Study, hypothesis: Hypothesis, work: Callable[[Lab], Any]) -> Any:
    comparison = next(iter(hypothesis.tasks.values()))
    with study._working(comparison.control, comparison.treatment) as lab:
        return work(lab)


def test_a_plan_that_was_never_registered_does_not_run(study: Any, claim: Any) -> None:
    from novum.design import design

    hypothesis = claim()

    def work(lab: Lab) -> None:
        seen = observe(Question.of(hypothesis), lab)
        plan = design(hypothesis, seen.resolved, seen.observations, lab.ledger)
        with pytest.raises(RegistrationError, match=f"no hypothesis '{hypothesis.id}' is registered"):
            run(lab, plan)
        assert lab.ledger.trials() == []

    with_lab(study, hypothesis, work)


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan.update(alpha=0.2),
        lambda plan: plan.update(boundary=1.0),
        lambda plan: plan["seeds"].update(block="7"),
        lambda plan: plan["seeds"]["indices"].pop(),
        lambda plan: plan["tasks"]["Blobs"].update(margin=0.0),
        lambda plan: plan["tasks"]["Blobs"]["treatment"]["arm"]["recipe"].update(learning_rate=9.0),
    ],
)
def test_a_plan_that_was_edited_neither_runs_nor_decides(study: Any, claim: Any, edit: Any) -> None:
    hypothesis = claim()

    def work(lab: Lab) -> None:
        plan = register(lab, hypothesis, observe(Question.of(hypothesis), lab))
        record = json.loads(plan.text)
        edit(record)
        edited = Experiment(canonical(record))
        with pytest.raises(RegistrationError, match="differs from the registered one"):
            run(lab, edited)
        with pytest.raises(RegistrationError, match="differs from the registered one"):
            validate(lab, edited, None)  # type: ignore[arg-type]
        assert lab.ledger.trials() == []

    with_lab(study, hypothesis, work)


def test_a_stored_plan_that_was_edited_is_noticed(study: Any, claim: Any) -> None:
    verdict = study.run(claim())
    with sqlite3.connect(study.folder / "ledger.sqlite") as connection:
        connection.execute("UPDATE experiments SET content = replace(content, '\"margin\":0.01', '\"margin\":0.0')")
    connection.close()

    with pytest.raises(StudyError, match="was edited or damaged: the row experiments/"):
        study.verdict(verdict.hypothesis, recompute=True)
    with study.reading() as ledger, pytest.raises(RegistrationError):
        registered(ledger, verdict.hypothesis)


def test_an_edited_claim_is_a_child_that_names_its_parent(study: Any, claim: Any) -> None:
    first = study.run(claim())
    second = study.run(claim(minimum_effect=0.01))

    parent, child = study.hypotheses()
    assert (parent["id"], parent["parent"]) == (first.hypothesis, None)
    assert (child["id"], child["parent"]) == (second.hypothesis, first.hypothesis)


def test_trials_of_a_treatment_that_were_seen_are_no_evidence_for_it(study: Any, claim: Any) -> None:
    study.run(claim())
    seen = {row["trial"] for row in study.rows() if row["side"] == "treatment"}

    second = study.run(claim(minimum_effect=0.01))

    with study.reading() as ledger:
        plan = registered(ledger, second.hypothesis)
    assert plan.record["seeds"]["block"] == "1"
    assert not seen & {trial.key for trial in plan.trials()}


def test_exploratory_runs_never_count(study: Any, claim: Any) -> None:
    arms = claim().tasks["Blobs"]
    runs = [each for arm in (arms.control, arms.treatment) for each in study.train_seeds(arm, seeds=range(3))]

    verdict = study.run(claim())

    with study.reading() as ledger:
        planned = {trial.key for trial in registered(ledger, verdict.hypothesis).trials()}
    assert not planned & {each.key for each in runs}
    assert Counter(row["block"] for row in study.rows()) == {"explore": 6, "0": 6}


def test_no_claim_ever_uses_the_seeds_of_exploratory_runs(study: Any, claim: Any) -> None:
    study.run(claim())
    study.run(claim(), new=True)

    with study.reading() as ledger:
        blocks = [registered(ledger, row["id"]).record["seeds"]["block"] for row in ledger.hypotheses()]
    assert blocks == ["0", "1"]


# -------------------------------------------------------------------------------------- 2: one verdict function


def test_a_verdict_is_recomputed_byte_for_byte(study: Any, claim: Any) -> None:
    verdict = study.run(claim())

    assert study.verdict(verdict.hypothesis, recompute=True).text == verdict.text


def test_a_verdict_is_recomputed_byte_for_byte_by_another_process_from_a_copy(
    study: Any, claim: Any, tmp_path: Path
) -> None:
    verdict = study.run(claim())
    copy = shutil.copytree(study.folder, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(copy / "weights")

    told = subprocess.run(
        [sys.executable, "-c", RECOMPUTE, str(copy), verdict.hypothesis], capture_output=True, text=True, check=True
    )

    assert told.stdout.rstrip("\n") == verdict.text


def test_recomputing_changes_nothing_in_the_study(study: Any, claim: Any) -> None:
    verdict = study.run(claim())
    with study.reading() as ledger:
        before = ledger.events()

    for _ in range(3):
        study.verdict(verdict.hypothesis, recompute=True)

    with study.reading() as ledger:
        assert ledger.events() == before
        ledger.verify()


# ------------------------------------------------------------------------------------ 3: a crash is never a re-roll


def test_a_study_that_is_interrupted_anywhere_ends_as_one_that_was_not(
    tmp_path: Path, claim: Any, meddling: Any
) -> None:
    results: list[str] = []

    def watch(result: Any) -> Any:
        results.append(result.job.kind)
        return result

    with Study(tmp_path / "whole", executor=meddling(watch)) as study:
        expected, measured = study.run(claim()), numbers(study)
    assert Counter(results) == {"resolve": 1, "observe": 1, "preflight": 2, "train": 6, "score": 6}

    for at in range(len(results)):
        left = [at]

        def interrupt(result: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt
            return result

        with Study(tmp_path / f"broken-{at}", executor=meddling(interrupt)) as study:
            with pytest.raises(KeyboardInterrupt):
                study.run(claim())

            verdict = study.run(claim())

            assert without_cost(verdict.text) == without_cost(expected.text), at
            assert numbers(study) == measured, at
            assert study.verdict(verdict.hypothesis, recompute=True) == verdict, at
            with study.reading() as ledger:
                assert len(ledger.openings()) == 1, at
                assert len(ledger.hypotheses()) == 1, at
                ledger.verify()


def test_a_study_that_is_stopped_again_and_again_gets_there_all_the_same(
    tmp_path: Path, claim: Any, meddling: Any
) -> None:
    expected = Study(tmp_path / "whole", executor="inline").run(claim())
    ended: list[str] = []

    def interrupt(result: Any) -> Any:
        if result.job.kind in ("train", "score"):
            ended.append(result.job.id)
            if len(ended) % 3 == 0:
                raise KeyboardInterrupt
        return result

    study, tries = Study(tmp_path / "broken", executor=meddling(interrupt)), 0
    verdict = None
    while verdict is None:
        tries += 1
        try:
            verdict = study.run(claim())
        except KeyboardInterrupt:
            assert tries < 30

    assert tries == 5  # each goes on for three of twelve: the one whose interrupt came first waits in the spool
    assert without_cost(verdict.text) == without_cost(expected.text)


def test_a_process_that_dies_before_any_write_to_its_ledger_loses_nothing(
    tmp_path: Path, arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.ledger.database import Database

    class Killed(BaseException):
        """No handler may write any more: the process is gone."""

    writes, alive, write = [0], [1000], Database.write

    def counted(self: Database) -> Any:
        writes[0] += 1
        if writes[0] > alive[0]:
            raise Killed
        return write(self)

    monkeypatch.setattr(Database, "write", counted)
    base = arm(task={"size": 60, "noise": 0.4}, model={"spread": 0.0, "dropout": 0.5})
    control, treatment = base.but(model=base.model.but(blind=True)), base.but(start_from=base.but(budget="1 epochs"))
    hypothesis = Hypothesis("a start helps", control=control, treatment=treatment, max_seeds=3)
    whole = Study(tmp_path / "whole", executor="inline")
    expected, measured, total = whole.run(hypothesis), numbers(whole), writes[0]

    for at in (2, 5, 11, 20, total - 7, total - 3, total - 1):
        study = Study(tmp_path / f"killed-{at}", executor="inline")
        writes[0], alive[0] = 0, at
        with pytest.raises(Killed):
            study.run(hypothesis)
        alive[0] = 1000

        verdict = study.run(hypothesis)

        assert without_cost(verdict.text) == without_cost(expected.text), at
        assert numbers(study) == measured, at
        with study.reading() as ledger:
            assert len(ledger.openings()) == 1, at
            kept = {row["hash"] for row in ledger.weights() if row["state"] == "kept"}
        assert kept == {path.name for path in (study.folder / "weights").iterdir()}, at


def test_an_interrupt_after_registration_resumes_the_registered_plan(tmp_path: Path, claim: Any) -> None:
    study = Study(tmp_path, executor="inline", listener=Waiting(stop))
    with pytest.raises(KeyboardInterrupt):
        study.run(claim())
    (before,) = study.hypotheses()

    verdict = Study(tmp_path, executor="inline").run(claim())

    assert study.hypotheses() == [before]
    assert verdict.hypothesis == before["id"]


def test_lost_workers_change_no_number(tmp_path: Path, claim: Any, meddling: Any, lost: Any) -> None:
    expected = Study(tmp_path / "whole", executor="inline").run(claim())
    seen: set[str] = set()

    def lose(result: Any) -> Any:
        first = result.job.kind in ("train", "score") and result.job.id not in seen
        seen.add(result.job.id)
        return lost(result) if first else result

    study = Study(tmp_path / "lossy", executor=meddling(lose))
    verdict = study.run(claim())

    assert without_cost(verdict.text) == without_cost(expected.text)
    assert {row["attempts"] for row in study.rows()} == {2}


def test_a_worker_that_is_always_lost_makes_the_claim_invalid_and_says_why(
    tmp_path: Path, claim: Any, meddling: Any, lost: Any
) -> None:
    study = Study(tmp_path, executor=meddling(lambda result: lost(result) if result.job.kind == "train" else result))

    verdict = study.run(claim())

    assert verdict.outcome == "invalid"
    assert (
        "The trial of the control at seed 0 broke: Lost: the process was ended by SIGKILL"
        in verdict.tasks["Blobs"].reasons
    )
    assert study.run(claim()) == verdict


# ---------------------------------------------------------------------------------------------------- 4: pairing


def test_an_inert_difference_gives_identical_numbers_seed_by_seed(study: Any, arm: Any) -> None:
    base = arm()
    hypothesis = Hypothesis("a note helps", control=base, treatment=arm(model={"note": "inert"}), max_seeds=3)

    verdict = study.run(hypothesis)

    sides: dict[str, list[Any]] = {"control": [], "treatment": []}
    measured = numbers(study)
    for row in study.rows():
        sides[row["side"]].append(measured[row["trial"]])
    assert sides["control"] == sides["treatment"]
    assert len({canonical(each) for each in sides["control"]}) == 3
    assert (verdict.effect, verdict.outcome) == (0.0, "inconclusive")


def test_scoring_more_often_changes_nothing(study: Any, arm: Any) -> None:
    from novum.recipe import units
    from novum.runner.parts import Parts
    from novum.runner.train import Trainer
    from novum.seeds import trial_seed

    parts = Parts.of(arm(averaging="ema", schedule="cosine").to_json())
    found = []
    for points in (1, 2, 5, 8):
        budget = units(parts.recipe.budget, 40)
        trainer = Trainer(
            parts, trial_seed(0, "0", 0), units=budget, device_kind="cpu", precision="fp32", points=points
        )
        trained = trainer.run()
        found.append((trained.scores, [tensor.tolist() for tensor in trainer.scored.state_dict().values()]))

    assert all(each == found[0] for each in found)


def test_what_ran_before_in_the_process_changes_nothing(tmp_path: Path, arm: Any) -> None:
    first = Study(tmp_path / "a", executor="inline")
    first.train(arm())
    torch.manual_seed(1234)
    second = Study(tmp_path / "b", executor="inline")
    second.train(arm(model={"dropout": 0.7}), seed=4)

    second.train(arm())

    shared = {key: each for key, each in numbers(second).items() if key in numbers(first)}
    assert shared == numbers(first)


def test_a_pair_shares_its_data_order_and_its_initialisation(study: Any, arm: Any, toy: Any) -> None:
    toy.SEEN.clear()
    study.train(arm())
    first = list(toy.SEEN)
    toy.SEEN.clear()
    study.train(arm(learning_rate=0.5))

    assert first == toy.SEEN
    starts = [study.train(arm(learning_rate=rate, budget="1 samples", batch_size=1)).load() for rate in (1e-30, 2e-30)]
    for one, two in zip(starts[0].parameters(), starts[1].parameters(), strict=True):
        assert torch.equal(one, two)


# ------------------------------------------------------------------------------------------- 5: new data stays new


@pytest.mark.parametrize("mode", ["recipe-test", "prepare-dev", "build-dev", "build-test", "losses-dev", "losses-test"])
def test_a_model_that_opens_a_closed_split_is_stopped(study: Any, arm: Any, mode: str) -> None:
    split = mode.split("-")[1]
    hypothesis = Hypothesis("cheating helps", control=arm(), treatment=arm(model={"mode": mode}), max_seeds=3)

    with pytest.raises(SplitClosed, match=f"split '{split}' of Blobs was opened while only train may be seen"):
        study.run(hypothesis)

    assert study.hypotheses() == []


def test_test_is_opened_once_for_a_claim_that_dev_supports(study: Any, claim: Any) -> None:
    verdict = study.run(claim())
    study.run(claim())

    with study.reading() as ledger:
        (opening,) = ledger.openings()
        trials = registered(ledger, verdict.hypothesis).trials()
        assert opening["keys"] == [trial.key for trial in trials]
    assert (opening["hypothesis"], opening["split"], opening["purpose"]) == (verdict.hypothesis, "test", "confirm")
    assert verdict.record["new_data"] == "opened"
    assert verdict.outcome == "supported"


def test_test_stays_sealed_for_a_claim_that_dev_refutes(study: Any, claim: Any) -> None:
    arms = claim().tasks["Blobs"]

    verdict = study.run(claim(control=arms.treatment, treatment=arms.control))

    with study.reading() as ledger:
        assert ledger.openings() == []
        assert {row["kind"] for row in ledger.trials()} == {"train"}
    assert (verdict.outcome, verdict.record["new_data"]) == ("refuted", "closed")


def test_the_opening_is_on_the_record_before_anything_is_read(tmp_path: Path, claim: Any, meddling: Any) -> None:
    def interrupt(result: Any) -> Any:
        if result.job.kind == "score":
            raise KeyboardInterrupt
        return result

    study = Study(tmp_path, executor=meddling(interrupt))
    with pytest.raises(KeyboardInterrupt):
        study.run(claim())

    with study.reading() as ledger:
        assert len(ledger.openings()) == 1
        assert ledger.verdict(claim().id) is None


# --------------------------------------------------------------------------------------- 6: unknown is never zero


def test_a_diverged_trial_counts_as_the_worst_in_its_pair_and_is_named(study: Any, claim: Any) -> None:
    treatment = claim().tasks["Blobs"].treatment

    verdict = study.run(claim(treatment=treatment.but(model=treatment.model.but(mode="nan"))))

    task = verdict.record["tasks"]["Blobs"]
    assert (task["pairs"], task["treatment"]) == (3, 0.0)
    assert task["notes"][0].startswith("Seed 0, treatment: a loss or weight was not finite after 30 of 120 units")
    assert len(task["notes"]) == 3
    assert verdict.outcome == "inconclusive"  # the same worst value in every pair says nothing of chance
    assert "do not vary" in task["reasons"][0]


def test_a_metric_that_is_undefined_counts_as_the_worst_and_is_named(study: Any, arm: Any) -> None:
    hypothesis = Hypothesis(
        "silence calibrates", control=arm(), treatment=arm(model={"silent": True}), metric="ece", max_seeds=3
    )

    verdict = study.run(hypothesis)

    task = verdict.record["tasks"]["Blobs"]
    assert task["treatment"] == 1.0
    assert task["notes"][0] == ("Seed 0, treatment: the model gives no probabilities; it counts as the worst value, 1.")
    assert verdict.outcome == "refuted"


def test_no_number_of_a_ledger_is_null_or_not_a_number(study: Any, claim: Any, arm: Any) -> None:
    treatment = claim().tasks["Blobs"].treatment
    study.run(claim(treatment=treatment.but(model=treatment.model.but(silent=True))))
    study.run(claim("diverging helps", treatment=treatment.but(model=treatment.model.but(mode="nan"))))
    study.train(arm(model={"mode": "nan"}), test=True)

    def walk(value: Any, path: str) -> list[str]:
        if isinstance(value, dict):
            return [bad for name, each in value.items() for bad in walk(each, f"{path}/{name}")]
        if isinstance(value, list):
            return [bad for at, each in enumerate(value) for bad in walk(each, f"{path}/{at}")]
        return [path] if value is None or value != value else []

    with study.reading() as ledger:
        rows = ledger.trials()
        found = {}
        for row in rows:
            result = row["result"]
            split = "test" if row["kind"] == "score" else "dev"
            scores = ledger.scores([row["key"]], split).get(row["key"], {})
            found[row["key"]] = [scores, ledger.units(row["key"], split) or {}, result.get("curve", [])]
        for row in ledger.hypotheses():
            verdict = json.loads(ledger.verdict(row["id"]) or "{}")
            for task in verdict["tasks"].values():
                if task["new_data"] is None:  # a split that was not opened, and not a number
                    del task["new_data"]
            found[row["id"]] = [verdict]
        observed = [each["record"] for each in ledger.observations()]
    assert walk([found, observed], "") == []
    assert len(found) > 10
    file = study.folder / "ledger.sqlite"
    with sqlite3.connect(file) as connection:
        texts = [str(row) for row in connection.execute("SELECT result, plan FROM trials")]
    connection.close()
    assert not [text for text in texts if "NaN" in text or "Infinity" in text]


def test_a_trial_that_breaks_makes_the_claim_invalid_and_says_why(tmp_path: Path, claim: Any, meddling: Any) -> None:
    from novum.executors import Failure

    def spoil(result: Any) -> Any:
        import dataclasses

        if result.job.kind != "train":
            return result
        return dataclasses.replace(result, value=None, error=Failure("ValueError", "it broke", ""))

    study = Study(tmp_path, executor=meddling(spoil))

    verdict = study.run(claim())

    assert verdict.outcome == "invalid"
    assert verdict.tasks["Blobs"].reasons == ("The trial of the control at seed 0 broke: ValueError: it broke",)
    assert isinstance(verdict.effect, novum.Undefined)
    assert study.verdict(verdict.hypothesis, recompute=True) == verdict


# ----------------------------------------------------------------------------------- 8: deviations are on the record


def test_a_retry_stands_in_the_trials_row_and_in_the_ledgers_events(
    tmp_path: Path, claim: Any, meddling: Any, lost: Any
) -> None:
    seen: list[str] = []

    def lose(result: Any) -> Any:
        seen.append(result.job.kind)
        return lost(result) if seen.count("train") == 1 and result.job.kind == "train" else result

    study = Study(tmp_path, executor=meddling(lose))
    study.run(claim())

    assert sorted(row["attempts"] for row in study.rows()) == [1, 1, 1, 1, 1, 2]
    with study.reading() as ledger:
        (event,) = ledger.events(kind="released")
    assert event["payload"]["reason"] == "the process was ended by SIGKILL"


def test_code_that_changed_in_between_stops_the_study_and_can_be_put_back(
    tmp_path: Path, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Study(tmp_path / "whole", executor="inline").run(claim())
    study = Study(tmp_path / "edited", executor="inline", listener=Waiting(stop))
    with pytest.raises(KeyboardInterrupt):
        study.run(claim())

    with monkeypatch.context() as patch:
        patch.setattr("novum.runner.jobs.differs", lambda plan: ["the runner (1 → 2)"])
        with pytest.raises(StudyError, match=r"this has changed\. control on Blobs: the runner \(1 → 2\); treatment"):
            Study(tmp_path / "edited", executor="inline").run(claim())

    verdict = Study(tmp_path / "edited", executor="inline").run(claim())
    assert without_cost(verdict.text) == without_cost(expected.text)
