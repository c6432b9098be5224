"""The evaluator `regression`: how much of what varies between examples does a model foresee?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from novum import config as _config
from novum.data import Metric, Number, Scores, Undefined
from novum.errors import DataError, MismatchError
from novum.evaluator import Evaluator

if TYPE_CHECKING:
    import numpy as np

    from novum.data import Act, Signature
    from novum.task import Source

Table = dict[str, dict[str, Number]]


def _metrics(worst: float) -> tuple[Metric, ...]:
    return (Metric("r2", "max", worst=worst, high=1.0),)


class Regression(Evaluator):
    """The share of the targets' variance that is explained, R², with the errors of each number in a table.

    Columns of `Scores.units`, one row per example: "id"; "r2", the mean over the numbers of 1 - error² / variance of
    the targets of this split, whose mean over examples is R² (1 is perfect, 0 is what the targets' own mean gets, and
    it has no lower end); "target: NAME" and "prediction: NAME" for each number.

    The table "numbers" has a row for each: "r2", "rmse" and "mae" (the root of the mean squared error, the mean
    absolute error), and "deviation" of the targets, the last three in the target's own unit.
    """

    class Config(_config.Config):
        """What a diverged trial counts as."""

        worst: float = -1.0
        """R² that a diverged trial counts as; below every value that a trial on this task ends with."""

    config: Config
    metrics = _metrics(-1.0)
    outputs = ("numbers",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.metrics = _metrics(config.worst)  # type: ignore[misc]  # `worst` is an option here

    def score(self, act: Act, source: Source, signature: Signature) -> Scores:
        """R² is undefined without examples, where a number's targets are all the same, or an answer is not finite.

        Raises MismatchError when the outputs are no numbers or an answer does not fit them, and DataError when the
        split has no targets.
        """
        import numpy as np

        if signature.outputs.kind not in self.outputs:
            raise MismatchError(
                f"the evaluator 'regression' judges numbers; this task asks for {signature.outputs.kind!r}: choose "
                "another evaluator."
            )
        names: tuple[str, ...] = signature.outputs.names
        ids: list[str] = []
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in source.each(act):
            if batch.targets is None:
                raise DataError("a split to be scored as a regression has no targets; the task must give them.")
            shape = (len(batch.ids), len(names))
            answer = act(batch.inputs, batch.ids).value.numpy().astype(np.float64)
            if answer.shape != shape:
                raise MismatchError(
                    f"the model answered with the shape {answer.shape} where {shape} is asked for: examples, and a "
                    f"number for each of {', '.join(names)}."
                )
            parts.append((np.asarray(batch.targets, dtype=np.float64).reshape(shape), answer))
            ids += batch.ids
        if not ids:
            return Scores({"id": ()}, {"r2": Undefined("the split has no examples")})
        targets, answers = (np.concatenate(each) for each in zip(*parts, strict=True))
        return report(ids, targets, answers, names)


def report(ids: list[str], targets: np.ndarray, answers: np.ndarray, names: tuple[str, ...]) -> Scores:
    """Everything that follows from targets and answers, both float64 (examples, numbers), at least one example."""
    import numpy as np

    units: dict[str, list[str] | list[float]] = {"id": ids}
    table: Table = {}
    shares = []
    for at, name in enumerate(names):
        target, error = targets[:, at], answers[:, at] - targets[:, at]
        units |= {f"target: {name}": target.tolist(), f"prediction: {name}": answers[:, at].tolist()}
        variance = _mean(np.square(target - _mean(target)))
        row: dict[str, Number] = {"deviation": math.sqrt(variance)}
        if not np.isfinite(error).all():
            row |= dict.fromkeys(("r2", "rmse", "mae"), Undefined(f"an answer for {name!r} is not finite"))
        else:
            row |= {"rmse": math.sqrt(_mean(np.square(error))), "mae": _mean(np.abs(error))}
            row["r2"] = Undefined(f"every target of {name!r} is the same")
            if variance > 0:
                shares.append(1 - np.square(error) / variance)
                row["r2"] = _mean(shares[-1])
        table[name] = row
    lacking = [row["r2"] for row in table.values() if isinstance(row["r2"], Undefined)]
    if lacking:
        return Scores(units, {"r2": lacking[0]}, {"numbers": table})
    column = np.mean(shares, axis=0)
    return Scores(units | {"r2": column.tolist()}, {"r2": _mean(column)}, {"numbers": table})


def _mean(values: np.ndarray) -> float:
    return math.fsum(values.tolist()) / len(values)
