"""What a plugin may give that is no number: an outcome of the trial, or a bug that breaks it (rows 13 and 14)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import novum
import numpy as np
import pytest
import torch
from novum import Batch, Loss, Metric, Scores, StudyError, Undefined
from novum.executors import InlineExecutor, Job
from novum.faults import STOPPING
from novum.lab import local_code
from novum.runner.resolve import resolve

# --------------------------------------------------------------------------------------- 13: a loss that is no number


@pytest.fixture
def faulty(toy: Any) -> type[Any]:
    """The toy, with a loss of which step `step` gives `value`."""

    class Faulty(toy.Linear):  # type: ignore[misc]
        class Config(toy.Linear.Config):  # type: ignore[misc]
            value: str = ""
            """What the loss comes out as."""
            step: int = 1
            """The step at which it does, from 1."""

        def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
            for loss in super().losses(net, batch):
                if self._batches == self.config.step and self.config.value:
                    loss = Loss(lambda *given, f=loss.function: f(*given) * float(self.config.value), loss.arguments)
                yield loss

    return Faulty


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("side", "step"), [("treatment", 3), ("treatment", 12), ("control", 7)])
def test_row_13_a_loss_that_is_no_number_in_one_arm_is_its_worst_score_in_whole_pairs_and_named(
    study: Any, toy: Any, faulty: Any, value: str, side: str, step: int
) -> None:
    task, options = novum.task(toy.Blobs, size=60), {"spread": 0.0}
    arms = {"control": novum.arm(task, novum.model(faulty, note="other", **options))}
    arms["treatment"] = novum.arm(task, novum.model(faulty, **options))
    arms[side] = arms[side].but(model=arms[side].model.but(value=value, step=step))

    verdict = study.run(novum.Hypothesis("one arm breaks", **arms, max_seeds=3, minimum_effect=0.02))

    found = verdict.record["tasks"]["Blobs"]
    other = {"control": "treatment", "treatment": "control"}[side]
    with study.reading() as ledger:
        trials = [row for row in ledger.trials() if row["kind"] == "train"]
    assert sorted(row["state"] for row in trials) == ["diverged"] * 3 + ["done"] * 3
    assert (found["pairs"], found[side]) == (3, 0.0)
    assert found[other] > 0.5
    why = f"a loss or weight was not finite after {10 * step} of 120 units; it counts as the worst value, 0."
    assert found["notes"] == [f"Seed {seed}, {side}: {why}" for seed in range(3)]


# ------------------------------------------------------------------------------------- 14: a metric that is no number

HUGE = 10**400
ACCEPTED: dict[str, tuple[Any, float]] = {
    "int": (1, 1.0),
    "float": (0.25, 0.25),
    "fraction": (Fraction(1, 4), 0.25),
    "numpy float32": (np.float32(0.25), 0.25),
    "numpy float64": (np.float64(0.25), 0.25),
    "numpy longdouble": (np.longdouble(0.25), 0.25),
    "numpy int64": (np.int64(1), 1.0),
    "numpy array without dimensions": (np.array(0.25), 0.25),
    "tensor without dimensions": (torch.tensor(0.25), 0.25),
    "tensor of bfloat16": (torch.tensor(0.25, dtype=torch.bfloat16), 0.25),
    "tensor that asks for a gradient": (torch.tensor(0.25, requires_grad=True), 0.25),
}
UNDEFINED: dict[str, tuple[Any, str]] = {
    "nan": (float("nan"), "it came out as nan"),
    "infinity": (float("-inf"), "it came out as -inf"),
    "numpy nan": (np.float32("nan"), "it came out as nan"),
    "tensor of infinity": (torch.tensor(float("inf")), "it came out as inf"),
    "undefined": (Undefined("nothing was seen"), "nothing was seen"),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "str": ("0.9", "'0.9' (str)"),
    "long str": ("x" * 500, "… (str)"),
    "bytes": (b"1", "b'1' (bytes)"),
    "bool": (True, "True (bool)"),
    "numpy bool": (np.bool_(True), "np.True_ (bool)"),
    "tensor of bool": (torch.tensor(True), "tensor(True) (Tensor)"),
    "none": (None, "None (NoneType)"),
    "huge int": (HUGE, "an int of 1329 bits, which no float can hold"),
    "int too long to be written out": (10**5000, "an int of 16610 bits, which no float can hold"),
    "complex": (1j, "1j (complex)"),
    "numpy complex": (np.complex64(1j), "(complex64)"),
    "list": ([0.5], "[0.5] (list)"),
    "array of one": (np.ones(1), "array([1.]) (ndarray)"),
    "tensor of one": (torch.ones(1), "tensor([1.]) (Tensor)"),
    "date": (np.datetime64("2024-01-01"), "(datetime64)"),
    "object": (Scores, "<class 'novum.data.Scores'> (type)"),
}
FIELDS = ("metrics['gain']", "tables['t']['r']['c']", "units['gain'][1]")
WRONG = [
    (where, kind)
    for where in FIELDS
    for kind in REFUSED
    if not (where.startswith("units") and "bool" in kind)  # a unit's hit or miss may be a truth value
]


class Judge(novum.Evaluator):
    """Gives what the test says, wherever it says."""

    given: Any = None
    metrics = (Metric("gain", "max", worst=0.0, low=0.0, high=1.0, per_unit=True), Metric("other", "min", worst=9.0))
    outputs = ("classes",)

    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        return type(self).given  # type: ignore[no-any-return]


@pytest.fixture
def judge() -> Iterator[type[Judge]]:
    yield Judge
    Judge.given = None


@pytest.fixture
def judged(toy: Any, judge: type[Judge]) -> novum.Arm:
    return novum.arm(novum.task(toy.Blobs), novum.model(toy.Linear), evaluator=novum.evaluator(judge))


def scores(**parts: Any) -> Scores:
    whole = {"units": {"id": ["a", "b"], "gain": [1, 0]}, "metrics": {"gain": 0.5, "other": 2.0}, "tables": {}}
    return Scores(**(whole | parts))


def failure(folder: Any, arm: novum.Arm, judge: type[Judge], given: Any) -> Any:
    """What breaks a trial whose evaluator gives this."""
    judge.given = given
    payload = {"key": "trial", "plan": resolve(arm.to_json()), "points": 1, "parent": None, "tracker": "jsonl"}
    payload |= {"seed": {"root": 0, "block": "0", "index": 0}, "local": local_code(arm.to_json())}
    (result,) = InlineExecutor(folder).run([Job("trial", "train", payload)])
    assert result.value is None and not result.lost
    return result.error


@pytest.mark.parametrize("kind", ACCEPTED)
def test_row_14_every_real_number_is_kept_as_a_float(study: Any, judged: Any, judge: Any, kind: str) -> None:
    value, expected = ACCEPTED[kind]
    judge.given = scores(metrics={"gain": value, "other": value}, tables={"t": {"r": {"c": value}}})

    run = study.train(judged)

    kept = [*run.metrics.values(), run.tables["t"]["r"]["c"], *run.curve[-1]["metrics"].values()]
    assert kept == [expected] * 5
    assert {type(each) for each in kept} == {float}


@pytest.mark.parametrize("kind", UNDEFINED)
def test_row_14_what_could_not_be_measured_is_undefined_and_breaks_nothing(
    study: Any, judged: Any, judge: Any, kind: str
) -> None:
    value, why = UNDEFINED[kind]
    judge.given = scores(
        units={"id": ["a"], "gain": [value]},
        metrics={"gain": value, "other": 2.0},
        tables={"t": {"r": {"c": value}}},
    )

    run = study.train(judged)

    assert run.diverged is None
    assert run.metrics["gain"] == Undefined(why)
    assert run.tables["t"]["r"]["c"] == {"undefined": why}


@pytest.mark.parametrize(("where", "kind"), WRONG)
def test_row_14_anything_else_is_a_bug_of_the_evaluator_that_names_the_field(
    tmp_path: Any, judged: Any, judge: Any, where: str, kind: str
) -> None:
    value, shown = REFUSED[kind]
    wrong: dict[str, Any] = {
        "metrics['gain']": {"metrics": {"gain": value, "other": 2.0}},
        "tables['t']['r']['c']": {"tables": {"t": {"r": {"c": value}}}},
        "units['gain'][1]": {"units": {"id": ["a", "b"], "gain": [1, value]}},
    }[where]

    error = failure(tmp_path, judged, judge, scores(**wrong))

    assert error.type in ("TypeError", "ValueError") and error.type not in STOPPING
    assert error.message.startswith(f"Judge: {where} is ")
    assert shown in error.message
    assert "allowed is a real number" in error.message
    assert len(error.message) < 400


def test_row_14_a_metric_that_was_promised_and_is_missing_is_named(tmp_path: Any, judged: Any, judge: Any) -> None:
    error = failure(tmp_path, judged, judge, scores(metrics={"gain": 0.5}))

    assert error.type == "ValueError" and error.type not in STOPPING
    assert error.message.startswith(
        "the evaluator 'Judge' declares the metric 'other', but its scores have only 'gain'"
    )


@pytest.mark.parametrize("given", [None, {"gain": 1.0}, 0.5])
def test_row_14_an_evaluator_that_returns_no_scores_is_a_bug(
    tmp_path: Any, judged: Any, judge: Any, given: Any
) -> None:
    error = failure(tmp_path, judged, judge, given)

    assert error.type == "TypeError"
    assert "its `score` must return novum.Scores" in error.message


def test_row_14_columns_of_different_lengths_are_a_bug(tmp_path: Any, judged: Any, judge: Any) -> None:
    error = failure(tmp_path, judged, judge, scores(units={"id": ["a", "b"], "gain": [1]}))

    assert error.type == "ValueError"
    assert "columns of different lengths, {'id': 2, 'gain': 1}" in error.message


@pytest.mark.parametrize("cell", [np.int64(3), "word", np.str_("word"), None, True, 2.5, torch.tensor(2)])
def test_row_14_other_columns_may_hold_words_and_counts(study: Any, judged: Any, judge: Any, cell: Any) -> None:
    judge.given = scores(units={"id": ["a"], "gain": [True], "more": [cell]})

    assert study.train(judged).metrics["gain"] == 0.5


def test_row_14_the_trial_stands_as_failed_in_the_record_with_the_fields_name(
    study: Any, judged: Any, judge: Any
) -> None:
    judge.given = scores(metrics={"gain": "0.9", "other": 2.0})

    with pytest.raises(StudyError, match=r"Judge: metrics\['gain'\] is '0.9' \(str\)"):
        study.train(judged)

    with study.reading() as ledger:
        (row,) = ledger.trials()
    assert row["state"] == "failed"
    assert row["result"]["failed"].startswith("TypeError: Judge: metrics['gain'] is '0.9' (str)")
