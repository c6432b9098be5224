from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import ConfigError, PluginError, Study, StudyError
from novum.executors import Failure


def test_creating_a_study_touches_nothing(tmp_path: Path) -> None:
    Study(tmp_path / "study", executor="inline")

    assert list(tmp_path.iterdir()) == []


def test_a_study_lives_in_the_folder_named_in_the_environment_or_in_novum_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOVUM_STUDY", raising=False)
    assert Study().folder == tmp_path / "novum-study"

    monkeypatch.setenv("NOVUM_STUDY", str(tmp_path / "other"))

    assert Study().folder == tmp_path / "other"
    assert Study("mine").folder == tmp_path / "mine"


def test_reading_a_study_that_is_not_there_is_an_error_and_makes_none(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")

    for read in (study.hypotheses, study.rows, study.next, lambda: study.verdict("h-1")):
        with pytest.raises(StudyError):
            read()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path: Path, arm: Any) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StudyError, match=r"cannot be written.*choose another with --study") as caught:
        Study(tmp_path / "file" / "study", executor="inline").train(arm())

    assert caught.value.exit_code == 2


def test_two_processes_cannot_work_in_one_study(study: Any, arm: Any) -> None:
    study.train(arm())
    code = (
        "import fcntl, sys\n"
        f"file = open({str(study.folder / '.lock')!r}, 'a+')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )

    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StudyError, match=r"another process .* is working in"):
            study.train(arm())
        rows = study.rows()
        other.communicate()

    assert len(rows) == 1
    assert study.train(arm()).metrics


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"task": novum.task("imagse")}, PluginError, "no task is called 'imagse'"),
        ({"schedule": "cosin"}, PluginError, "no schedule is called 'cosin'"),
        ({"optimizer": "sdg"}, PluginError, "no optimizer is called 'sdg'"),
        ({"evaluator": novum.evaluator("classification", bins=3)}, ConfigError, "unknown option 'bins'"),
    ],
)
def test_a_wrong_name_fails_before_anything_is_started_or_written(
    study: Any, arm: Any, change: dict[str, Any], error: type[Exception], told: str
) -> None:
    for wrong in (arm().but(**change), arm().but(start_from=arm().but(**change))):
        with pytest.raises(error, match=told):
            study.train(wrong)

    assert not study.folder.exists()


def test_an_unknown_tracker_or_executor_is_refused(tmp_path: Path, arm: Any) -> None:
    with pytest.raises(PluginError, match="no tracker is called 'wandb'"):
        Study(tmp_path, executor="inline", tracker="wandb").train(arm())
    with pytest.raises(PluginError, match="no executor is called 'inlin'; did you mean 'inline'"):
        Study(tmp_path, executor="inlin").train(arm())


def test_planning_a_claim_tells_its_size_and_registers_nothing(study: Any, claim: Any) -> None:
    told = study.plan(claim(max_seeds=7))

    assert told.line.startswith("At most 14 trials, about ")
    assert told.record["tasks"]["Blobs"]["looks"] == [3, 4, 5, 6, 7]
    assert told.record["tasks"]["Blobs"]["power"]["label"] == "unknown"
    assert "Power unknown on Blobs" in str(told)
    assert study.hypotheses() == []
    assert study.rows() == []


def test_the_noise_floor_is_measured_on_seeds_of_its_own_and_gives_the_power(study: Any, claim: Any) -> None:
    told = study.plan(claim(max_seeds=7), noise=3)

    task = told.record["tasks"]["Blobs"]
    assert task["noise"]["seeds"] == 3
    assert task["noise"]["items"]["count"] == 60
    assert {"mean", "sd"} == set(task["noise"]["again"])
    assert (task["power"]["source"], task["power"]["pairs"]) == ("plan --noise", 3)
    assert {row["block"] for row in study.rows()} == {"noise", "noise-again"}
    assert study.hypotheses() == []


def test_trials_of_the_noise_floor_are_no_evidence(study: Any, claim: Any) -> None:
    study.plan(claim(), noise=3)

    study.run(claim())

    used = [row for row in study.rows() if row["block"] == "0"]
    assert len(used) == 6
    assert study.verdict(study.hypotheses()[0]["id"]).tasks["Blobs"].record["power"]["source"] == "plan --noise"


def test_a_noise_floor_needs_three_seeds(study: Any, claim: Any) -> None:
    with pytest.raises(novum.ConfigError, match=r"noise: received 2; allowed: 0 \(not measured\), or seeds from 3 on"):
        study.plan(claim(), noise=2)


def test_a_claim_without_a_maximum_pauses_undecided_and_unrecorded_and_goes_on(study: Any, claim: Any) -> None:
    endless = claim(max_seeds=None, minimum_effect=0.6)

    first = study.run(endless, pairs=4)

    assert (first.ended, first.outcome, first.tasks["Blobs"].record["pairs"]) == (False, "inconclusive", 4)
    assert study.verdict(first.hypothesis, recompute=True).text == first.text
    with pytest.raises(StudyError, match="has no verdict yet"):
        study.verdict(first.hypothesis)
    assert study.run(endless, pairs=5).tasks["Blobs"].record["pairs"] == 5
    assert len(study.rows()) == 10


@pytest.mark.parametrize(("parts", "pairs"), [({}, 4), ({"max_seeds": None}, 2)])
def test_pausing_is_for_claims_without_a_maximum_from_three_pairs_on(
    study: Any, claim: Any, parts: dict[str, Any], pairs: int
) -> None:
    with pytest.raises(ConfigError, match=f"pairs: received {pairs}; it pauses a claim with max_seeds=None, from 3"):
        study.run(claim(**parts), pairs=pairs)


def test_a_start_that_breaks_makes_the_claim_invalid(tmp_path: Path, claim: Any, arm: Any, meddling: Any) -> None:
    def break_starts(result: Any) -> Any:
        recipe = result.job.payload.get("plan", {}).get("arm", {}).get("recipe", {})
        if result.job.kind != "train" or recipe.get("learning_rate") != 0.123:
            return result
        return replace(result, value=None, error=Failure("ValueError", "the start broke"), lost=False)

    seeing = claim().tasks["Blobs"].treatment
    started = seeing.but(start_from=seeing.but(learning_rate=0.123))
    with novum.Study(tmp_path / "study", executor=meddling(break_starts)) as study:
        verdict = study.run(claim(treatment=started, max_seeds=6))

    assert (verdict.outcome, verdict.ended) == ("invalid", True)
    assert "the start broke" in verdict.tasks["Blobs"].reasons[0]
    assert len(study.rows()) < 6


def test_a_bar_is_reached_or_not_by_the_treatment_alone(study: Any, claim: Any, arm: Any) -> None:
    sees = claim().tasks["Blobs"].treatment

    verdict = study.run(novum.Hypothesis("it reaches 0.7", control=0.7, treatment=sees, max_seeds=6))

    assert verdict.outcome == "supported"
    assert {row["side"] for row in study.rows()} == {"treatment"}
    assert verdict.tasks["Blobs"].record["control"] == 0.7


def test_running_a_decided_claim_again_returns_its_verdict_and_runs_nothing(study: Any, claim: Any, toy: Any) -> None:
    first = study.run(claim())
    toy.SEEN.clear()

    again = study.run(claim())

    assert again == first
    assert toy.SEEN == []
    assert len(study.hypotheses()) == 1


def test_registering_an_unchanged_claim_anew_makes_a_child_on_fresh_seeds(study: Any, claim: Any) -> None:
    first = study.run(claim())

    second = study.run(claim(), new=True)

    parent, child = study.hypotheses()
    assert (parent["id"], child["id"]) == (first.hypothesis, second.hypothesis)
    assert (child["parent"], child["revision"]) == (parent["id"], 1)
    assert {row["block"] for row in study.rows()} == {"0", "1"}


def test_a_verdict_is_found_by_the_beginning_of_its_id(study: Any, claim: Any) -> None:
    verdict = study.run(claim())

    assert study.verdict(verdict.hypothesis[:6]) == verdict
    with pytest.raises(StudyError, match=f"no hypothesis 'h-zzzz' .* registered: {verdict.hypothesis}"):
        study.verdict("h-zzzz")


def test_a_verdict_tells_outcome_effect_interval_cost_and_tasks(study: Any, claim: Any) -> None:
    verdict = study.run(claim())

    low, high = verdict.interval
    assert verdict.outcome == verdict.tasks["Blobs"].outcome == "supported"
    assert low < verdict.effect < high
    assert set(verdict.cost) == {"control", "treatment", "ratio"}
    assert verdict.tasks["Blobs"].reasons[0].startswith("The treatment is better by at least 0.01")
    assert str(verdict).startswith("supported: It holds on Blobs")
    assert verdict.outcome in verdict._repr_html_()


def test_after_a_verdict_the_study_says_what_it_would_test_next(study: Any, claim: Any) -> None:
    arms = claim().tasks["Blobs"]
    hypothesis = claim(control=arms.control.but(budget="2 epochs"), treatment=arms.treatment.but(budget="2 epochs"))
    study.run(hypothesis)

    proposed = study.next()

    assert proposed is not None
    assert proposed.parent == hypothesis.id
    assert proposed.tasks["Blobs"].control.recipe["budget"] == "4 epochs"


def test_observing_gives_facts_and_scale(study: Any, arm: Any) -> None:
    seen = study.observe(arm())

    assert seen["scale"] == {"metric": "accuracy", "chance": 0.5, "reference": 1.0}
    assert {"train.mean", "train.size", "dev.duplicates", "train-dev.duplicates"} <= {
        each["id"] for each in seen["facts"]
    }


def test_a_report_is_one_file_in_the_study(study: Any, claim: Any) -> None:
    verdict = study.run(claim())

    path = study.report(verdict.hypothesis)

    assert path.is_file()
    assert study.folder in path.parents


def test_debugging_raises_a_plugins_error_where_it_happens(tmp_path: Path, arm: Any) -> None:
    with (
        Study(tmp_path, executor="inline", debug=True) as study,
        pytest.raises(ValueError, match="this model is broken"),
    ):
        study.train(arm(model={"mode": "raise"}))


def test_a_class_without_a_file_runs_inline_and_says_so(tmp_path: Path, toy: Any) -> None:
    from novum.lab import Listener

    class Said(Listener):
        sentences: list[str] = []

        def say(self, sentence: str) -> None:
            self.sentences.append(sentence)

    class Here(toy.Blobs):  # type: ignore[misc]
        pass

    with Study(tmp_path, executor="local", listener=Said()) as study:
        run = study.train(novum.arm(novum.task(Here), novum.model(toy.Linear)))

    assert run.metrics
    assert any("running inline" in sentence for sentence in Said.sentences)
