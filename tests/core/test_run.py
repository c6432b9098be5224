from __future__ import annotations

import math
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import StudyError, Undefined
from novum.run import curve_points


def test_a_run_holds_metrics_tables_and_one_point_of_its_curve_an_epoch(study: Any, arm: Any) -> None:
    run = study.train(arm(budget="3 epochs"))

    assert [point["units"] for point in run.curve] == [40, 80, 120]
    assert run.curve[-1]["metrics"] == run.metrics
    assert set(run.curve[0]["losses"]) == {"loss"}
    assert next(iter(run.metrics)) == "accuracy"
    assert set(run.tables["classes"]) == {"left", "right"}
    assert run.facts["units"] == 120
    assert (run.diverged, run.test, run.seed) == (None, None, 0)


@pytest.mark.parametrize(
    ("budget", "points"),
    [("3 epochs", 3), ("0.5 epochs", 1), ("2.5 epochs", 3), ("500 epochs", 50), ("1000 samples", 10), ("64", 10)],
)
def test_a_curve_has_a_point_an_epoch_or_ten_and_at_most_fifty(budget: str, points: int) -> None:
    assert curve_points({"arm": {"recipe": {"budget": budget}}}) == points


def test_training_the_same_again_reads_it_back(study: Any, arm: Any, toy: Any) -> None:
    first = study.train(arm())
    toy.SEEN.clear()

    again = study.train(arm())

    assert toy.SEEN == []
    assert again == first


def test_other_seeds_give_other_numbers_and_each_its_own_again(study: Any, arm: Any) -> None:
    first, second = study.train_seeds(arm(), seeds=(0, 5))

    assert (first.seed, second.seed) == (0, 5)
    assert first.curve[-1]["losses"] != second.curve[-1]["losses"]
    assert study.train(arm(), seed=5) == second


def test_a_network_is_loaded_in_evaluation_mode_and_answers_as_it_was_scored(study: Any, arm: Any, toy: Any) -> None:
    run = study.train(arm())
    x, y = toy.Blobs(toy.Blobs.Config()).data("dev")

    net, answer = run.load(), run.predict(x)

    assert not net.training
    assert float((answer.value.numpy() == y).mean()) == pytest.approx(run.metrics["accuracy"])
    assert torch.allclose(answer.probabilities.sum(1), torch.ones(len(x)))
    assert run.classes() == ("left", "right")


def test_predicting_uses_the_preparation_that_was_fitted_in_training(study: Any, arm: Any) -> None:
    run = study.train(arm())
    x = np.ones((2, 4), dtype="float32")
    _, net, preparation = run._restored()

    expected = net(torch.as_tensor(x - preparation.mean, dtype=torch.float32)).softmax(-1)

    assert torch.allclose(run.predict(x).probabilities, expected)
    assert not np.allclose(preparation.mean, 0)


def test_scoring_on_test_is_counted_as_an_opening(study: Any, arm: Any) -> None:
    runs = study.train_seeds(arm(), seeds=(0, 1), test=True)
    study.train_seeds(arm(), seeds=(0, 1), test=True)

    with study.reading() as ledger:
        (opening,) = ledger.openings()
    assert (opening["split"], opening["hypothesis"]) == ("test", None)
    assert opening["keys"] == [run.key for run in runs]
    assert all(set(run.test["metrics"]) == set(run.metrics) for run in runs)
    assert runs[0].test["metrics"] != dict(runs[0].metrics)
    assert set(runs[0].test["tables"]["classes"]["left"]) == {"precision", "recall", "f1", "support"}


def test_not_asking_for_test_leaves_it_closed(study: Any, arm: Any) -> None:
    study.train(arm())

    with study.reading() as ledger:
        assert ledger.openings() == []
        assert [row["kind"] for row in ledger.trials()] == ["train"]


def test_a_run_that_diverged_says_so(study: Any, arm: Any, toy: Any) -> None:
    toy.SEEN.clear()

    run = study.train(arm(model={"mode": "nan"}))

    assert "not finite" in run.diverged
    assert run.metrics == {}


def test_a_run_that_broke_is_an_error_with_its_reason(study: Any, arm: Any) -> None:
    with pytest.raises(StudyError, match=r"the trial [0-9a-f]{12} broke: ValueError: this model is broken"):
        study.train(arm(model={"mode": "raise"}))


def test_a_run_whose_parent_broke_names_the_parents_reason(study: Any, arm: Any) -> None:
    with pytest.raises(StudyError, match="ValueError: this model is broken"):
        study.train(arm(start_from=arm(model={"mode": "raise"})))


def test_a_run_whose_score_on_test_broke_is_an_error(study: Any, toy: Any) -> None:
    class NoTest(toy.Blobs):  # type: ignore[misc]
        def source(self, split: Any, seed: Any, recipe: Any) -> Any:
            if split == "test":
                raise OSError("the test set is gone")
            return super().source(split, seed, recipe)

    with pytest.raises(StudyError, match="OSError: the test set is gone"):
        study.train(novum.arm(novum.task(NoTest), novum.model(toy.Linear)), test=True)


def test_a_number_that_is_undefined_says_why(study: Any, arm: Any) -> None:
    run = study.train(arm(model={"silent": True}))

    assert isinstance(run.metrics["ece"], Undefined)
    assert "probabilities" in run.metrics["ece"].because
    assert run.predict(np.zeros((1, 4), "float32")).probabilities is None


def test_a_run_shows_itself_in_a_notebook_and_as_text(study: Any, arm: Any) -> None:
    run = study.train(arm(), test=True)

    assert "<th style='text-align:left'>accuracy</th>" in run._repr_html_()
    lines = run.report().splitlines()
    assert lines[0] == "test, seed 0, 80 units"
    assert [line.split()[0] for line in lines if line.startswith(("left", "right"))] == ["left", "right"]


def test_rows_are_flat_and_a_frame_holds_the_same(study: Any, arm: Any) -> None:
    study.train(arm(model={"silent": True}), test=True)
    study.train(arm())

    rows, frame = study.rows(), study.trials()

    assert [row["state"] for row in rows] == ["done", "done"]
    assert rows[0]["block"] == "explore"
    assert rows[0]["dev.ece"].startswith("undefined, because")
    assert "test.accuracy" in rows[0]
    assert "test.accuracy" not in rows[1]
    assert list(frame["trial"]) == [row["trial"] for row in rows]
    assert set(frame.columns) == set(rows[0]) | set(rows[1])
    assert math.isnan(frame["test.accuracy"][1])
