"""What recorded trials say of the spread over seeds, and so of the power of a design, before it is registered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.experiment import meant

if TYPE_CHECKING:
    from novum.ledger import Ledger
    from novum.stats.design import Design

NOISE = "noise"
"""The block of seeds of `plan --noise`: no claim ever uses it, and its copy "noise-again" shares no seed with it."""
CHANCE = 0.8
"""A design is called under-powered when an effect as hoped for has less than this chance to be supported."""
STUDIES = 4000


def recorded(ledger: Ledger, task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Standard deviation of the paired differences of these very arms, from trials that were run before.

    {"sd", "pairs", "source"}; None for fewer than three pairs. Their mean is not looked at. A bar has no spread: then
    it is the treatment's own.
    """
    sides = {side: None if task[side] is None else meant(task[side]) for side in ("control", "treatment")}
    found: dict[str, dict[tuple[Any, ...], str]] = {name: {} for name in sides.values() if name is not None}
    for row in ledger.trials():
        if row["kind"] == "train" and row["state"] == "done":
            arm = meant(row["plan"]["plan"])
            if arm in found:
                seed = row["plan"]["seed"]
                found[arm][seed["root"], seed["block"], seed["index"]] = row["key"]
    treated = found[sides["treatment"] or ""]
    control = treated if sides["control"] is None else found[sides["control"]]
    shared = sorted(treated.keys() & control.keys(), key=str)
    noise = [seed for seed in shared if str(seed[1]).startswith(NOISE)]
    seeds = noise if len(noise) >= 3 else shared
    name = task["metric"]["name"]
    scores = ledger.scores([*(treated[seed] for seed in seeds), *(control[seed] for seed in seeds)], "dev")

    def value(key: str) -> float | None:
        number = scores.get(key, {"metrics": {}})["metrics"].get(name)
        return None if number is None or isinstance(number, Mapping) else float(number)

    bar = sides["control"] is None
    pairs = [(value(treated[seed]), 0.0 if bar else value(control[seed])) for seed in seeds]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 3:
        return None
    source = "plan --noise" if seeds is noise else "recorded trials"
    return {"sd": deviation(differences), "pairs": len(differences), "source": source}


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1). Needs two values or more."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1))


def averaged(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The spread of the average over tasks on their scales, whose seeds are independent; None where one is unknown."""
    parts = []
    for task in tasks.values():
        known = task["power"]
        if isinstance(known["sd"], Mapping):
            return None
        parts.append((known["sd"] / abs(task["scale"]["reference"] - task["scale"]["chance"]), known))
    sd = math.sqrt(math.fsum(each * each for each, _ in parts)) / len(parts)
    return {"sd": sd, "pairs": min(known["pairs"] for _, known in parts), "source": parts[0][1]["source"]}


UNMEASURED = "no earlier trials of both arms tell the spread over seeds; `novum plan --noise` measures it"


def power(design: Design, spread: Mapping[str, Any] | None, hoped: float | None) -> dict[str, Any]:
    """What the design can see: the label of its power, and the numbers behind it.

    detectable: the true effect that it supports with 80 % chance. label: "adequate", "under-powered" (the detectable
    effect exceeds the one that is hoped for) or "unknown" (with `because`).
    """
    from novum.stats.power import detectable, simulate

    if design.method == "sequential-sign":  # wins have no spread to be known
        spread = {"sd": 1.0, "pairs": 0, "source": "the signs alone"}
    nothing = {"undefined": "the spread over seeds is not known yet"}
    if spread is None or not spread["sd"] > 0:
        why = UNMEASURED if spread is None else "the seeds of the recorded trials do not vary"
        return {"label": "unknown", "because": why, "sd": nothing, "pairs": 0, "expected": _number(hoped)} | {
            "detectable": nothing,
            "chance": nothing,
        }
    seen = detectable(design, spread["sd"], CHANCE, studies=STUDIES)
    found = {**spread, "sd": _sig(spread["sd"]), "expected": _number(hoped)}
    found["detectable"] = {"undefined": "no effect reaches that chance"} if seen is None else _sig(seen)
    if hoped is None:
        because = "a claim of any effect at all names none that is hoped for; give expected_effect"
        return found | {"label": "unknown", "because": because, "chance": {"undefined": because}}
    chance = simulate(design, hoped, spread["sd"], studies=STUDIES).supported
    adequate = seen is not None and seen <= hoped
    because = f"an effect of {hoped:.3g} has a chance of {100 * chance:.0f} % to be supported"
    return found | {"label": "adequate" if adequate else "under-powered", "because": because, "chance": _sig(chance)}


def queries(ledger: Ledger, task: Mapping[str, Any]) -> int:
    """Distinct arms that were scored on this task's dev before: each was a question put to the same items."""
    data = task["treatment"]["data"]
    rows = ledger.trials()
    return len({meant(row["plan"]["plan"]) for row in rows if row["kind"] == "train" and _same(row, data)})


def _same(row: Mapping[str, Any], data: str) -> bool:
    return row["state"] == "done" and bool(row["plan"]["plan"]["data"] == data)


def _sig(value: float) -> float:
    return float(f"{value:.4g}")


def _number(value: float | None) -> Any:
    return {"undefined": "no effect is named"} if value is None else _sig(value)
