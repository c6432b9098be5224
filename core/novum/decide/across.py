"""One number for a claim about several tasks, and what describes them together. Nothing here decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from novum.decide.rows import width
from novum.numbers import interval, sig, undefined

MEAN = "random-effects mean over tasks, on their scales (0 = chance, 1 = reference); it describes and does not decide"


def overall(plan: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Effect, interval and unit of the claim: a lone task's own, else the random-effects mean on the scales."""
    if len(tasks) == 1:
        (task,) = tasks.values()
        seen = task["new_data"] or task
        unit = "probability of winning, above one half" if plan["estimand"] == "win" else task["unit"] or task["metric"]
        return {"effect": seen["effect"], "interval": seen["interval"], "effect_unit": unit}
    found = describe(plan, tasks)
    if "undefined" in found:
        return {"effect": found, "interval": found, "effect_unit": "", "across": found}
    few = len(tasks) < 3  # two tasks leave one degree of freedom: an interval wider than any answer
    span = undefined("two tasks tell too little of how effects differ") if few else found["interval"]
    return {"effect": found["mean"], "interval": span, "effect_unit": MEAN, "across": found}


def describe(plan: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Random effects over tasks (modified Knapp-Hartung), prediction interval, I², and each task left out in turn."""
    from novum.stats import across

    effects, errors, names = [], [], []
    for name, task in tasks.items():
        seen, planned = task["new_data"] or task, plan["tasks"][name]
        if task["outcome"] == "invalid":
            return undefined("the experiment broke")
        if plan["estimand"] == "mean" and planned["scale"] is None:
            return undefined("not every task states a scale")
        if isinstance(seen["effect"], Mapping):
            return undefined(f"on {name}, {seen['effect']['undefined']}")
        if not seen["deviation"] > 0:
            return undefined(f"the {'wins' if plan['estimand'] == 'win' else 'differences'} on {name} do not vary")
        scale = width(planned) if plan["estimand"] == "mean" else 1.0
        names.append(name)
        effects.append(seen["effect"] / scale)
        errors.append(seen["deviation"] / scale / math.sqrt(seen["decided_at"]))
    found = across.random_effects(effects, errors)
    left = across.leave_one_out(effects, errors)
    return {
        "mean": sig(found.mean),
        "interval": interval(found.low, found.high),
        "prediction": _prediction(found),
        "tau2": _number(found.tau2),
        "i2": _number(found.i2),
        "effects": {name: sig(each) for name, each in zip(names, effects, strict=True)},
        "leave_one_out": {name: sig(each.mean) for name, each in zip(names, left, strict=True)},
        "bias": "effects of tests that stop early are biased away from zero; this describes and decides nothing",
    }


def _prediction(found: Any) -> Any:
    if found.prediction_low is None or found.prediction_high is None:
        return undefined("it needs three tasks or more")
    return interval(found.prediction_low, found.prediction_high)


def _number(value: float | None) -> Any:
    return undefined("it needs two tasks or more") if value is None else sig(value)
