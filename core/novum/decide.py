"""The one verdict function: pure over a registered plan and stored rows (design law 2). No other code decides.

Sums are exact (`math.fsum`), numbers in a verdict have nine significant digits, and the critical value comes from
the plan, so that the same ledger gives the same bytes on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from novum.errors import StudyError
from novum.stats.paired import Paired, paired, pairs_needed

Row = Mapping[str, Any]
"""One pair: {"index", "control": Side, "treatment": Side}; a Side is {"state", "value", "seconds", "because"}:
state "done" (value is the metric), "diverged" or "undefined" (value None: it counts as the worst), "failed", or
"unrun" (only beside a failed one)."""

OUTCOMES = ("supported", "refuted", "equivalent", "inconclusive", "invalid")


def decide(plan: Mapping[str, Any], dev: Mapping[str, Sequence[Row]], test: Mapping[str, Sequence[Row]] | None) -> Any:
    """The verdict of a plan, as plain JSON.

    plan: an `Experiment`'s record. dev: task → one row per registered seed, in order. test: the same on new data, or
    None while it is closed. Raises StudyError for a method or version that this Novum lacks.
    """
    method = METHODS.get((plan["method"]["name"], plan["method"]["version"]))
    if method is None:
        raise StudyError(
            f"this plan was registered with the method {plan['method']}, which this Novum lacks (it has "
            f"{sorted(METHODS)}); install the version that registered it. A method is never replaced by another."
        )
    return method(plan, dev, test)


def _paired_t(plan: Mapping[str, Any], dev: Mapping[str, Sequence[Row]], test: Any) -> dict[str, Any]:
    tasks = {name: _task(plan, name, dev[name], None if test is None else test[name]) for name in plan["tasks"]}
    outcome, reasons = _across(tasks, test is not None)
    effect = _overall(plan, tasks, dev if test is None else test)
    cost = {side: _sig(math.fsum(task["cost"][side] for task in tasks.values())) for side in ("control", "treatment")}
    return {
        "hypothesis": plan["hypothesis"],
        "outcome": outcome,
        "reasons": reasons,
        "effect": effect["effect"],
        "interval": effect["interval"],
        "effect_unit": effect["unit"],
        "method": plan["method"],
        "alpha": plan["alpha"],
        "new_data": "opened" if test is not None else "closed",
        "tasks": tasks,
        "cost": cost | {"ratio": _ratio(cost["treatment"], cost["control"])},
    }


METHODS: Mapping[tuple[str, int], Callable[..., dict[str, Any]]] = {("paired-t", 1): _paired_t}


# ------------------------------------------------------------------------------------------------------ one task


def _task(plan: Mapping[str, Any], name: str, dev: Sequence[Row], test: Sequence[Row] | None) -> dict[str, Any]:
    task = plan["tasks"][name]
    seen = _look(plan, task, dev, "dev")
    found = {
        "metric": task["metric"]["name"],
        "unit": task["metric"]["unit"],
        "margin": _sig(task["margin"]),
        "pairs": len(dev),
        **seen,
        "cost": _cost(dev),
        "new_data": None,
    }
    if test is not None:
        again = _look(plan, task, test, "test")
        found["new_data"] = again
        found["outcome"], found["reasons"] = _confirmed(seen, again)
    return found


def _confirmed(seen: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, list[str]]:
    if seen["outcome"] != "supported":
        return seen["outcome"], list(seen["reasons"])
    if again["outcome"] == "supported":
        return "supported", [*seen["reasons"], "New data say the same: " + again["reasons"][0]]
    outcome = again["outcome"] if again["outcome"] in ("refuted", "invalid") else "inconclusive"
    return outcome, [f"It held on dev and does not hold on new data: {again['reasons'][0]}", *seen["reasons"]]


def _look(plan: Mapping[str, Any], task: Mapping[str, Any], rows: Sequence[Row], split: str) -> dict[str, Any]:
    """Outcome, effect and interval of one task on one split."""
    metric, margin = task["metric"], task["margin"]
    broken = [row for row in rows if "failed" in (row["control"]["state"], row["treatment"]["state"])]
    whole = [row for row in rows if row not in broken]
    sides = {side: [_value(row[side], metric) for row in whole] for side in ("control", "treatment")}
    notes = _notes(rows, metric)
    if broken or len(rows) < len(plan["seeds"]["indices"]):
        why = _broken(broken, rows, plan)
        return _answer("invalid", [why], notes, sides, None, metric)
    sign = 1.0 if metric["direction"] == "max" else -1.0
    differences = [
        sign * (treated - control) for control, treated in zip(sides["control"], sides["treatment"], strict=True)
    ]
    found = paired(differences, margin, plan["boundary"], task["resolution"][split])
    outcome, reason = _outcome(found, plan["alpha"])
    return _answer(outcome, [reason], notes, sides, found, metric)


def _outcome(found: Paired, alpha: float) -> tuple[str, str]:
    margin = found.margin
    low, high = _sig(found.low), _sig(found.high)  # what is shown decides, so that both cannot disagree
    by = f"by at least {_show(margin)}" if margin else "at all"
    span = f"the interval {_show(low)} … {_show(high)}"
    if not found.varies:
        return "inconclusive", (
            f"The seeds do not vary: all {found.n} differences are {_show(found.mean)}, so they say nothing of chance."
        )
    if low > margin:
        return "supported", f"The treatment is better {by}: {span} lies above {_show(margin)}."
    if margin > 0 and low > -margin and high < margin:
        return "equivalent", f"The arms differ by less than {_show(margin)} either way: {span} lies inside."
    if high < margin:
        return "refuted", f"The treatment is not better {by}: {span} lies below {_show(margin)}."
    needed = pairs_needed(found.mean, found.deviation, margin, alpha)
    more = (
        f"about {needed} seeds would decide it if mean and spread stay as seen"
        if needed is not None
        else f"no number of seeds up to 1000 would, as the mean {_show(found.mean)} is so near {_show(margin)}"
    )
    return "inconclusive", f"{span[0].upper()}{span[1:]} holds {_show(margin)}: {found.n} seeds do not decide; {more}."


def _answer(
    outcome: str,
    reasons: list[str],
    notes: list[str],
    sides: Mapping[str, Sequence[float]],
    found: Paired | None,
    metric: Mapping[str, Any],
) -> dict[str, Any]:
    nothing = {"undefined": "the experiment broke"}
    still = {"undefined": "the seeds do not vary"}
    return {
        "outcome": outcome,
        "reasons": reasons,
        "notes": notes,
        "control": _mean(sides["control"]),
        "treatment": _mean(sides["treatment"]),
        "effect": nothing if found is None else _sig(found.mean),
        "interval": nothing if found is None else [_sig(found.low), _sig(found.high)] if found.varies else still,
        "deviation": nothing if found is None else _sig(found.deviation),
        "p": _p(found),
        "wins": sum(_better(*pair, metric) for pair in zip(sides["control"], sides["treatment"], strict=True)),
        "correlation": _correlation(sides["control"], sides["treatment"]),
    }


def _p(found: Paired | None) -> Any:
    if found is None:
        return {"undefined": "the experiment broke"}
    if found.p is None or not found.varies:
        return {"undefined": "the seeds do not vary"}
    return _sig(found.p)


def _value(side: Mapping[str, Any], metric: Mapping[str, Any]) -> float:
    """The metric, or its registered worst value for a trial that diverged (design law 6)."""
    return float(side["value"]) if side["state"] == "done" else float(metric["worst"])


def _notes(rows: Sequence[Row], metric: Mapping[str, Any]) -> list[str]:
    return [
        f"Seed {row['index']}, {side}: {row[side]['because']}; it counts as the worst value, {_show(metric['worst'])}."
        for row in rows
        for side in ("control", "treatment")
        if row[side]["state"] in ("diverged", "undefined")
    ]


def _broken(broken: Sequence[Row], rows: Sequence[Row], plan: Mapping[str, Any]) -> str:
    for row in broken:
        for side in ("control", "treatment"):
            if row[side]["state"] == "failed":
                return f"The trial of the {side} at seed {row['index']} broke: {row[side]['because']}"
    return f"Only {len(rows)} of {len(plan['seeds']['indices'])} registered pairs have ended."


def _cost(rows: Sequence[Row]) -> dict[str, Any]:
    total = {side: math.fsum(row[side]["seconds"] for row in rows) for side in ("control", "treatment")}
    return {side: _sig(total[side]) for side in total} | {"ratio": _ratio(total["treatment"], total["control"])}


# --------------------------------------------------------------------------------------------------- across tasks


def _across(tasks: Mapping[str, Mapping[str, Any]], opened: bool) -> tuple[str, list[str]]:
    """Scope = "all": the claim must hold on every task (intersection-union test; no correction is needed)."""
    by = {outcome: [name for name, task in tasks.items() if task["outcome"] == outcome] for outcome in OUTCOMES}
    if by["invalid"]:
        return "invalid", [f"The experiment broke on {_list(by['invalid'])}."]
    if by["refuted"]:
        return "refuted", [f"It fails on {_list(by['refuted'])}, and the claim is about every task."]
    if len(by["supported"]) == len(tasks):
        where = "on dev and on new data" if opened else "on dev"
        return "supported", [f"It holds on {_list(by['supported'])}, {where}."]
    if len(by["equivalent"]) == len(tasks):
        return "equivalent", [f"The arms are equivalent on {_list(by['equivalent'])}."]
    if by["equivalent"] and not by["inconclusive"]:
        return "refuted", [f"On {_list(by['equivalent'])} the effect is smaller than claimed."]
    return "inconclusive", [f"It is not decided on {_list(by['inconclusive'])}."]


def _overall(plan: Mapping[str, Any], tasks: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """One number for the claim: a lone task's effect, or the mean over tasks of the effect on their scales."""
    if len(tasks) == 1:
        (task,) = tasks.values()
        seen = task["new_data"] or task
        return {"effect": seen["effect"], "interval": seen["interval"], "unit": task["unit"] or task["metric"]}
    because = None
    if any(task["outcome"] == "invalid" for task in tasks.values()):
        because = "the experiment broke"
    elif any(task["scale"] is None for task in plan["tasks"].values()):
        because = "not every task states a scale"
    if because is not None:
        return {"effect": {"undefined": because}, "interval": {"undefined": because}, "unit": ""}
    scaled = [_scaled(plan["tasks"][name], rows[name]) for name in tasks]
    means = [math.fsum(column) / len(tasks) for column in zip(*scaled, strict=True)]
    found = paired(means, 0.0, plan["boundary"])
    unit = "mean over tasks, on their scales (0 = chance, 1 = reference)"
    span: Any = [_sig(found.low), _sig(found.high)] if found.varies else {"undefined": "the seeds do not vary"}
    return {"effect": _sig(found.mean), "interval": span, "unit": unit}


def _scaled(task: Mapping[str, Any], rows: Sequence[Row]) -> list[float]:
    width = task["scale"]["reference"] - task["scale"]["chance"]
    metric = task["metric"]
    return [(_value(row["treatment"], metric) - _value(row["control"], metric)) / width for row in rows]


# --------------------------------------------------------------------------------------------------------- numbers


def _sig(value: float) -> float:
    return float(f"{value:.9g}")


def _show(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _mean(values: Sequence[float]) -> Any:
    return _sig(math.fsum(values) / len(values)) if values else {"undefined": "no pair has ended"}


def _ratio(above: float, below: float) -> Any:
    return _sig(above / below) if below > 0 else {"undefined": "the control cost nothing"}


def _better(control: float, treatment: float, metric: Mapping[str, Any]) -> bool:
    return treatment > control if metric["direction"] == "max" else treatment < control


def _correlation(control: Sequence[float], treatment: Sequence[float]) -> Any:
    """Pearson's correlation over pairs: what pairing by seed achieved."""
    if len(control) < 3:
        return {"undefined": "fewer than three pairs"}
    means = math.fsum(control) / len(control), math.fsum(treatment) / len(treatment)
    a = [value - means[0] for value in control]
    b = [value - means[1] for value in treatment]
    norm = math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    if norm <= 1e-18:
        return {"undefined": "one arm does not vary over seeds"}
    return _sig(math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
