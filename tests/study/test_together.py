"""A claim whose arms train many seeds as one: from the probe in the plan to the verdict and the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger import Ledger


@pytest.fixture
def claim(toy: Any) -> Callable[..., novum.Hypothesis]:
    """Half the noise on the labels helps a small network; `recipe` is both sides'."""

    def make(replicates: str = "joint", seeds: int = 8, width: int = 16, **recipe: Any) -> novum.Hypothesis:
        task = novum.task(toy.Blobs, size=64)
        values = {"budget": "12 epochs", "batch_size": 16, "replicates": replicates, **recipe}
        control = novum.arm(task, novum.model("mlp", width=16, layers=1), learning_rate=1e-5, **values)
        treatment = novum.arm(task, novum.model("mlp", width=width, layers=1), learning_rate=1e-2, **values)
        return novum.Hypothesis(
            "a higher rate helps", control=control, treatment=treatment, minimum_effect=0.02, max_seeds=seeds
        )

    return make


def trained(folder: Path) -> list[dict[str, Any]]:
    with Ledger.open(folder, create=False, read_only=True) as ledger:
        return [row for row in ledger.trials() if row["kind"] == "train"]


def plan_of(folder: Path, verdict: Any) -> dict[str, Any]:
    with Ledger.open(folder, create=False, read_only=True) as ledger:
        return dict(ledger.experiment(verdict.hypothesis)["plan"])


def test_a_claim_is_decided_at_the_end_of_a_block_and_says_how_it_trained(
    tmp_path: Path, claim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with novum.Study(tmp_path / "study", workers=2) as study:
        verdict = study.run(claim())
        report = study.report(verdict.hypothesis).read_text()

    task = plan_of(study.folder, verdict)["tasks"]["Blobs"]
    assert (verdict.outcome, task["test"]["looks"]) == ("supported", [4, 8])
    assert task["blocks"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert {task[side]["how"]["mode"] for side in ("control", "treatment")} == {"joint"}
    assert set(task["together"]["control"]) == {"apart", "block", "seed"}
    rows = [row for row in trained(study.folder) if row["plan"]["seed"]["index"] < 4]  # others may have begun meanwhile
    assert [row["plan"]["seed"]["indices"] for row in rows] == [[0, 1, 2, 3]] * 8
    assert [row["result"]["together"] for row in rows] == [4] * 8
    assert len({row["result"]["weights"] for row in rows}) == 8
    assert "seeds are trained together, 4 seeds in one process" in " ".join(capsys.readouterr().err.split())
    assert "together, 4 seeds in one process, one step for all" in report


def test_the_same_claim_trained_apart_has_other_keys_and_the_same_scores(tmp_path: Path, claim: Any) -> None:
    with novum.Study(tmp_path / "joint", executor="inline") as study:
        together = study.run(claim("joint"))
        ours = {(row["side"], row["seed"]): row for row in study.rows()}
    with novum.Study(tmp_path / "apart", executor="inline") as study:
        apart = study.run(claim("separate"))
        theirs = {(row["side"], row["seed"]): row for row in study.rows()}

    assert together.outcome == apart.outcome == "supported"
    assert plan_of(study.folder, apart)["tasks"]["Blobs"]["blocks"] is None
    for place in [(side, seed) for side in ("control", "treatment") for seed in range(3)]:
        assert ours[place]["trial"] != theirs[place]["trial"]
        assert ours[place]["dev.accuracy"] == pytest.approx(theirs[place]["dev.accuracy"], abs=1 / 64)


def test_a_probe_that_was_asked_is_not_asked_again(tmp_path: Path, claim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from novum.runner import suits

    asked = []
    answers = {"apart": 1.0, "block": 1.0, "seed": 0.1}
    monkeypatch.setattr(suits, "probe", lambda plan, parts: asked.append(plan["arm"]["recipe"]) or dict(answers))
    with novum.Study(tmp_path / "study", executor="inline") as study:
        study.run(claim("auto"))
        once = len(asked)

        study.run(claim("auto"), new=True)

    assert (once, len(asked)) == (1, 1), "the arms differ in their rate alone, which no probe looks at"


def test_an_exploratory_run_of_the_same_arm_leaves_the_choice_to_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.runner import suits

    monkeypatch.setattr(suits, "probe", lambda plan, parts: {"apart": 1.0, "block": 1.0, "seed": 0.1})
    digits = novum.task("image-classification", data="digits")
    base = novum.arm(digits, novum.model("mlp", width=8, layers=1), budget="64 samples", replicates="auto")
    both = novum.Hypothesis(
        "a rate helps", control=base, treatment=base.but(learning_rate=0.1), minimum_effect=0.1, max_seeds=8
    )
    with novum.Study(tmp_path / "study", executor="inline") as study:
        run = study.train(base)
        verdict = study.run(both)

    assert run.plan["how"]["mode"] == "separate"
    assert plan_of(study.folder, verdict)["tasks"]["digits"]["control"]["how"]["mode"] == "joint"


def test_a_pair_of_which_one_side_is_better_apart_is_trained_apart(
    tmp_path: Path, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.runner import suits

    def probe(plan: Any, parts: Any) -> dict[str, Any]:
        return {"apart": 1.0, "block": 1.0, "seed": 0.1 if parts.model.config.width == 16 else 2.0}

    monkeypatch.setattr(suits, "probe", probe)
    with novum.Study(tmp_path / "study", executor="inline") as study:
        verdict = study.run(claim("auto", width=32))
        report = study.report(verdict.hypothesis).read_text()

    task = plan_of(study.folder, verdict)["tasks"]["Blobs"]
    assert (task["blocks"], {task[side]["how"]["mode"] for side in ("control", "treatment")}) == (None, {"separate"})
    assert all(row["plan"]["seed"]["indices"] is None for row in trained(study.folder))
    assert "treatment: a seed would take 2.1 times as long with others" in report


def test_lost_weights_of_a_block_are_trained_again_to_the_same_bytes(tmp_path: Path, claim: Any) -> None:
    folder = tmp_path / "study"
    with novum.Study(folder, executor="inline") as study:
        hypothesis = claim()
        object.__setattr__(hypothesis, "keep", "all")
        verdict = study.run(hypothesis)
    before = {row["key"]: row["result"]["weights"] for row in trained(folder)}
    assert verdict.outcome == "supported"
    chosen = next(iter(before))
    with Ledger.open(folder, create=False) as ledger:
        row = ledger.trial(chosen)
    assert row is not None
    shutil.rmtree(folder / "weights" / before[chosen])
    from novum import pieces
    from novum.experiment import Trial

    seed = row["plan"]["seed"]
    with novum.Study(folder, executor="inline")._working() as lab:
        trial = Trial.of(row["plan"]["task"], row["plan"]["side"], seed["index"], row["plan"]["plan"], seed)
        found = pieces.weights(lab, trial)

    assert trial.key == chosen
    assert found == before[chosen]
    assert (folder / "weights" / found).is_dir()


def test_arms_that_start_from_others_are_trained_together_with_their_starts(tmp_path: Path, claim: Any) -> None:
    hypothesis = claim()
    (task,) = hypothesis.tasks.values()
    started = task.treatment.but(start_from=task.treatment.but(budget="2 epochs"))
    both = novum.Hypothesis("a start helps", control=task.control, treatment=started, minimum_effect=0.02, max_seeds=8)
    with novum.Study(tmp_path / "study", workers=2) as study:
        verdict = study.run(both)

    assert verdict.outcome == "supported"
    rows = [row for row in trained(study.folder) if row["plan"]["seed"]["index"] < 4]
    assert {row["plan"]["side"]: row["plan"]["seed"]["indices"] for row in rows} == {
        "control": [0, 1, 2, 3], "treatment": [0, 1, 2, 3], "treatment's start": [0, 1, 2, 3],
    }  # fmt: skip
    loaded = [row["result"]["start"]["loaded"] for row in rows if row["plan"]["side"] == "treatment"]
    assert loaded == [4] * 4


def test_a_claim_without_a_maximum_looks_at_every_pair_and_trains_apart(tmp_path: Path, claim: Any) -> None:
    hypothesis = claim()
    (task,) = hypothesis.tasks.values()
    open_ = novum.Hypothesis(
        "a higher rate helps", control=task.control, treatment=task.treatment, minimum_effect=0.02, max_seeds=None
    )
    with novum.Study(tmp_path / "study", executor="inline") as study:
        study.run(open_, pairs=3)

    assert all(row["plan"]["seed"]["indices"] is None for row in trained(study.folder))


def test_a_noise_floor_is_measured_in_blocks_as_well(tmp_path: Path, claim: Any) -> None:
    with novum.Study(tmp_path / "study", executor="inline") as study:
        preview = study.plan(claim(), noise=3)

    assert preview.record["tasks"]["Blobs"]["power"]["pairs"] == 3
    assert {tuple(row["plan"]["seed"]["indices"]) for row in trained(study.folder)} == {(0, 1, 2)}
