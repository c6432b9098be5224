"""The noise floor of a claim, before it is registered: control against control, and what pairing by seed achieves.

Three series of exploratory trials: the control on one stream of seeds, the control again on another, and the
treatment on the first. The first two tell how far apart the same arm comes out by chance alone; the first and the
third, how well a pair's sides move together. The mean of that last difference is the claim's own question: it is
neither computed nor shown. None of these trials is ever evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum.experiment import Trial
from novum.lab import Listener
from novum.numbers import correlation, sig, undefined
from novum.spread import NOISE, deviation

if TYPE_CHECKING:
    from novum.experiment import Experiment
    from novum.lab import Lab

AGAIN = f"{NOISE}-again"


def train(lab: Lab, experiment: Experiment, seeds: int) -> None:
    """Train what the noise floor needs and is not trained yet. Raises StudyError when a trial breaks."""
    from novum import trials
    from novum.errors import StudyError

    planned = [trial for name in experiment.tasks for trial in _series(experiment, name, seeds)]
    trials.train(replace(lab, listener=_Discreet(lab.listener)), planned)
    for row in lab.ledger.trials(keys=[trial.key for trial in planned]):
        if row["state"] == "failed":
            raise StudyError(f"the trial {row['key'][:12]} broke: {row['result']['failed']}.")


class _Discreet(Listener):
    """Passes on that trials end, and not what they scored: the arms' means are the claim's own question."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def say(self, sentence: str) -> None:
        self._listener.say(sentence)

    def planned(self, total: int, done: int, workers: int) -> None:
        self._listener.planned(total, done, workers)

    def trial(self, task: str, arm: str, index: int, state: str, metrics: Mapping[str, Any]) -> None:
        self._listener.trial(task, arm, index, state, {})

    def ended(self) -> None:
        self._listener.ended()


def _series(experiment: Experiment, name: str, seeds: int) -> list[Trial]:
    task = experiment.tasks[name]
    first = "treatment" if task["control"] is None else "control"
    places = [(first, NOISE), (first, AGAIN)] + ([("treatment", NOISE)] if first == "control" else [])
    root = experiment.record["seeds"]["root"]
    return [
        Trial.of(
            name, side, index, task[side], {"root": root, "block": block, "index": index, "indices": list(range(seeds))}
        )
        for index in range(seeds)
        for side, block in places
    ]


def floor(lab: Lab, experiment: Experiment, name: str, seeds: int) -> dict[str, Any]:
    """What the trials of `train` say of one task, in the metric's units.

    seeds_sd: over training seeds, of one arm. again: difference of the same arm on two streams, {"mean", "sd"}: the
    noise floor. correlation: of control and treatment at the same seed. paired_sd, unpaired_sd: of their difference
    with and without pairing. items: {"count", "error"}: the standard error of one score that the evaluation items
    alone make, which no further seed reduces. A diverged trial counts as the worst value.
    """
    task = experiment.tasks[name]
    metric = task["metric"]
    series: dict[tuple[str, str], list[Trial]] = {}
    for trial in _series(experiment, name, seeds):
        series.setdefault((trial.side, str(trial.seed["block"])), []).append(trial)
    values = {place: _values(lab, found, metric) for place, found in series.items()}
    first = "treatment" if task["control"] is None else "control"
    control, again = values[first, NOISE], values[first, AGAIN]
    apart = [b - a for a, b in zip(control, again, strict=True)]
    found: dict[str, Any] = {
        "seeds": seeds,
        "arm": first,
        "seeds_sd": sig(deviation([*control, *again])),
        "again": {"mean": sig(math.fsum(apart) / len(apart)), "sd": sig(deviation(apart))},
        "items": _items(lab, series[first, NOISE], metric["name"]),
    }
    treated = values.get(("treatment", NOISE)) if first == "control" else None
    if treated is None:
        nothing = undefined("the control is a bar: there is nothing to pair")
        return found | {"correlation": nothing, "paired_sd": found["seeds_sd"], "unpaired_sd": found["seeds_sd"]}
    paired = deviation([b - a for a, b in zip(control, treated, strict=True)])
    return found | {
        "correlation": correlation(control, treated),
        "paired_sd": sig(paired),
        "unpaired_sd": sig(math.hypot(deviation([*control, *again]), deviation(treated))),
    }


def _values(lab: Lab, trials: Sequence[Trial], metric: Mapping[str, Any]) -> list[float]:
    scores = lab.ledger.scores([trial.key for trial in trials], "dev")
    found = []
    for trial in trials:
        value = scores.get(trial.key, {"metrics": {}})["metrics"].get(metric["name"])
        found.append(float(metric["worst"]) if value is None or isinstance(value, Mapping) else float(value))
    return found


def _items(lab: Lab, trials: Sequence[Trial], name: str) -> dict[str, Any]:
    columns = [lab.ledger.units(trial.key, "dev") for trial in trials]
    known = [[float(each) for each in column[name]] for column in columns if column is not None and name in column]
    if not known or len({len(column) for column in known}) != 1 or len(known[0]) < 2:
        return undefined("no per-unit scores of this metric are kept")
    means = [math.fsum(column) / len(known) for column in zip(*known, strict=True)]
    return {"count": len(means), "error": sig(deviation(means) / math.sqrt(len(means)))}
