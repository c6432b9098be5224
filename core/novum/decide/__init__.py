"""The one verdict function: pure over a registered plan and stored rows (design law 2). No other code decides.

Sums are exact (`math.fsum`), numbers in a verdict have nine significant digits, and critical values come from the
plan, so that the same ledger gives the same bytes on another machine.

::

    rows.py      stored pairs and their values
    walk.py      which task looks next, what each look decides, when the claim has ended
    task.py      one task's numbers at the end of the walk
    across.py    one number over several tasks
    words.py     why, in sentences
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from novum import numbers
from novum.decide import across, task, words
from novum.decide.rows import SIDES, Row, broken, prefix
from novum.decide.walk import AVERAGE, Standing, Walk, averages, least, ruling, walk
from novum.errors import StudyError
from novum.numbers import sig

OUTCOMES = ("supported", "refuted", "equivalent", "inconclusive", "invalid")
Rows = Mapping[str, Sequence[Row]]


def decide(plan: Mapping[str, Any], dev: Rows, test: Rows | None) -> Any:
    """The verdict of a plan, as plain JSON.

    plan: an `Experiment`'s record. dev: task → rows of the pairs that have ended (see `novum.decide.rows`). test: the
    same on new data, or None while it is closed. A walk that has not ended yet gives "inconclusive" with "ended"
    false. Raises StudyError for a method or version that this Novum lacks.
    """
    return method_of(plan)(plan, dev, test)


def progress(plan: Mapping[str, Any], dev: Rows) -> Walk:
    """How far the experiment has come, and which pairs it wants next. Raises what `decide` raises."""
    method_of(plan)
    return walk(plan, dev)


def method_of(plan: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """The registered verdict function. Raises StudyError for one that this Novum lacks."""
    method = METHODS.get((plan["method"]["name"], plan["method"]["version"]))
    if method is None:
        raise StudyError(
            f"this plan was registered with the method {plan['method']}, which this Novum lacks (it has "
            f"{sorted(METHODS)}); install the version that registered it. A method is never replaced by another."
        )
    return method


def _sequential(plan: Mapping[str, Any], dev: Rows, test: Rows | None) -> dict[str, Any]:
    walked = walk(plan, dev)
    ended = walked.outcome is not None
    tasks = {
        name: task.experiment(plan, name, dev.get(name, ()), walked.standings[name], ended) for name in plan["order"]
    }
    whole = {}
    if plan["scope"] == "average":
        cut = {name: prefix(dev.get(name, ()))[: tasks[name]["pairs"]] for name in plan["order"]}
        broke = walked.outcome == "invalid"
        whole = task.average(plan, [] if broke else averages(plan, cut), walked.standings[AVERAGE])
    outcome, reasons = walked.outcome or "inconclusive", _reasons(plan, tasks, walked, whole)
    waits = outcome == "supported" and test is not None and waiting(plan, walked, test)
    if waits:
        ended, outcome, reasons = False, "inconclusive", [f"It holds on dev, and waits for new data on {waits}."]
    elif test is not None and outcome == "supported":
        outcome, reasons = _on_new_data(plan, tasks, walked, test, whole)
    record = {
        "hypothesis": plan["hypothesis"],
        "outcome": outcome,
        "ended": ended,
        "reasons": reasons,
        **across.overall(plan, tasks),
        "method": plan["method"],
        "scope": plan["scope"],
        "order": list(plan["order"]),
        "margins": plan["margins"],
        "estimand": plan["estimand"],
        "alpha": plan["alpha"],
        "level": plan["level"],
        "stream": plan["stream"] or {},
        "new_data": "none" if plan.get("reported") else "closed" if test is None else "opened",
        "tasks": tasks,
        "cost": _cost(tasks, fresh=plan["confirm"] == "fresh-seeds"),
        "saved": _saved(tasks),
        "fairness": words.fair(plan),
        "scores": "reported by the caller" if plan.get("reported") else "measured",
    }
    if whole:
        unit = "mean over tasks, on their scales (0 = chance, 1 = reference)"
        again = whole.get("new_data")
        seen = again or whole
        record |= {"effect": seen["effect"], "interval": seen["interval"], "effect_unit": unit, "average": whole}
    return record


METHODS: Mapping[tuple[str, int], Callable[..., dict[str, Any]]] = {("sequential", 1): _sequential}


def confirmable(plan: Mapping[str, Any], walked: Walk) -> list[str]:
    """The tasks whose support new data are to confirm: all that support the claim, or all where they are averaged."""
    if plan["scope"] == "average":
        return list(plan["order"])
    return [name for name in plan["order"] if walked.standings[name].outcome == "supported"]


def waiting(plan: Mapping[str, Any], walked: Walk, test: Rows) -> str | None:
    """A task whose pairs have not all been scored on new data yet, and of which none broke; None where none waits."""
    for name in confirmable(plan, walked):
        rows, n = test.get(name, ()), walked.standings[name].n
        if any(broken(row) for each in test.values() for row in each):
            return None
        if len(prefix(rows, task.first_confirming(plan))) < n:
            return name
    return None


def _reasons(plan: Mapping[str, Any], tasks: Mapping[str, Any], walked: Walk, whole: Mapping[str, Any]) -> list[str]:
    if walked.outcome is None:
        return [f"The next look is on {name}, at {pairs} pairs." for name, pairs in walked.needs[:1]]
    if whole:
        return [f"On average over {numbers.listed(list(tasks))}: {whole['reasons'][0]}"]
    return words.across(plan, least(plan), tasks, walked.outcome, "on dev")


def _on_new_data(
    plan: Mapping[str, Any], tasks: dict[str, Any], walked: Walk, test: Rows, whole: dict[str, Any]
) -> tuple[str, list[str]]:
    """Test again on new data, at the same level: both must reject."""
    fresh = plan["confirm"] == "fresh-seeds"
    for name in confirmable(plan, walked):
        found = tasks[name]
        found["new_data"] = task.again(plan, name, test.get(name, ()), found["pairs"])
        if found["outcome"] == "supported" or not whole:
            found["outcome"], found["reasons"] = words.confirmed(found, found["new_data"], fresh)
            found["counts"] = found["outcome"] if found["counts"] == "supported" else found["counts"]
    if whole:
        n = walked.standings[AVERAGE].n
        first = task.first_confirming(plan)
        rows = {name: prefix(test.get(name, ()), first)[:n] for name in plan["order"]}
        broke = any(each["new_data"]["outcome"] == "invalid" for each in tasks.values())
        whole["new_data"] = task.average_again(plan, [] if broke else averages(plan, rows), n)
        outcome, reasons = words.confirmed(whole, whole["new_data"], fresh)
        return outcome, [f"On average over {numbers.listed(list(plan['order']))}: {reasons[0]}", *reasons[1:]]
    outcomes = [tasks[name]["counts"] for name in plan["order"]]
    outcome = ruling(least(plan), outcomes) or "inconclusive"
    reasons = words.across(plan, least(plan), tasks, outcome, "on dev and on new data")
    if outcome != "supported":
        lost = [name for name in confirmable(plan, walked) if tasks[name]["outcome"] != "supported"]
        reasons = [f"It held on dev and does not hold on new data on {numbers.listed(lost)}.", *reasons]
    return outcome, reasons


def _cost(tasks: Mapping[str, Any], *, fresh: bool) -> dict[str, Any]:
    """The sums over tasks; networks that were trained to confirm the claim count as well."""
    spent = [each["cost"] for each in tasks.values()]
    spent += [each["new_data"]["cost"] for each in tasks.values() if fresh and each["new_data"] is not None]
    total = {side: sig(math.fsum(each[side] for each in spent)) for side in SIDES}
    return total | {"ratio": numbers.ratio(total["treatment"], total["control"])}


def _saved(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """The sums over tasks; undefined where a task's is, as the sum is then not known."""
    found: dict[str, Any] = {}
    for name in ("pairs", "trials", "seconds", "money"):
        parts = [each["saved"][name] for each in tasks.values()]
        unknown = next((part for part in parts if isinstance(part, Mapping)), None)
        total = None if unknown is not None else math.fsum(parts)
        found[name] = unknown if total is None else sig(total) if name in ("seconds", "money") else int(total)
    return found


__all__ = ["METHODS", "OUTCOMES", "Standing", "confirmable", "decide", "method_of", "progress"]
