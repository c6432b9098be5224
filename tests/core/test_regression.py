from __future__ import annotations

from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import DataError, Examples, MismatchError, Numbers, Prediction, Seed, Signature, Undefined, Vector
from novum.regression import Regression
from novum.testing import EvaluatorContract
from sklearn.metrics import mean_absolute_error, r2_score

TARGETS = np.array([[1.0, -4.0], [2.0, 8.0], [4.0, 0.0], [9.0, 2.0]])
ANSWERS = np.array([[1.5, -3.0], [2.0, 7.0], [3.0, 1.0], [8.0, -5.0]])


def scored(targets: Any = TARGETS, answers: Any = ANSWERS, **options: Any) -> novum.Scores:
    names = ("metres", "grams")[: np.shape(answers)[1]]
    by_id = {f"row-{at}": torch.as_tensor(np.array(row)) for at, row in enumerate(answers)}
    rows = Examples(np.zeros((len(answers), 1)), targets, tuple(by_id), seed=Seed(0), batch_size=1)

    def act(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
        return Prediction(torch.stack([by_id[each] for each in ids]))

    signature = Signature(Vector((1,)), Numbers(names))
    return Regression(Regression.Config(**options)).score(act, rows, signature)


def test_the_share_explained_is_that_of_scikit_learn() -> None:
    scores = scored()

    assert scores.metrics["r2"] == pytest.approx(r2_score(TARGETS, ANSWERS), rel=1e-12)


def test_its_rows_are_one_per_example_and_their_mean_is_the_metric() -> None:
    scores = scored()

    assert list(scores.units["id"]) == ["row-0", "row-1", "row-2", "row-3"]
    assert np.mean(scores.units["r2"]) == pytest.approx(scores.metrics["r2"], rel=1e-12)
    assert list(scores.units["target: grams"]) == TARGETS[:, 1].tolist()
    assert list(scores.units["prediction: metres"]) == ANSWERS[:, 0].tolist()


def test_the_table_tells_the_errors_of_each_number_in_its_own_unit() -> None:
    table = scored().tables["numbers"]

    assert set(table) == {"metres", "grams"}
    assert table["grams"]["mae"] == pytest.approx(mean_absolute_error(TARGETS[:, 1], ANSWERS[:, 1]))
    assert table["grams"]["rmse"] == pytest.approx(np.sqrt(np.mean((TARGETS - ANSWERS)[:, 1] ** 2)))
    assert table["metres"]["deviation"] == pytest.approx(TARGETS[:, 0].std())
    assert table["metres"]["r2"] == pytest.approx(r2_score(TARGETS[:, 0], ANSWERS[:, 0]))


@pytest.mark.parametrize(("answers", "share"), [(TARGETS, 1.0), (np.tile(TARGETS.mean(0), (4, 1)), 0.0)])
def test_perfect_answers_get_1_and_the_mean_gets_0(answers: np.ndarray, share: float) -> None:
    assert scored(answers=answers).metrics["r2"] == pytest.approx(share, abs=1e-12)


def test_a_single_target_may_come_flat() -> None:
    flat, column = scored(TARGETS[:, 0], ANSWERS[:, :1]), scored(TARGETS[:, :1], ANSWERS[:, :1])

    assert flat.metrics == column.metrics


@pytest.mark.parametrize(
    ("answers", "targets", "why"),
    [
        (ANSWERS, np.ones((4, 2)), "every target of 'metres' is the same"),
        (np.where(ANSWERS == 7.0, np.nan, ANSWERS), TARGETS, "an answer for 'grams' is not finite"),
        (np.where(ANSWERS == 7.0, np.inf, ANSWERS), TARGETS, "an answer for 'grams' is not finite"),
    ],
)
def test_what_cannot_be_measured_is_undefined_with_its_reason(answers: Any, targets: Any, why: str) -> None:
    scores = scored(targets, answers)

    assert scores.metrics["r2"] == Undefined(why)
    assert "r2" not in scores.units


def test_what_a_diverged_trial_counts_as_is_an_option() -> None:
    usual, lower = Regression(Regression.Config()), Regression(Regression.Config(worst=-50.0))

    assert [each.metrics[0].worst for each in (usual, lower)] == [-1.0, -50.0]


def test_answers_of_another_shape_are_refused_with_both_shapes() -> None:
    rows = Examples(np.zeros((4, 1)), TARGETS, list("abcd"), seed=Seed(0), batch_size=1)

    with pytest.raises(MismatchError, match=r"\(4,\) where \(4, 2\) is asked for"):
        Regression(Regression.Config()).score(
            lambda inputs, ids=(), explore=False: Prediction(torch.zeros(4)),
            rows,
            Signature(Vector((1,)), Numbers(("metres", "grams"))),
        )


def test_classes_and_splits_without_targets_are_refused() -> None:
    classes = Signature(Vector((1,)), novum.Classes(("a", "b")))
    rows = Examples(np.zeros((4, 1)), None, list("abcd"), seed=Seed(0), batch_size=1)
    evaluator = Regression(Regression.Config())

    with pytest.raises(MismatchError, match="choose another evaluator"):
        evaluator.score(lambda *_, **__: Prediction(torch.zeros(4, 1)), rows, classes)
    with pytest.raises(DataError, match="no targets"):
        evaluator.score(lambda *_, **__: Prediction(torch.zeros(4, 1)), rows, Signature(Vector((1,)), Numbers(("a",))))


class TestContract(EvaluatorContract):
    @pytest.fixture
    def plugin(self) -> str:
        return "regression"
