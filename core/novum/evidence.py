"""Evidence: what the ledger holds on a registered plan, as rows that `novum.decide` takes. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.experiment import SIDES, Experiment, Trial, lineage

if TYPE_CHECKING:
    from novum.ledger import Ledger

ENDED = ("done", "diverged", "failed")


@dataclass(frozen=True)
class Evidence:
    """What an experiment saw: task → one row per pair that has ended, in the order of the seeds."""

    rows: Mapping[str, tuple[Mapping[str, Any], ...]]


def evidence(ledger: Ledger, experiment: Experiment, split: str, *, items: bool = True) -> Evidence:
    """The stored rows of an experiment on "dev" or "test".

    Pairs that have not ended are left out, unless one side failed: then the other is "unrun". items: also read the
    per-unit scores of the metric, where they are kept, as the treatment's minus the control's.
    """
    planned = list(experiment.trials() if split == "dev" else experiment.confirming())
    keys = {each.key for trial in planned for each in trial.line()}
    stored = {row["key"]: row for row in ledger.trials(keys=sorted(keys))}
    broken = {trial.key: _broken_above(trial, stored) for trial in planned}
    started = [trial for trial in planned if trial.key in stored or broken[trial.key] is not None]
    scored = {}
    if split != "dev":
        scored = {row["key"]: row for row in ledger.trials(keys=[f"{trial.key}-{split}" for trial in started])}
    metrics = ledger.scores([score_key(trial.key, split) for trial in started], split)
    rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in experiment.tasks}
    charged: set[tuple[str, str, str]] = set()
    for trial in started:
        row = broken[trial.key] or stored[trial.key]  # what starts from a broken trial is broken with it
        if row["state"] not in ENDED:
            continue
        again = scored.get(f"{trial.key}-{split}")
        if split != "dev" and row["state"] == "done" and (again is None or again["state"] not in ENDED):
            continue  # not scored there yet
        metric = experiment.tasks[trial.task]["metric"]["name"]
        failed = row if row["state"] == "failed" else again if again and again["state"] == "failed" else None
        side = _side(row, failed, metrics.get(score_key(trial.key, split)), metric)
        side |= _above(trial, stored, charged)
        side["seconds"] += side.pop("above") + side.get("once", 0.0)
        side["key"] = score_key(trial.key, split)
        rows[trial.task].setdefault(trial.index, {"index": trial.index})[trial.side] = side
    found = {name: tuple(_pairs(rows[name], experiment.tasks[name])) for name in rows}
    if items:
        found = {name: _with_items(ledger, pairs, experiment.tasks[name], split) for name, pairs in found.items()}
    return Evidence({name: tuple(_bare(pair) for pair in pairs) for name, pairs in found.items()})


def _above(trial: Trial, stored: Mapping[str, Any], charged: set[tuple[str, str, str]]) -> dict[str, float]:
    """Seconds of the trials that this one starts from: "above", and "once" those that serve all seeds, which the first
    pair of its task and side bears alone.
    """
    found = {"above": 0.0}
    for (_, single), above in list(zip(lineage(trial.plan), trial.line(), strict=True))[1:]:
        spent = _seconds(stored.get(above.key))
        place = (trial.task, trial.side, above.key)
        if not single:
            found["above"] += spent
        elif place not in charged:
            charged.add(place)
            found["once"] = found.get("once", 0.0) + spent
    return found


def _broken_above(trial: Trial, stored: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The nearest failed trial that this one starts from; None where none failed."""
    above = (stored.get(each.key) for each in list(trial.line())[1:])
    return next((row for row in above if row is not None and row["state"] == "failed"), None)


def _pairs(rows: Mapping[int, dict[str, Any]], task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    unrun = _nothing("unrun", None, "the experiment broke before it ended")
    bar = task.get("bar")
    for index in sorted(rows):
        pair = rows[index] if bar is None else {**rows[index], "control": _nothing("given", bar, None)}
        ended = [side for side in SIDES if side in pair]
        if len(ended) == len(SIDES) or any(pair[side]["state"] == "failed" for side in ended):
            yield {**dict.fromkeys(SIDES, unrun), **pair}


def _nothing(state: str, value: float | None, because: str | None) -> dict[str, Any]:
    memory = {"undefined": "nothing was trained"}
    return {"state": state, "value": value, "seconds": 0.0, "memory": memory, "because": because, "key": None}


def score_key(key: str, split: str) -> str:
    """The row under which a trial's scores on a split stand."""
    return key if split == "dev" else f"{key}-{split}"


def _side(row: Mapping[str, Any], failed: Any, scored: Any, metric: str) -> dict[str, Any]:
    result = row["result"]
    memory = result.get("memory") or {"undefined": "it was not measured"}
    side = {
        "state": "failed",
        "value": None,
        "seconds": float(result.get("seconds", 0.0)),
        "memory": memory["bytes"] if "bytes" in memory else {"undefined": memory["undefined"]},
        "because": None,
    }
    if failed is not None:
        return side | {"because": failed["result"]["failed"]}
    if row["state"] == "diverged":
        return side | {"state": "diverged", "because": result["diverged"]}
    value = None if scored is None else scored["metrics"].get(metric, {"undefined": f"{metric} was not given"})
    if value is None:
        return side | {"because": "it was not scored"}
    if isinstance(value, Mapping):
        return side | {"state": "undefined", "because": value["undefined"]}
    return side | {"state": "done", "value": float(value)}


def _seconds(row: Mapping[str, Any] | None) -> float:
    return 0.0 if row is None else float((row["result"] or {}).get("seconds", 0.0))


def _bare(pair: Mapping[str, Any]) -> dict[str, Any]:
    sides = {side: {part: value for part, value in pair[side].items() if part != "key"} for side in SIDES}
    return {**pair, **sides}


def _with_items(
    ledger: Ledger, pairs: Sequence[Mapping[str, Any]], task: Mapping[str, Any], split: str
) -> tuple[dict[str, Any], ...]:
    """Each pair with "items": the treatment's per-unit scores minus the control's, or None where they are not kept."""
    name = task["metric"]["name"]
    sign = 1.0 if task["metric"]["direction"] == "max" else -1.0

    def column(side: Mapping[str, Any]) -> dict[str, float] | None:
        units = None if side["key"] is None or side["state"] != "done" else ledger.units(side["key"], split)
        if units is None or name not in units or "id" not in units:
            return None
        return {str(key): float(each) for key, each in zip(units["id"], units[name], strict=True)}

    found = []
    for pair in pairs:
        treated, control = column(pair["treatment"]), column(pair["control"])
        bar = task.get("bar")
        if treated is not None and bar is not None:
            control = dict.fromkeys(treated, float(bar))
        same = treated is not None and control is not None and treated.keys() == control.keys()
        items = [sign * (treated[key] - control[key]) for key in treated] if same and treated and control else None
        found.append({**pair, "items": items})
    return tuple(found)
