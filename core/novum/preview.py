"""What a claim would take and could see, before it is registered: looks, boundaries, power, cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.experiment import SIDES, Experiment, lineage, meant
from novum.numbers import undefined

if TYPE_CHECKING:
    from novum.lab import Lab
    from novum.ledger import Ledger

STUDIES = 4000


@dataclass(frozen=True)
class Preview:
    """What `novum plan` says of one hypothesis. `line`: how much there is to do. `said`: what one should know.

    record::

        level, stream, pairs   of the design
        tasks                  name → {test, level, looks, boundaries, power, detectable, table, cost, noise}
                               table: rows {effect, supported, equivalent, refuted, inconclusive, pairs}
                               noise: what `plan --noise` measured, or null
    """

    line: str
    said: tuple[str, ...]
    record: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join((self.line, *self.said))


def preview(lab: Lab, experiment: Experiment, line: str, said: list[str], noise: Mapping[str, Any]) -> Preview:
    """Put together what is known of a plan. noise: task → what `novum.noise.floor` gave, where it was measured."""
    plan = experiment.record
    tests = {name: (task["test"], task["power"]) for name, task in experiment.tasks.items()}
    if plan["average"] is not None:
        tests = {"average": (plan["average"]["test"], plan["average"]["power"]), **tests}
    found = {}
    for name, (test, power) in tests.items():
        task = experiment.tasks.get(name)
        found[name] = _test(test, power) | {
            "unit": "on the tasks' scales" if task is None else task["metric"]["unit"] or task["metric"]["name"],
            "margin": test["claimed"],
            "trials_per_pair": sum(each["trials_per_pair"] for each in experiment.tasks.values())
            if task is None
            else task["trials_per_pair"],
            "noise": None if name not in noise else noise[name] | _needed(test, power, noise[name]),
            "cost": undefined("it is the sum over tasks") if task is None else _cost(lab.ledger, task, test, power),
        }
    record = {
        "level": plan["level"],
        "alpha": plan["alpha"],
        "stream": plan["stream"],
        "scope": plan["scope"],
        "open": plan["open"],
        "pairs": len(plan["seeds"]["indices"]),
        "trials": experiment.size,
        "tasks": found,
    }
    return Preview(line, tuple(said), record)


def _test(test: Mapping[str, Any], power: Mapping[str, Any]) -> dict[str, Any]:
    from novum.stats.design import Design, earliest
    from novum.stats.power import table

    design = Design.from_json(test)
    known = not isinstance(power["sd"], Mapping)
    sd = power["sd"] if known else 1.0
    shown = design if known or design.method == "sequential-sign" else _in_units(design)
    rows = [
        {
            "effect": each.effect,
            **{part: getattr(each, part) for part in ("supported", "equivalent", "refuted", "inconclusive", "pairs")},
        }
        for each in table(shown, sd, studies=STUDIES)
    ]
    return {
        "test": test["method"],
        "level": test["support"],
        "refute": test["refute"],
        "looks": list(test["looks"]),
        "boundaries": list(test["upper"]),
        "earliest": earliest(design),
        "power": dict(power),
        "table": rows,
        "table_unit": "metric" if known else "standard deviations of the paired difference, above the least effect",
    }


def _in_units(design: Any) -> Any:
    """The design with its margin at zero: with no spread known, effects are counted in it."""
    from dataclasses import replace

    return replace(design, null=0.0, claimed=0.0, resolution=0.0)


def _needed(test: Mapping[str, Any], power: Mapping[str, Any], noise: Mapping[str, Any]) -> dict[str, Any]:
    """The declared maximum that gives the hoped-for effect an 80 % chance, with pairing by seed and without."""
    from novum.stats.power import pairs_for

    if isinstance(power["expected"], Mapping):
        return {"pairs_needed": power["expected"], "unpaired_needed": power["expected"]}
    found: dict[str, Any] = {}
    for name, sd in (("pairs_needed", noise["paired_sd"]), ("unpaired_needed", noise["unpaired_sd"])):
        method = "sequential-t" if test["method"] == "e-process" else test["method"]
        asked = {"null": test["null"], "claimed": test["claimed"]}
        count = None if not sd > 0 else pairs_for(method, test["support"], power["expected"], sd, **asked)
        found[name] = undefined("no number of pairs up to 1000 gives it that chance") if count is None else count
    return found


def _cost(ledger: Ledger, task: Mapping[str, Any], test: Mapping[str, Any], power: Mapping[str, Any]) -> dict[str, Any]:
    """Device-seconds of a pair and of the whole plan, from trials of these arms that were recorded before. What is
    trained once for all seeds is part of the whole alone.
    """
    line = [each for side in SIDES if task[side] is not None for each in lineage(task[side])]
    often = {meant(plan) for plan, single in line if not single}
    spent: dict[str, list[float]] = {meant(plan): [] for plan, _ in line}
    for row in ledger.trials():
        if row["kind"] == "train" and row["state"] == "done":
            arm = meant(row["plan"]["plan"])
            if arm in spent:
                spent[arm].append(float(row["result"].get("seconds", 0.0)))
    if not all(spent.values()):
        nothing = undefined("not every arm has a recorded trial; the rehearsal's estimate stands above")
        return {"pair": nothing, "whole": nothing, "trials": 0}
    means = {part: math.fsum(each) / len(each) for part, each in spent.items()}
    pair = math.fsum(mean for part, mean in means.items() if part in often)
    whole = pair * test["looks"][-1] + math.fsum(mean for part, mean in means.items() if part not in often)
    count = sum(len(each) for each in spent.values())
    return {"pair": float(f"{pair:.4g}"), "whole": float(f"{whole:.4g}"), "trials": count}
