"""The task `tabular`: which class does a row of numbers belong to? And its evaluator, `brier`: how sure is that?"""

from __future__ import annotations

import functools
import importlib.metadata
import math
from typing import Any, Literal

import novum
import numpy as np


class Tabular(novum.Task):
    """Rows that scikit-learn ships; a fifth of each class is dev, a fifth is test."""

    class Config(novum.Config):
        data: Literal["breast_cancer", "iris", "wine_data"] = "breast_cancer"
        """The table: 569 biopsies of breast tumours, 150 irises, or 178 wines."""

    evaluator = "brier"

    def signature(self) -> novum.Signature:
        inputs, _, names = read(self.config.data)
        return novum.Signature(novum.Vector(inputs.shape[1:]), novum.Classes(names))

    def source(self, split: novum.Split, seed: novum.Seed, recipe: novum.Recipe) -> novum.Source:
        return novum.Examples(*self._part(split), seed=seed, batch_size=recipe.batch_size)

    def observe(self) -> novum.Observation:
        """The scale's 0 is the score of knowing only how frequent each class is; its 1, of being right and sure."""
        inputs, targets, _ = self._part(novum.Split.TRAIN)
        shares = np.bincount(targets) / len(targets)
        columns = novum.Fact("train.columns", inputs.shape[1], "columns", "Numbers of a row.")
        return novum.Observation((columns,), novum.Scale("brier", 1 - float(shares @ shares), 0.0))

    def fingerprint(self) -> str:
        return "-".join(novum.content_hash(part) for part in read(self.config.data))

    def _part(self, split: novum.Split) -> tuple[Any, Any, list[str]]:
        """A split's inputs, targets and ids; rows of the same numbers go to one split."""
        inputs, targets, _ = read(self.config.data)
        ids = [f"{self.config.data}-{row:03}" for row in range(len(inputs))]
        twins = [novum.content_hash(row) for row in inputs]
        rows = novum.split(ids, dev=0.2, test=0.2, stratify=targets.tolist(), group=twins)[split]
        return inputs[rows], targets[rows], [ids[row] for row in rows]


@functools.cache
def read(data: str) -> tuple[Any, Any, tuple[str, ...]]:
    """float32 (rows, columns), int64 (rows,) and the classes' names; not by importing scikit-learn, which is slow."""
    path = importlib.metadata.distribution("scikit-learn").locate_file(f"sklearn/datasets/data/{data}.csv")
    head, *lines = path.read_text().splitlines()
    table = np.loadtxt(lines, delimiter=",")  # the class is last; the head says rows, columns, classes
    return table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64), tuple(head.split(",")[2:])


class Brier(novum.Evaluator):
    """The squared distance of all probabilities from the truth (Brier 1950): 0 is right and sure, 2 wrong and sure."""

    metrics = (novum.Metric("brier", "min", worst=2.0, low=0.0, high=2.0),)
    outputs = ("classes",)

    def score(self, act: novum.Act, source: novum.Source, signature: novum.Signature) -> novum.Scores:
        ids: list[str] = []
        found: list[float] = []
        for batch in source.each(act):
            shares = act(batch.inputs, batch.ids).probabilities
            if shares is None:
                return novum.Scores({"id": ()}, {"brier": novum.Undefined("the model gives no probabilities")})
            found += np.square(shares.numpy() - np.eye(shares.shape[1])[batch.targets]).sum(1).tolist()
            ids += batch.ids
        mean = math.fsum(found) / len(found) if found else novum.Undefined("the split has no examples")
        return novum.Scores({"id": ids, "brier": found}, {"brier": mean})
