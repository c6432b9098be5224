"""Experiment: the registered plan of a hypothesis, and its running. The record of the third act, and the act."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.arm import canonical, fingerprint
from novum.errors import ConfigError, RegistrationError, closest
from novum.stats.paired import boundary

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.lab import Lab
    from novum.ledger import Ledger

METHOD = {"name": "paired-t", "version": 1}
SIDES = ("control", "treatment")


@dataclass(frozen=True)
class Trial:
    """One arm, one seed. `parent`: the trial whose trained weights it begins with; None where it starts fresh."""

    key: str
    task: str
    side: str
    index: int
    plan: Mapping[str, Any]
    seed: Mapping[str, Any]
    parent: Trial | None = None

    @classmethod
    def of(cls, task: str, side: str, index: int, plan: Mapping[str, Any], seed: Mapping[str, Any]) -> Trial:
        """The trial of a plan at a seed, {"root", "block", "index"}, with its key."""
        above = plan["start_from"]
        parent = None if above is None else cls.of(task, f"{side}'s start", index, above, seed)
        return cls(fingerprint({"plan": plan, "seed": dict(seed)}), task, side, index, plan, seed, parent)

    def line(self) -> Iterator[Trial]:
        """The trial, then the one that it starts from, and so on up."""
        above: Trial | None = self
        while above is not None:
            yield above
            above = above.parent

    def to_json(self) -> dict[str, Any]:
        """The ledger's row."""
        return {
            "key": self.key,
            "arm": fingerprint(self.plan),
            "block": self.seed["block"],
            "index": self.index,
            "kind": "train",
            "task": self.task,
            "side": self.side,
            "seed": dict(self.seed),
            "plan": self.plan,
            "parent": None if self.parent is None else self.parent.key,
        }


@dataclass(frozen=True)
class Experiment:
    """Arms × seeds, frozen. `text` is the canonical JSON of the whole plan; everything else is read from it.

    ::

        hypothesis   id
        method       {"name", "version"}; alpha; boundary: the critical value
        seeds        {"root", "block", "indices"}
        tasks        name → {control, treatment: plans; metric; minimum_effect; margin; scale; resolution; signature}
    """

    text: str

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """The plan as data. Treat it as read-only: the fingerprint is of `text`."""
        return dict(json.loads(self.text))

    @property
    def id(self) -> str:
        """The fingerprint of the plan: SHA-256, 32 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What each task's comparison is."""
        return dict(self.record["tasks"])

    def trials(self) -> Iterator[Trial]:
        """Every trial of the plan, pair by pair, so that a study which is stopped holds whole pairs."""
        seeds = self.record["seeds"]
        for index in seeds["indices"]:
            for name, task in self.tasks.items():
                for side in SIDES:
                    yield Trial.of(name, side, index, task[side], {**seeds, "index": index, "indices": None})


def design(
    hypothesis: Hypothesis,
    arms: Mapping[str, Mapping[str, Any]],
    observations: Mapping[str, Mapping[str, Any]],
    ledger: Ledger,
) -> Experiment:
    """Freeze a hypothesis into a plan.

    arms: "TASK/control" and "TASK/treatment" → what the job `resolve` gave. observations: task → facts and scale.
    Raises ConfigError when a metric does not exist, or when a margin has no scale to stand on.
    """
    tasks = {name: _task(hypothesis, name, arms, observations[name]) for name in hypothesis.tasks}
    indices = list(range(hypothesis.max_seeds))
    plan = {
        "hypothesis": hypothesis.id,
        "method": METHOD,
        "alpha": hypothesis.alpha,
        "boundary": float(f"{boundary(hypothesis.alpha, hypothesis.max_seeds):.9g}"),
        "scope": hypothesis.scope,
        "keep": hypothesis.keep,
        "seeds": {"root": hypothesis.seed, "block": _block(tasks, ledger), "indices": indices},
        "tasks": tasks,
    }
    return Experiment(canonical(plan))


def _task(
    hypothesis: Hypothesis, name: str, arms: Mapping[str, Mapping[str, Any]], observed: Mapping[str, Any]
) -> dict[str, Any]:
    asked = hypothesis.tasks[name]
    control, treatment = arms[f"{name}/control"], arms[f"{name}/treatment"]
    metrics = {metric["name"]: metric for metric in control["metrics"]}
    metric = metrics.get(asked.metric or control["metrics"][0]["name"])
    if metric is None:
        raise ConfigError(f"task {name!r}: no metric is called {asked.metric!r}; {closest(asked.metric, metrics)}.")
    if metric not in treatment["metrics"]:
        raise ConfigError(
            f"task {name!r}: the treatment's evaluator does not give {metric['name']!r} as the control's does; "
            "judge both arms by the same evaluator."
        )
    scale = observed["scale"]
    if scale is not None and scale["metric"] != metric["name"]:
        scale = None
    if scale is not None and _better(metric["worst"], scale["chance"], metric["direction"]):
        raise ConfigError(
            f"task {name!r}: the worst value of {metric['name']!r} is {metric['worst']!r}, which is better than chance "
            f"({scale['chance']!r}), so a trial that diverges would be rewarded; set the evaluator's `worst` below it."
        )
    if asked.minimum_effect_raw is not None:
        margin = asked.minimum_effect_raw
    elif scale is not None:
        margin = float(asked.minimum_effect or 0.0) * abs(scale["reference"] - scale["chance"])
    elif not asked.minimum_effect:
        margin = 0.0
    else:
        raise ConfigError(
            f"task {name!r}: minimum_effect = {asked.minimum_effect!r} is on the task's scale, but the task states no "
            f"chance and reference for {metric['name']!r}; give minimum_effect_raw in {metric['unit'] or 'its units'}."
        )
    sizes = {fact["id"]: fact["value"] for fact in observed["facts"]}
    return {
        "control": control["plan"],
        "treatment": treatment["plan"],
        "metric": metric,
        "minimum_effect": asked.minimum_effect,
        "margin": float(f"{margin:.9g}"),
        "scale": scale,
        "resolution": {
            split: 1.0 / sizes[f"{split}.size"] if metric["per_unit"] and sizes.get(f"{split}.size") else 0.0
            for split in ("dev", "test")
        },
        "signature": control["signature"],
    }


def _better(first: float, second: float, direction: str) -> bool:
    return first > second if direction == "max" else first < second


def _block(tasks: Mapping[str, Mapping[str, Any]], ledger: Ledger) -> str:
    """The first block of seeds in which no trial of any treatment exists: what was seen is no evidence (law 1).

    Trials of other sources or versions count as well: editing a comment makes no seed unseen.
    """
    treatments = {_meant(task["treatment"]) for task in tasks.values()}
    used = {
        row["block"] for row in ledger.trials() if row["kind"] == "train" and _meant(row["plan"]["plan"]) in treatments
    }
    return next(str(block) for block in range(len(used) + 1) if str(block) not in used)


def _meant(plan: Mapping[str, Any]) -> str:
    """The arm that a plan is of, whatever code and device it was planned with."""
    above = plan["start_from"]
    parts = {name: plan[name] for name in ("arm", "units", "data", "checkpoint")}
    return fingerprint(parts | {"start_from": None if above is None else _meant(above)})


# ------------------------------------------------------------------------------------------------------ the act


@dataclass(frozen=True)
class Evidence:
    """What an experiment saw: task → one row per registered seed, in order, as `novum.decide` takes them."""

    rows: Mapping[str, tuple[Mapping[str, Any], ...]]


def run(lab: Lab, experiment: Experiment) -> Evidence:
    """Train every trial of a registered plan that is not trained yet.

    Raises RegistrationError when the plan is not in the ledger, or is not what was registered (law 1).
    """
    from novum import trials

    check_registered(lab.ledger, experiment)
    trials.train(lab, list(experiment.trials()))
    return evidence(lab.ledger, experiment, "dev")


def check_registered(ledger: Ledger, experiment: Experiment) -> None:
    """Raise RegistrationError unless this very plan stands in the ledger."""
    stored = ledger.experiment(experiment.record["hypothesis"])
    if canonical(stored["plan"]) != experiment.text:
        raise RegistrationError(
            f"the plan of {experiment.record['hypothesis']} differs from the registered one; an edited plan is a new "
            "claim: register it as one (it will name this one as its parent)."
        )


def evidence(ledger: Ledger, experiment: Experiment, split: str) -> Evidence:
    """The stored rows of an experiment on "dev" or "test". Reads only. Pairs that have not ended are left out, unless
    one side failed: then the other is "unrun".
    """
    trials = list(experiment.trials())
    keys = {each.key for trial in trials for each in trial.line()}
    stored = {row["key"]: row for row in ledger.trials(keys=sorted(keys))}
    scored = {}
    if split != "dev":
        scored = {row["key"]: row for row in ledger.trials(keys=[f"{trial.key}-{split}" for trial in trials])}
    metrics = ledger.scores([_score_key(trial.key, split) for trial in trials], split)
    rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in experiment.tasks}
    for trial in trials:
        row = stored.get(trial.key)
        if row is None or row["state"] not in ("done", "diverged", "failed"):
            continue
        metric = experiment.tasks[trial.task]["metric"]["name"]
        again = scored.get(f"{trial.key}-{split}")
        failed = row if row["state"] == "failed" else again if again and again["state"] == "failed" else None
        side = _side(row, failed, metrics.get(_score_key(trial.key, split)), metric)
        side["seconds"] += sum(_seconds(stored.get(above.key)) for above in list(trial.line())[1:])
        rows[trial.task].setdefault(trial.index, {"index": trial.index})[trial.side] = side
    return Evidence({name: tuple(_pairs(pairs)) for name, pairs in rows.items()})


def _pairs(rows: Mapping[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    unrun = {"state": "unrun", "value": None, "seconds": 0.0, "because": "the experiment broke before it ended"}
    for index in sorted(rows):
        ended = [side for side in SIDES if side in rows[index]]
        if len(ended) == len(SIDES) or any(rows[index][side]["state"] == "failed" for side in ended):
            yield dict.fromkeys(SIDES, unrun) | rows[index]


def _score_key(key: str, split: str) -> str:
    return key if split == "dev" else f"{key}-{split}"


def _side(row: Mapping[str, Any], failed: Any, scored: Any, metric: str) -> dict[str, Any]:
    seconds = float(row["result"].get("seconds", 0.0))
    if failed is not None:
        return {"state": "failed", "value": None, "seconds": seconds, "because": failed["result"]["failed"]}
    if row["state"] == "diverged":
        return {"state": "diverged", "value": None, "seconds": seconds, "because": row["result"]["diverged"]}
    value = None if scored is None else scored["metrics"].get(metric, {"undefined": f"{metric} was not given"})
    if value is None:
        return {"state": "failed", "value": None, "seconds": seconds, "because": "it was not scored"}
    if isinstance(value, Mapping):
        return {"state": "undefined", "value": None, "seconds": seconds, "because": value["undefined"]}
    return {"state": "done", "value": float(value), "seconds": seconds, "because": None}


def _seconds(row: Mapping[str, Any] | None) -> float:
    return 0.0 if row is None else float((row["result"] or {}).get("seconds", 0.0))
