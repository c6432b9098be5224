"""One task's part of a verdict: its outcome, numbers, looks, cost and what was saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from novum import numbers
from novum.decide import rows, words
from novum.decide.rows import SIDES, Row
from novum.decide.walk import Standing, design_of
from novum.numbers import sig, undefined
from novum.stats.design import Design
from novum.stats.sequential import Decision, Look, anytime_p, judge, looks

STILL = "the seeds do not vary"


def experiment(
    plan: Mapping[str, Any], name: str, found: Sequence[Row], standing: Standing, ended: bool
) -> dict[str, Any]:
    """What the experiment (dev) says of one task at the end of the walk."""
    task = plan["tasks"][name]
    used = rows.prefix(found)[: standing.n]
    record = _record(plan, task, used, standing, ended)
    test, secondary = task["test"], task.get("secondary")
    whole = test["looks"][-1]
    return {
        "metric": task["metric"]["name"],
        "unit": task["metric"]["unit"],
        "margin": sig(task["margin"]),
        "test": {"name": (secondary or test)["method"], "level": (secondary or test)["support"]},
        "counted_at": test["support"],
        "role": "secondary, uncorrected" if secondary else "decides",
        "pairs": len(used),
        "planned": undefined("no maximum was declared") if plan["open"] else whole,
        "saved": saved(plan, task, used, None if plan["open"] else whole),
        **record,
        "cost": cost(used),
        "power": task.get("power"),
        "new_data": None,
    }


def again(plan: Mapping[str, Any], name: str, found: Sequence[Row], n: int, split: str = "test") -> dict[str, Any]:
    """What the fixed-n test on new data says of one task; every pair is used at once."""
    task = plan["tasks"][name]
    used = rows.prefix(found, first_confirming(plan))[:n]
    bad = next((row for row in used if rows.broken(row)), None)
    if bad is None and len(used) < n:
        standing = Standing(len(used), None, f"only {len(used)} of {n} pairs were scored on new data")
    elif bad is not None:
        standing = Standing(len(used), None, rows.why_broken(bad))
    else:
        design = confirming(plan, task["test"], n, task["resolution"][split])
        standing = Standing(n, judge(design, rows.differences(used, task["metric"])))
    seen = {**task, "test": confirming(plan, task["test"], n, task["resolution"][split]).to_json(), "secondary": None}
    return _record(plan, seen, used, standing, True, split) | {"counts": standing.outcome, "cost": cost(used)}


def first_confirming(plan: Mapping[str, Any]) -> int:
    """The index of the first seed that new data are scored at."""
    return len(plan["seeds"]["indices"]) if plan["confirm"] == "fresh-seeds" else 0


def confirming(plan: Mapping[str, Any], test: Mapping[str, Any], n: int, resolution: float) -> Design:
    """The registered test with one look, at n pairs: the fixed-n form, at the level of the experiment."""
    place = test["looks"].index(n)
    fixed = plan["fixed"]
    design = design_of(test)
    if design.method == "e-process":
        design = replace(design, method="sequential-t")
    curve = design.method == "sequential-t"
    key = f"{test['support']!r} {test['refute']!r}"
    bounds = fixed.get(key) if curve else None
    return replace(
        design,
        looks=(n,),
        resolution=resolution,
        futility=0.0,
        upper=(bounds["upper"][place],) if bounds else (),
        lower=(bounds["lower"][place],) if bounds else (),
    )


def _record(
    plan: Mapping[str, Any],
    task: Mapping[str, Any],
    used: Sequence[Row],
    standing: Standing,
    ended: bool,
    split: str = "dev",
) -> dict[str, Any]:
    metric = task["metric"]
    test = task.get("secondary") or task["test"]
    whole = [row for row in used if not rows.broken(row)]
    decided = None
    if standing.broken is None and used:
        design, x = design_of(test), rows.differences(used, metric)
        decided = judge(design, x)
        whole = whole[: decided.n]  # an uncorrected test may have decided before the claim's own: all numbers are its
    sides = {side: [rows.value(row[side], metric) for row in whole] for side in SIDES}
    shared = {
        "notes": rows.notes(used, metric),
        "control": numbers.mean(sides["control"]),
        "treatment": numbers.mean(sides["treatment"]),
        "wins": sum(numbers.better(*pair, metric) for pair in zip(sides["control"], sides["treatment"], strict=True)),
        "correlation": numbers.correlation(sides["control"], sides["treatment"]),
        "counts": standing.outcome or "inconclusive",
        "items": items(whole),
        "decided_at": len(whole),
    }
    if standing.broken is not None:
        return shared | _empty("invalid", standing.broken, "the experiment broke")
    if decided is None:
        empty = _empty("inconclusive", "Stopped with the claim before its first look.", "no look was taken")
        return shared | empty | ({"stopped": "with the claim"} if ended else {})
    open_ = decided.outcome is None
    said = _judged(design, decided, x)
    said["outcome"] = "inconclusive" if open_ else decided.outcome
    said["reasons"] = [words.reason(design, decided, plan["estimand"], claim_ended=open_ and ended, pairs=len(used))]
    if open_ and ended:
        said["stopped"] = "with the claim"
    warned = words.worn(task, {**shared, **said}) if split == "dev" else []
    return shared | said | {"warnings": warned}


def _judged(design: Design, found: Decision, x: Sequence[float]) -> dict[str, Any]:
    look = found.look
    still = found.reason == "no variation"
    p = anytime_p(design, x[: found.n])
    return {
        "effect": _effect(look.mean, x),
        "interval": undefined(STILL) if still else numbers.interval(look.low, look.high),
        "deviation": sig(look.deviation),
        "p": undefined(STILL) if still else undefined("no level below one half was crossed") if p is None else sig(p),
        "looks": [_look(each) for each in looks(design, x)],
        "stopped": found.reason,
    }


def _effect(mean: float, x: Sequence[float]) -> float:
    """The mean difference; what is left of floating-point sums that cancel is 0."""
    return 0.0 if abs(mean) <= 1e-12 * max(abs(each) for each in x) else sig(mean)


def _look(look: Look) -> dict[str, Any]:
    return {"pairs": look.n, "effect": sig(look.mean), "interval": numbers.interval(look.low, look.high)}


def _empty(outcome: str, reason: str, because: str) -> dict[str, Any]:
    nothing = undefined(because)
    return {
        "outcome": outcome,
        "reasons": [reason],
        **dict.fromkeys(("effect", "interval", "deviation", "p"), nothing),
        "looks": [],
        "warnings": [],
        "stopped": because,
    }


def average(plan: Mapping[str, Any], x: Sequence[float], standing: Standing, resolution: float = 0.0) -> dict[str, Any]:
    """What the average over tasks says: as a task's record, but for the sides' values."""
    if standing.broken is not None:
        return _empty("invalid", standing.broken, "the experiment broke")
    if not x:
        return _empty("inconclusive", "No look was taken yet.", "no look was taken")
    design = design_of(plan["average"]["test"])
    found = judge(design, x)
    said = _judged(design, found, x)
    said["reasons"] = [words.reason(design, found, "mean", claim_ended=False)]
    return said | {"outcome": found.outcome or "inconclusive"}


def average_again(plan: Mapping[str, Any], x: Sequence[float], n: int) -> dict[str, Any]:
    """What the fixed-n test of the average says on new data."""
    if len(x) < n:
        return _empty("invalid", f"only {len(x)} of {n} seeds were scored on new data.", "the experiment broke")
    design = confirming(plan, plan["average"]["test"], n, 0.0)
    found = judge(design, x[:n])
    said = _judged(design, found, x[:n])
    said["reasons"] = [words.reason(design, found, "mean", claim_ended=False)]
    return said | {"outcome": found.outcome or "inconclusive"}


# ------------------------------------------------------------------------------------------------------------ costs


def cost(used: Sequence[Row]) -> dict[str, Any]:
    """Device-seconds of each arm and their ratio; peak memory of each arm in bytes, likewise."""
    total = {side: math.fsum(row[side]["seconds"] for row in used) for side in SIDES}
    memory = {side: _peak(used, side) for side in SIDES}
    both = all(isinstance(each, int) for each in memory.values())
    peak = numbers.ratio(memory["treatment"], memory["control"]) if both else undefined("it was not measured for both")
    return {
        **{side: sig(total[side]) for side in SIDES},
        "ratio": numbers.ratio(total["treatment"], total["control"]),
        "memory": memory | {"ratio": peak},
    }


def _peak(used: Sequence[Row], side: str) -> Any:
    found = [row[side].get("memory") for row in used]
    known = [each for each in found if isinstance(each, int)]
    if known:
        return max(known)
    return next((each for each in found if isinstance(each, Mapping)), undefined("nothing was trained"))


def saved(plan: Mapping[str, Any], task: Mapping[str, Any], used: Sequence[Row], planned: int | None) -> dict[str, Any]:
    """What the early decision spared against the full plan; seconds are those of the pairs that ran, continued, without
    what is spent once for all pairs.
    """
    if planned is None:
        because = undefined("no maximum was declared")
        return {"pairs": because, "trials": because, "seconds": because, "money": because}
    left = planned - len(used)
    spent = math.fsum(row[side]["seconds"] - row[side].get("once", 0.0) for row in used for side in SIDES)
    seconds: Any = undefined("no pair has ended")
    if not left:
        seconds = 0.0
    elif used:
        seconds = sig(spent / len(used) * left)
    price = plan.get("price_per_hour")
    money: Any = undefined("no price was given")
    if price is not None:
        money = seconds if isinstance(seconds, Mapping) else sig(seconds / 3600 * price)
    return {"pairs": left, "trials": left * task.get("trials_per_pair", 2), "seconds": seconds, "money": money}


def items(used: Sequence[Row]) -> dict[str, Any]:
    """The noise of the evaluation items: of the per-item differences, averaged over the pairs.

    count: items; sd: over items, in the metric's units; error: sd / √count, which no further seed reduces.
    """
    columns = [column for row in used if (column := row.get("items")) is not None]  # none where a trial diverged
    if not columns:
        return undefined("no per-unit scores of this metric are kept")
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or (count := lengths.pop()) < 2:
        return undefined("the pairs were not scored on the same items")
    means = [math.fsum(column[at] for column in columns) / len(columns) for at in range(count)]
    centre = math.fsum(means) / count
    sd = math.sqrt(math.fsum((each - centre) ** 2 for each in means) / (count - 1))
    return {"count": count, "sd": sig(sd), "error": sig(sd / math.sqrt(count))}
