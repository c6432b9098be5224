"""What an evaluator promises: the best score for what is right, chance for what is shuffled, nothing for nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from novum.data import Batch, Metric, Prediction, Scores, Signature, Undefined
from novum.errors import InputError
from novum.recipe import Recipe
from novum.seeds import Seed, installed
from novum.task import Source, Split
from novum.testing.batches import acts, digest, still
from novum.testing.laws import DATA, PLAYED, Broken, Inapplicable, expect, failure, law

if TYPE_CHECKING:
    from novum.data import Act
    from novum.testing.subject import Subject

SHUFFLES = 10
MARGIN = 0.05
"""Share of the way from right to wrong that shuffled answers must lie below right ones, at least."""
FLATTERED = 0.25
"""Share of the way from chance to right that shuffled answers may reach: a few dozen units scatter."""
NEAR = 1e-6


class Fixed(Source):
    """Batches that lie ready, for one pass after another."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = tuple(batches)

    @property
    def size(self) -> int:
        return sum(len(each.ids) for each in self._batches)

    def next(self, act: Act) -> Batch:
        raise Broken("an evaluator asked for a training batch; it scores `source.each(act)` alone")

    def each(self, act: Act) -> Iterator[Batch]:
        yield from self._batches


@dataclasses.dataclass(frozen=True)
class Bench:
    """Something to score: `dev` of a task, and answers that are right, by unit id."""

    evaluator: Any
    signature: Signature
    batches: tuple[Batch, ...]
    right: dict[str, Prediction]

    def score(self, answers: dict[str, Prediction] | None = None, batches: Sequence[Batch] | None = None) -> Scores:
        """The scores of these answers (None: the right ones) over these batches (None: all)."""
        from novum.runner import strict

        given = self.right if answers is None else answers
        source = Fixed(self.batches if batches is None else batches)

        def act(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
            expect(len(ids) == len(inputs), "the evaluator calls `act` without ids; say act(batch.inputs, batch.ids)")
            return joined([given[unit] for unit in ids])

        with installed(Seed(0, ("contract", "score"))):
            scores = self.evaluator.score(act, source, self.signature)
        try:
            return strict.scores(scores, self.evaluator.metrics, type(self.evaluator).__name__)
        except (TypeError, ValueError) as error:
            raise Broken(str(error)) from error


def joined(answers: Sequence[Prediction]) -> Prediction:
    """Answers to one unit each as one answer; rows of different lengths are filled up with -1, or with 0."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def together(parts: Sequence[Any], fill: float) -> Any:
        if parts[0].ndim < 2:
            return torch.cat(list(parts))
        return pad_sequence([each[0] for each in parts], batch_first=True, padding_value=fill)

    value = together([each.value for each in answers], -1)
    known = all(each.probabilities is not None for each in answers)
    extras = {
        name: together([each.extras[name] for each in answers], 0 if each.is_floating_point() else -1)
        for name, each in answers[0].extras.items()
    }
    return Prediction(value, torch.cat([each.probabilities for each in answers]) if known else None, extras)  # type: ignore[misc]


def bench(subject: Subject) -> Bench:
    """`dev` of the partner, with right answers. Raises Inapplicable where nothing is right or wrong in itself."""
    task = subject.task()
    signature = task.signature()
    source = task.source(Split.DEV, Seed(0, ("data",)), Recipe())
    if acts(source):
        raise Inapplicable("it scores episodes, of which none is right or wrong in itself")
    batches = tuple(source.each(still(signature)))
    right: dict[str, Prediction] = {}
    for batch in batches:
        for at, unit in enumerate(batch.ids):
            right[unit] = _right(subject, signature, _row(batch, at))
    return Bench(subject.make(), signature, batches, right)


def _row(batch: Batch, at: int) -> Batch:
    """One unit of a batch, as a batch."""
    targets = None if batch.targets is None else batch.targets[at : at + 1]
    return Batch(batch.inputs[at : at + 1], targets, 1, batch.ids[at : at + 1])


def _right(subject: Subject, signature: Signature, unit: Batch) -> Prediction:
    import torch

    if subject.perfect is not None:
        return subject.perfect(unit)
    if signature.outputs.kind == "classes" and unit.targets is not None:
        value = torch.as_tensor(unit.targets)
        return Prediction(value, torch.nn.functional.one_hot(value, len(signature.outputs.names)).float())
    if signature.outputs.kind in ("numbers", "controls") and unit.targets is not None:
        return Prediction(torch.as_tensor(unit.targets))
    raise Inapplicable(
        f"the kit knows no right answer for outputs of the kind {signature.outputs.kind!r}; give the test a method "
        "`perfect(batch)` that returns one"
    )


def shuffled(bench: Bench, number: int) -> dict[str, Prediction]:
    """The right answers, each given to another unit. Extras stay where they are: they tell of the unit's own inputs."""
    ids = list(bench.right)
    order = Seed(0, ("contract", "shuffle", str(number))).numpy().permutation(len(ids))
    others = {unit: bench.right[ids[at]] for unit, at in zip(ids, order.tolist(), strict=True)}
    return {
        unit: dataclasses.replace(bench.right[unit], value=each.value, probabilities=each.probabilities)
        for unit, each in others.items()
    }


def _wrongs(subject: Subject, made: Bench) -> dict[str, Prediction]:
    """Answers of which each is wrong. Raises Inapplicable where the kit knows none."""
    import torch

    if made.signature.outputs.kind not in ("classes", "numbers") or subject.perfect is not None:
        raise Inapplicable("the kit knows wrong answers for classes and numbers alone")
    if made.signature.outputs.kind == "numbers":
        deviation = torch.stack([each.value[0] for each in made.right.values()]).std(0)
        return {unit: Prediction(each.value + deviation) for unit, each in made.right.items()}
    many = len(made.signature.outputs.names)
    found = {}
    for unit, each in made.right.items():
        value = (each.value + 1) % many
        found[unit] = Prediction(value, torch.nn.functional.one_hot(value, many).float())
    return found


# -------------------------------------------------------------------------------------------------- what it declares


@law("metrics are declared with a direction, a range and a finite worst value at its wrong end", "evaluator")
def metrics_are_sound(subject: Subject) -> None:
    evaluator = subject.make()
    metrics = evaluator.metrics
    right = isinstance(metrics, tuple) and metrics and all(isinstance(each, Metric) for each in metrics)
    expect(right, f"`metrics` is {metrics!r}; give a tuple of novum.Metric, the primary one first")
    names = [each.name for each in metrics]
    expect(len(set(names)) == len(names), f"two metrics share a name: {names}")
    expect(evaluator.outputs, "`outputs` is empty; name the kinds of outputs that it can judge, such as ('classes',)")
    for each in metrics:
        expect(each.direction in ("max", "min"), f"the direction of {each.name!r} is {each.direction!r}; max or min")
        expect(math.isfinite(each.worst), f"the worst value of {each.name!r} is {each.worst!r}; it must be finite")
        if each.low is not None and each.high is not None:
            expect(each.low < each.high, f"the range of {each.name!r} is {each.low} to {each.high}")
        end = each.low if each.direction == "max" else each.high
        bad = end is not None and (each.worst > end if each.direction == "max" else each.worst < end)
        expect(
            not bad,
            f"the worst value of {each.name!r} is {each.worst}, but it can go to {end} (direction "
            f"{each.direction!r}); a diverged trial would be better than a bad one",
        )


# --------------------------------------------------------------------------------------------------------- its scores


@law(
    "scores hold one row per unit in the source's order, and metrics within their range that follow from the rows",
    "evaluator",
    on=DATA,
)
def scores_are_whole(subject: Subject) -> None:
    made = bench(subject)
    for answers in (made.right, shuffled(made, 0)):
        scores = made.score(answers)
        ids = [unit for batch in made.batches for unit in batch.ids]
        given = list(scores.units.get("id", ()))
        at = next((at for at in range(len(ids)) if at >= len(given) or given[at] != ids[at]), None)
        expect(
            at is None and len(given) == len(ids),
            f"there are {len(given)} rows for {len(ids)} units; row {at} is {given[at : (at or 0) + 1]}: keep `id` in "
            "the order of source.each",
        )
        for metric in made.evaluator.metrics:
            _within(metric, scores)


def _within(metric: Metric, scores: Scores) -> None:
    value, column = scores.metrics[metric.name], scores.units.get(metric.name)
    if isinstance(value, Undefined):
        return
    low = -math.inf if metric.low is None else metric.low
    high = math.inf if metric.high is None else metric.high
    expect(
        low - NEAR <= value <= high + NEAR,
        f"{metric.name} is {value}, outside of its range from {metric.low} to {metric.high}",
    )
    if column is not None and not any(isinstance(each, Undefined) for each in column):
        mean = math.fsum(map(float, column)) / len(column)
        expect(
            math.isclose(mean, value, rel_tol=1e-6, abs_tol=1e-9),
            f"the column {metric.name!r} has the mean {mean:.9g}, and the metric is {value:.9g}; a column of a "
            "metric's name holds its per-unit scores",
        )
        steps = not metric.per_unit or all(each in (0, 1) for each in column)
        expect(steps, f"{metric.name} says per_unit=True, but a unit's score is neither 0 nor 1")
    expect(
        not metric.per_unit or column is not None,
        f"{metric.name} says per_unit=True, but the scores have no column of that name",
    )


@law("the same answers give the same scores, whatever the batches and the seed", "evaluator", on=DATA)
def scores_do_not_depend_on_batches(subject: Subject) -> None:
    made = bench(subject)
    answers = shuffled(made, 0)
    singly = [_row(batch, at) for batch in made.batches for at in range(len(batch.ids))]
    first, again, other = made.score(answers), made.score(answers), made.score(answers, singly)
    for name in first.metrics:
        values = [_number(each.metrics[name]) for each in (first, again, other)]
        expect(
            values[0] == values[1] or values[0] != values[0], f"{name} is {values[0]}, and {values[1]} when asked again"
        )
        near = math.isclose(values[0], values[2], rel_tol=1e-6, abs_tol=1e-9) or values[0] != values[0]
        expect(near, f"{name} is {values[0]}, and {values[2]} unit by unit; aggregate over units, not over batches")
    expect(
        digest(dict(first.units)) == digest(dict(again.units)),
        "rows differ when asked again; an evaluator draws nothing",
    )


def _number(value: Any) -> float:
    return math.nan if isinstance(value, Undefined) else float(value)


@law("what is right gets the best score", "evaluator", on=DATA)
def right_answers_get_the_best_score(subject: Subject) -> None:
    made = bench(subject)
    scores = made.score()
    for metric in made.evaluator.metrics:
        value = scores.metrics[metric.name]
        if metric is made.evaluator.metrics[0]:
            expect(not isinstance(value, Undefined), f"the primary metric {metric.name!r} of right answers is {value}")
        if metric.best is not None and not isinstance(value, Undefined):
            expect(
                math.isclose(value, metric.best, abs_tol=1e-6),
                f"{metric.name} of answers that are all right is {value}, and its best value is {metric.best}; look "
                "at its direction, its range and its formula",
            )


@law("answers shuffled among the units get what chance gets, and no more", "evaluator", on=DATA)
def shuffled_answers_get_chance(subject: Subject) -> None:
    made = bench(subject)
    primary: Metric = made.evaluator.metrics[0]
    scale = subject.task().observe().scale
    right = _number(made.score().metrics[primary.name])
    values = [_number(made.score(shuffled(made, number)).metrics[primary.name]) for number in range(SHUFFLES)]
    mean = math.fsum(values) / len(values)
    sign = 1.0 if primary.direction == "max" else -1.0
    room = abs(right - primary.worst)
    expect(
        sign * (right - mean) > MARGIN * room,
        f"{primary.name} of right answers is {right:.4g}, and of the same ones given to other units {mean:.4g}; "
        "compare each answer with the target of its own unit",
    )
    if scale is not None and scale.metric == primary.name:
        place = (mean - scale.chance) / (right - scale.chance)
        expect(
            place <= FLATTERED,
            f"{primary.name} of answers given to other units is {mean:.4g}, while the task says that chance is "
            f"{scale.chance:.4g}; give nothing for what is guessed, or correct the task's scale",
        )


@law("a metric gets worse, in the direction that it says, as answers become wrong", "evaluator", on=DATA)
def metrics_point_their_way(subject: Subject) -> None:
    made = bench(subject)
    wrong = _wrongs(subject, made)
    ids = list(made.right)
    half = {unit: (made.right if at % 2 else wrong)[unit] for at, unit in enumerate(ids)}
    scores = [made.score(each) for each in (made.right, half, wrong)]
    for metric in made.evaluator.metrics:
        values = [_number(each.metrics[metric.name]) for each in scores]
        if any(value != value for value in values):
            continue
        sign = 1.0 if metric.direction == "max" else -1.0
        best, middle, worst = (sign * value for value in values)
        strict = best > middle > worst if metric is made.evaluator.metrics[0] else best >= middle >= worst
        expect(
            strict,
            f"{metric.name} says {metric.direction!r}, and is {values[0]:.4g} with all answers right, {values[1]:.4g} "
            f"with half, {values[2]:.4g} with none",
        )


@law("a longer or richer episode moves a metric in the direction that it says", "evaluator", on=PLAYED)
def episodes_point_their_way(subject: Subject) -> None:
    evaluator, task = subject.make(), subject.task()
    signature = task.signature()
    if not acts(task.source(Split.DEV, Seed(0), Recipe())):
        raise Inapplicable("it scores units of a data set")

    def score(shift: float) -> Scores:
        import numpy as np

        values = np.array([1.0, 2.0, 4.0]) + shift
        batch = Batch(None, None, 12, ("episode-0", "episode-1", "episode-2"), {"returns": values, "lengths": values})
        scores: Scores = evaluator.score(still(signature), Fixed([batch]), signature)
        return scores

    low, high = score(0.0), score(1.0)
    for metric in evaluator.metrics:
        better = _number(high.metrics[metric.name]) - _number(low.metrics[metric.name])
        right = better > 0 if metric.direction == "max" else better < 0
        expect(
            right or metric is not evaluator.metrics[0] or (better == 0.0 and metric.kind != "episodes"),
            f"{metric.name} says {metric.direction!r}, and moves by {better:.4g} where every return and length is 1 "
            "more",
        )
        column = high.units.get(metric.name)
        if column is not None:
            mean = math.fsum(map(float, column)) / len(column)
            value = _number(high.metrics[metric.name])
            expect(
                math.isclose(mean, value), f"the column {metric.name!r} has the mean {mean}, and the metric is {value}"
            )


@law("where there is nothing to score, no metric is a number", "evaluator")
def nothing_gets_no_score(subject: Subject) -> None:
    evaluator, signature = subject.make(), subject.task().signature()
    act: Callable[..., Prediction] = still(signature)
    try:
        scores = evaluator.score(act, Fixed([]), signature)
    except InputError:
        return  # it says that there is nothing
    except Exception as error:
        raise Broken(f"without any unit, {failure(error)}; say novum.Undefined('why')") from error
    numbers = {name: each for name, each in scores.metrics.items() if not isinstance(each, Undefined)}
    expect(
        not numbers,
        f"without any unit, {', '.join(f'{name} is {value}' for name, value in list(numbers.items())[:2])}; say "
        "novum.Undefined('why')",
    )
