"""The evaluator `classification`."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from novum import (
    Actions,
    Batch,
    Classes,
    DataError,
    Examples,
    MismatchError,
    Prediction,
    Seed,
    Signature,
    Source,
    Vector,
)
from novum.classification import Classification, report
from novum.data import Undefined

NAMES = ("ant", "bee", "cat", "dog", "elk")
SIGNATURE = Signature(Vector((1,)), Classes(NAMES))


@dataclass
class Answers:
    """An act that answers the inputs' own first column as the class position."""

    probabilities: torch.Tensor | None = None

    def __call__(self, inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        value = torch.as_tensor(inputs[:, 0]).long()
        rows = None if self.probabilities is None else self.probabilities[torch.tensor([int(each) for each in ids])]
        return Prediction(value, rows)


class Nothing(Source):
    @property
    def size(self) -> int:
        return 0

    def next(self, act: Any) -> Batch:
        raise AssertionError("scoring never trains")

    def each(self, act: Any) -> Iterator[Batch]:
        return iter(())


def examples(targets: Sequence[int] | np.ndarray | None, predictions: Sequence[int] | np.ndarray) -> Examples:
    ids = [str(row) for row in range(len(predictions))]
    inputs = np.asarray(predictions, dtype=np.float32)[:, None]
    goal = None if targets is None else np.asarray(targets, dtype=np.int64)
    return Examples(inputs, goal, ids, seed=Seed(0), batch_size=4)


def evaluator() -> Classification:
    return Classification(Classification.Config())


@pytest.mark.parametrize("draw", range(8))
def test_precision_recall_and_f1_equal_scikit_learns_also_for_classes_that_are_never_predicted_or_absent(
    draw: int,
) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    random = np.random.default_rng(draw)
    targets = random.integers(0, 4 if draw % 2 else 5, size=300)
    predictions = random.choice([0, 1, 3, 4] if draw % 3 else [0, 1], size=300)

    scores = evaluator().score(Answers(), examples(targets, predictions), SIGNATURE)

    assert scores.metrics["accuracy"] == accuracy_score(targets, predictions)
    for kind in ("macro", "weighted"):
        expected = precision_recall_fscore_support(targets, predictions, average=kind, zero_division=0)
        for part, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert scores.metrics[f"{part}_{kind}"] == pytest.approx(value, abs=1e-12)
    each = precision_recall_fscore_support(targets, predictions, labels=range(5), zero_division=0)
    for column, values in zip(("precision", "recall", "f1", "support"), each, strict=True):
        for name, value in zip(NAMES, values, strict=True):
            own = scores.tables["classes"][name][column]
            assert value == 0 if isinstance(own, Undefined) else own == pytest.approx(value, abs=1e-12)


def test_what_a_class_cannot_tell_is_undefined_and_not_zero() -> None:
    _, tables = report(["ant", "ant", "bee"], ["ant", "cat", "ant"], [None] * 3, NAMES)

    assert tables["classes"]["bee"]["precision"] == Undefined("no example was predicted as bee")
    assert tables["classes"]["bee"]["recall"] == 0.0
    assert tables["classes"]["bee"]["f1"] == 0.0
    assert tables["classes"]["cat"]["recall"] == Undefined("no example is of class cat")
    assert tables["classes"]["cat"]["precision"] == 0.0
    assert isinstance(tables["classes"]["dog"]["f1"], Undefined)
    assert tables["classes"]["ant"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2.0}


def test_calibration_error_equals_a_case_computed_by_hand() -> None:
    # Bins of 1/15: 0.98 and 0.94 share the last (0.9333, 1]: |1 - 1.92|; 0.92 stands alone: |0 - 0.92|;
    # 0.5 and 0.52 share (0.4667, 0.5333]: |2 - 1.02|. Together (0.92 + 0.92 + 0.98) / 5.
    targets = ["ant"] * 5
    predictions = ["ant", "bee", "bee", "ant", "ant"]

    metrics, _ = report(targets, predictions, [0.98, 0.94, 0.92, 0.5, 0.52], NAMES)

    assert metrics["ece"] == pytest.approx(2.82 / 5, abs=1e-12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it() -> None:
    alone, _ = report(["ant", "ant"], ["ant", "bee"], [0.2, 0.21], NAMES)
    together, _ = report(["ant", "ant"], ["ant", "bee"], [0.2, 0.19], NAMES)

    assert alone["ece"] == pytest.approx((0.8 + 0.21) / 2)
    assert together["ece"] == pytest.approx((1 - 0.39) / 2)


def test_a_perfect_and_certain_prediction_is_best_on_every_metric() -> None:
    positions = [0, 1, 2, 3, 4, 0, 2]

    scores = evaluator().score(Answers(torch.eye(5)[positions]), examples(positions, positions), SIGNATURE)

    assert dict(scores.metrics) == {metric.name: metric.best for metric in Classification.metrics}
    assert scores.units["confidence"] == [1.0] * 7


def test_metrics_have_their_declared_order_and_names() -> None:
    metrics, _ = report(["ant"], ["ant"], [1.0], NAMES)

    assert tuple(metrics) == tuple(metric.name for metric in Classification.metrics)
    assert next(iter(metrics)) == "accuracy"


def test_an_empty_source_leaves_every_metric_undefined() -> None:
    scores = evaluator().score(Answers(), Nothing(), SIGNATURE)

    assert {metric.name for metric in Classification.metrics} == set(scores.metrics)
    assert all(value == Undefined("the split has no examples") for value in scores.metrics.values())
    assert scores.units["id"] == scores.units["accuracy"] == []


def test_stored_rows_give_the_same_numbers_again() -> None:
    random = np.random.default_rng(3)
    targets = random.integers(0, 5, size=700)  # several scoring batches
    probabilities = torch.softmax(torch.as_tensor(random.normal(size=(700, 5))), dim=1)
    scores = evaluator().score(
        Answers(probabilities), examples(targets, probabilities.argmax(dim=1).numpy()), SIGNATURE
    )
    units = scores.units

    again = report(units["target"], units["prediction"], units["confidence"], NAMES)

    assert again == (scores.metrics, scores.tables)
    assert math.fsum(units["accuracy"]) / 700 == scores.metrics["accuracy"]
    assert units["id"] == [str(row) for row in range(700)]
    assert all(value == float(f"{value:.6g}") for value in units["confidence"])
    exact = probabilities.max(dim=1).values.tolist()
    assert units["confidence"] == pytest.approx(exact, rel=1e-5)


def test_the_accuracy_of_each_example_is_1_or_0_and_their_mean_is_the_metric() -> None:
    scores = evaluator().score(Answers(), examples([0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 4, 4]), SIGNATURE)

    column = scores.units["accuracy"]

    assert column == [1, 1, 1, 0, 1, 0]
    assert {type(each) for each in column} == {int}
    assert sum(column) / len(column) == scores.metrics["accuracy"]


def test_a_column_with_the_name_of_a_metric_is_there_for_the_mean_over_examples_alone() -> None:
    scores = evaluator().score(Answers(), examples([0, 1], [0, 2]), SIGNATURE)

    assert set(scores.units) & set(scores.metrics) == {"accuracy"}
    assert {metric.kind for metric in Classification.metrics} == {"score"}


def test_the_confidence_is_that_of_the_predicted_class_not_the_largest() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.7, 0.0, 0.0]])

    scores = evaluator().score(Answers(probabilities), examples([1], [1]), SIGNATURE)

    assert scores.units["confidence"] == pytest.approx([0.2])


def test_without_probabilities_the_calibration_error_is_undefined() -> None:
    scores = evaluator().score(Answers(), examples([0, 1], [0, 2]), SIGNATURE)

    assert scores.metrics["ece"] == Undefined("the model gives no probabilities")
    assert scores.units["confidence"] == ["", ""]
    assert scores.metrics["accuracy"] == 0.5


def test_a_probability_that_is_not_a_number_is_none_and_is_counted() -> None:
    probabilities = torch.full((2, 5), 0.2)
    probabilities[1] = float("nan")

    scores = evaluator().score(Answers(probabilities), examples([0, 1], [0, 1]), SIGNATURE)

    assert scores.units["confidence"] == [0.2, ""]
    assert scores.metrics["ece"] == Undefined("the model gives no probability for 1 of 2 examples")


def test_an_answer_outside_the_classes_is_refused() -> None:
    with pytest.raises(MismatchError, match="position 7; this task has the positions 0 to 4"):
        evaluator().score(Answers(), examples([0], [7]), SIGNATURE)


def test_too_few_answers_are_refused() -> None:
    def one(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        return Prediction(torch.tensor([0]))

    with pytest.raises(MismatchError, match="answered 1 of 2 examples"):
        evaluator().score(one, examples([0, 1], [0, 1]), SIGNATURE)


def test_a_split_without_targets_is_refused() -> None:
    with pytest.raises(DataError, match="no targets"):
        evaluator().score(Answers(), examples(None, [0]), SIGNATURE)


def test_other_outputs_than_classes_are_refused() -> None:
    with pytest.raises(MismatchError, match="'actions'"):
        evaluator().score(Answers(), examples([0], [0]), Signature(Vector((1,)), Actions(2)))


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [(["ant"], [], "1 targets, 0 predictions and 1 confidences"), (["ant"], ["yak"], "'yak' is none of the task's 5")],
)
def test_rows_that_do_not_fit_are_refused(targets: list[str], predictions: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        report(targets, predictions, [0.5], NAMES)


def test_importing_the_module_loads_no_numerical_library() -> None:
    code = "import sys, novum.classification; print({'numpy', 'torch', 'sklearn'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
