"""The evaluator `classification`: how often, how evenly and how honestly a model names the right class."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from novum.data import Metric, Number, Scores, Undefined
from novum.errors import DataError, MismatchError
from novum.evaluator import Evaluator

if TYPE_CHECKING:
    from novum.data import Act, Prediction, Signature
    from novum.task import Source

BINS = 15
_PARTS = ("precision", "recall", "f1")
_AVERAGES = tuple(f"{part}_{kind}" for kind in ("macro", "weighted") for part in _PARTS)

Confidence = float | str | None
"""Probability of the predicted class, 0 to 1; "" (as stored) or None where the model gives none."""
Table = dict[str, dict[str, Number]]


class Classification(Evaluator):
    """Accuracy, precision, recall, F1 and calibration of one class per example.

    Columns of `Scores.units`, one row per example: "id"; "target" and "prediction", class names; "confidence",
    the probability of the predicted class rounded to 6 significant digits, "" where the model gives none;
    "accuracy", 1 where the prediction is the target, else 0. All metrics follow from target, prediction and
    confidence alone: see `report`.
    """

    metrics = (
        Metric("accuracy", "max", worst=0.0, low=0.0, high=1.0, per_unit=True),
        *(Metric(name, "max", worst=0.0, low=0.0, high=1.0) for name in _AVERAGES),
        Metric("ece", "min", worst=1.0, low=0.0, high=1.0),
    )
    outputs = ("classes",)

    def score(self, act: Act, source: Source, signature: Signature) -> Scores:
        """Raises MismatchError when the outputs are no classes or an answer does not fit them, and DataError
        when the split has no targets.
        """
        if signature.outputs.kind not in self.outputs:
            raise MismatchError(
                f"the evaluator 'classification' judges classes; this task asks for {signature.outputs.kind!r}: "
                "choose another evaluator."
            )
        names: tuple[str, ...] = signature.outputs.names
        ids: list[str] = []
        targets: list[str] = []
        predictions: list[str] = []
        confidences: list[Confidence] = []
        for batch in source.each(act):
            if batch.targets is None:
                raise DataError("a split to be scored as a classification has no targets; the task must give them.")
            answer = act(batch.inputs, batch.ids)
            chosen = _positions(answer, len(batch.ids), len(names))
            ids += batch.ids
            targets += [names[int(target)] for target in batch.targets]
            predictions += [names[position] for position in chosen]
            confidences += _confidences(answer, chosen)
        metrics, tables = report(targets, predictions, confidences, names)
        units: dict[str, Sequence[object]]
        units = {"id": ids, "target": targets, "prediction": predictions, "confidence": confidences}
        units["accuracy"] = [int(target == given) for target, given in zip(targets, predictions, strict=True)]
        return Scores(units=units, metrics=metrics, tables=tables)


def report(
    targets: Sequence[str], predictions: Sequence[str], confidences: Sequence[Confidence], names: Sequence[str]
) -> tuple[dict[str, Number], dict[str, Table]]:
    """All metrics, and the table "classes", from per-example rows: pure, so that stored rows can be scored again.

    targets, predictions: class names, one per example, all of them in `names`.
    confidences: probability of the predicted class, 0 to 1; "" or None where there is none.

    The table has one row per class in `names`: "precision", "recall", "f1" and "support" (its number of
    examples). A precision is undefined when its class was never predicted, a recall when the class has no
    example, F1 = 2·TP / (2·TP + FP + FN) when both.

    The macro average is the mean over classes that occur among targets or predictions, the weighted average is
    weighted by support. In both an undefined precision or recall of such a class counts as 0, so that they equal
    scikit-learn's `precision_recall_fscore_support(zero_division=0)`. Without examples every metric is undefined.

    "ece" is the expected calibration error over 15 equal-width bins ((m - 1)/15, m/15] (Guo et al. 2017, "On
    Calibration of Modern Neural Networks"): the mean over examples of |accuracy - mean confidence| of their bin.
    It is undefined when any example has no finite confidence.

    Raises DataError when lengths differ or a class is not in `names`.
    """
    if not len(targets) == len(predictions) == len(confidences):
        raise DataError(
            f"{len(targets)} targets, {len(predictions)} predictions and {len(confidences)} confidences: "
            "give one of each per example."
        )
    unknown = sorted((set(targets) | set(predictions)) - set(names))
    if unknown:
        raise DataError(f"the class {unknown[0]!r} is none of the task's {len(names)} classes: {', '.join(names)}.")
    hits = [target == prediction for target, prediction in zip(targets, predictions, strict=True)]
    right = Counter(target for target, hit in zip(targets, hits, strict=True) if hit)
    support, predicted = Counter(targets), Counter(predictions)
    classes: Table = {name: _row(name, right[name], predicted[name], support[name]) for name in names}
    metrics: dict[str, Number] = {}
    if not targets:
        metrics = {metric.name: Undefined("the split has no examples") for metric in Classification.metrics}
        return metrics, {"classes": classes}
    metrics["accuracy"] = sum(hits) / len(hits)
    present = [name for name in names if support[name] or predicted[name]]
    for kind in ("macro", "weighted"):
        weights = [1 if kind == "macro" else support[name] for name in present]
        for part in _PARTS:
            metrics[f"{part}_{kind}"] = _average([classes[name][part] for name in present], weights)
    metrics["ece"] = _calibration_error(hits, confidences)
    return metrics, {"classes": classes}


def _row(name: str, right: int, predicted: int, support: int) -> dict[str, Number]:
    precision: Number = right / predicted if predicted else Undefined(f"no example was predicted as {name}")
    recall: Number = right / support if support else Undefined(f"no example is of class {name}")
    f1: Number = Undefined(f"no example is of class {name} or was predicted as it")
    if predicted or support:
        f1 = 2 * right / (predicted + support)  # predicted + support = 2·TP + FP + FN
    return {"precision": precision, "recall": recall, "f1": f1, "support": float(support)}


def _average(values: Sequence[Number], weights: Sequence[int]) -> float:
    terms = (
        0.0 if isinstance(value, Undefined) else value * weight for value, weight in zip(values, weights, strict=True)
    )
    return math.fsum(terms) / sum(weights)


def _calibration_error(hits: Sequence[bool], confidences: Sequence[Confidence]) -> Number:
    known = [value for value in confidences if isinstance(value, int | float) and math.isfinite(value)]
    if not known:
        return Undefined("the model gives no probabilities")
    if len(known) < len(hits):
        return Undefined(f"the model gives no probability for {len(hits) - len(known)} of {len(hits)} examples")
    uppers = [edge / BINS for edge in range(1, BINS)]  # the last bin takes the rest
    gaps: list[list[float]] = [[] for _ in range(BINS)]
    for hit, confidence in zip(hits, known, strict=True):
        gaps[bisect_left(uppers, confidence)] += [float(hit), -confidence]
    return math.fsum(abs(math.fsum(gap)) for gap in gaps) / len(hits)


def _positions(answer: Prediction, count: int, classes: int) -> list[int]:
    chosen = [int(position) for position in answer.value.reshape(-1).tolist()]
    if len(chosen) != count:
        raise MismatchError(f"the model answered {len(chosen)} of {count} examples; `act` must answer each once.")
    wrong = next((position for position in chosen if not 0 <= position < classes), None)
    if wrong is not None:
        raise MismatchError(
            f"the model predicted class position {wrong}; this task has the positions 0 to {classes - 1}."
        )
    return chosen


def _confidences(answer: Prediction, chosen: Sequence[int]) -> list[Confidence]:
    if answer.probabilities is None:
        return [""] * len(chosen)
    if answer.probabilities.ndim != 2 or len(answer.probabilities) != len(chosen):
        raise MismatchError(
            f"the model gave probabilities of shape {tuple(answer.probabilities.shape)} for {len(chosen)} examples; "
            "the shape must be (examples, classes)."
        )
    found = (float(row[position]) for row, position in zip(answer.probabilities.tolist(), chosen, strict=True))
    # Rounded before anything is computed, so that stored rows give the same numbers again; a value that is not
    # a number is no probability.
    return [float(f"{value:.6g}") if math.isfinite(value) else "" for value in found]
