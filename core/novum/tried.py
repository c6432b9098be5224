"""Facts about what was tried: from the rows of exploratory trials, as numbers that a rule can read. Pure.

Scores are told on the task's scale (0 is chance, 1 the reference) where it has one, else in the metric's units with
better being more. Nothing comes from `test`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.observe import Fact
from novum.spread import deviation

if TYPE_CHECKING:
    from novum.scouting import Scouted
    from novum.standing import Claimed

LAST = 0.25
"""Share of the budget whose slope counts as the end of a curve."""


@dataclass(frozen=True)
class Ruler:
    """Puts a metric's values on a task's scale; without a scale it only turns them so that better is more."""

    metric: Mapping[str, Any]
    scale: Mapping[str, Any] | None

    def __call__(self, value: float) -> float:
        if self.scale is None:
            return value if self.metric["direction"] == "max" else -value
        chance, reference = float(self.scale["chance"]), float(self.scale["reference"])
        return (value - chance) / (reference - chance)

    @property
    def unit(self) -> str:
        """What a difference of two such values is in."""
        return "scale" if self.scale is not None else str(self.metric["unit"] or self.metric["name"])


def ruler(metrics: Sequence[Mapping[str, Any]], name: str | None, scale: Mapping[str, Any] | None) -> Ruler:
    """The ruler of a metric (None: the primary one); a scale of another metric is none."""
    metric = next((each for each in metrics if each["name"] == name), metrics[0])
    return Ruler(metric, scale if scale is not None and scale["metric"] == metric["name"] else None)


def facts(task: str, found: Scouted, rule: Ruler, train: Mapping[str, Mapping[str, Any]]) -> list[Fact]:
    """What the baseline's exploratory trials say. train: their scores on `train`, by key."""
    metric = rule.metric["name"]
    told: list[tuple[str, float | int | str | None, str, str]] = []
    values = [value for value in found.values(metric) if value is not None]
    diverged = sum(row["state"] == "diverged" for row in found.rows)
    failed = sum(row["state"] == "failed" for row in found.rows)
    told.append(("run.diverged", diverged / len(found.rows), "share", "Seeds at which training diverged."))
    told.append(("run.failed", failed / len(found.rows), "share", "Seeds at which a trial broke."))
    if values:
        scaled = [rule(value) for value in values]
        told.append(("run.score", _mean(values), metric, f"Mean {metric} on dev over {len(values)} seeds."))
        told.append(("run.scaled", _mean(scaled), rule.unit, "The same with chance as 0 and the reference as 1."))
        if len(scaled) > 1:
            told.append(("run.spread", deviation(scaled), rule.unit, "Its spread (sd) over seeds."))
    pairs = [
        (rule(float(own)), rule(value))
        for key, value in zip(found.keys, found.values(metric), strict=True)
        if value is not None and _number(own := train.get(key, {"metrics": {}})["metrics"].get(metric))
    ]
    if pairs:
        told.append(("run.train", _mean([own for own, _ in pairs]), rule.unit, f"Mean {metric} on train."))
        gap = _mean([own - other for own, other in pairs])
        told.append(("run.gap", gap, rule.unit, "How much better train is scored than dev."))
    told += _curves(found, rule)
    told += _details(found, rule)
    told += _costs(found)
    return [Fact(f"{task}/{id}", _round(value), unit, about) for id, value, unit, about in told if value is not None]


def _curves(found: Scouted, rule: Ruler) -> list[tuple[str, float | None, str, str]]:
    rises, falls = [], []
    for row in found.rows:
        curve = (row["result"] or {}).get("curve") or []
        late = next((point for point in curve if point["share"] >= 1 - LAST - 1e-9), None)
        if row["state"] != "done" or len(curve) < 3 or late is None or late is curve[-1]:
            continue
        before, after = (point["metrics"].get(rule.metric["name"]) for point in (late, curve[-1]))
        if _number(before) and _number(after):
            rises.append(rule(float(after)) - rule(float(before)))
        for name in list(curve[-1]["losses"])[:1]:
            first, last = late["losses"].get(name), curve[-1]["losses"][name]
            if _number(first) and _number(last) and first > 0:
                falls.append(1 - last / first)
    about = f"over the last {LAST:.0%} of the budget, mean over seeds"
    return [
        ("run.rise", _mean(rises), rule.unit, f"How much the score on dev rose {about}."),
        ("run.fall", _mean(falls), "share", f"Share by which the training loss fell {about}."),
    ]


def _details(found: Scouted, rule: Ruler) -> list[tuple[str, float | str | None, str, str]]:
    done = [found.scores[key] for key in found.keys if key in found.scores]
    told: list[tuple[str, float | str | None, str, str]] = []
    errors = [float(each["metrics"]["ece"]) for each in done if _number(each["metrics"].get("ece"))]
    told.append(("run.ece", _mean(errors), "share", "Expected calibration error on dev."))
    recalls: dict[str, list[float]] = {}
    for each in done:
        for name, cells in each["tables"].get("classes", {}).items():
            if _number(cells.get("recall")):
                recalls.setdefault(name, []).append(float(cells["recall"]))
    if recalls:
        worst = min(recalls, key=lambda name: (_mean(recalls[name]), name))
        told.append(("run.class.worst", _mean(recalls[worst]), "share", f"Lowest recall of a class on dev: {worst!r}."))
        told.append(("run.class.name", worst, "", "The class that it is."))
    return told


def episodes(task: str, rule: Ruler, columns: Sequence[Sequence[float]]) -> list[Fact]:
    """The share of dev episodes that fail: below half of the way from chance to the reference. columns: scores of the
    episodes, a list a seed. Nothing where the task has no scale.
    """
    flat = [rule(value) for column in columns for value in column]
    if rule.scale is None or not flat:
        return []
    share = sum(value < 0.5 for value in flat) / len(flat)
    about = "Episodes on dev that score less than half of the way from chance to the reference."
    return [Fact(f"{task}/run.episodes.failing", _round(share), "share", about)]


def _costs(found: Scouted) -> list[tuple[str, float | None, str, str]]:
    done = [row["result"] for row in found.rows if row["state"] == "done"]
    seconds = [float(each["seconds"]) for each in done]
    speeds = [each["units"] / each["seconds"] for each in done if each["seconds"] > 0]
    memory = [each["memory"]["bytes"] / 1e6 for each in done if "bytes" in each.get("memory", {})]
    return [
        ("run.seconds", _mean(seconds), "s", "Mean time that a trial trains."),
        ("run.throughput", _mean(speeds), "units/s", "Units of experience that a trial learns from in a second."),
        ("run.memory", max(memory, default=None), "MB", "Peak memory of a trial."),
    ]


def earlier(task: str, claimed: Sequence[Claimed]) -> list[Fact]:
    """What claims of this loop said of options on a task: the last outcome of each change."""
    told: dict[str, tuple[str, str]] = {}
    for each in claimed:
        if task in each.tasks:
            change = ", ".join(f"{path}={_shown(value)}" for path, value in each.options.items())
            told[f"{task}/tried.{change}"] = (each.outcome, each.hypothesis)
    return [Fact(id, outcome, "", f"What {hypothesis} came to.") for id, (outcome, hypothesis) in told.items()]


def _shown(value: Any) -> str:
    from novum.space import show

    return show(value)


def _mean(values: Sequence[float]) -> Any:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _round(value: float | int | str) -> float | int | str:
    return float(f"{value:.6g}") if isinstance(value, float) else value
