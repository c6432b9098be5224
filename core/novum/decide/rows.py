"""Stored rows as the verdict sees them: pairs, their values, and the contiguous prefix that a look may use.

A row is {"index", "control": side, "treatment": side}; a side is {"state", "value", "seconds", "memory", "because"},
and "once" where a trial that serves all seeds is among its seconds: how many are that trial's.
State: "done" (value is the metric), "given" (a bar: nothing was trained), "diverged" or "undefined" (value None: it
counts as the worst), "failed", or "unrun" (only beside a failed one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novum.numbers import show

Row = Mapping[str, Any]
SIDES = ("control", "treatment")
BROKEN = ("failed", "unrun")


def value(side: Mapping[str, Any], metric: Mapping[str, Any]) -> float:
    """The metric, or its registered worst value for a trial that diverged (design law 6)."""
    return float(side["value"]) if side["state"] in ("done", "given") else float(metric["worst"])


def broken(row: Row) -> bool:
    """Whether a side of this pair failed."""
    return any(row[side]["state"] == "failed" for side in SIDES)


def prefix(rows: Sequence[Row], first: int = 0) -> list[Row]:
    """The pairs of the contiguous beginning of the seed list, a broken one included: later pairs are not looked at,
    so that fast trials cannot choose the evidence.
    """
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: int(row["index"])):
        if row["index"] != first + len(found):
            break
        found.append(row)
    return found


def differences(rows: Sequence[Row], metric: Mapping[str, Any]) -> list[float]:
    """Treatment minus control, above zero where the treatment is better."""
    sign = 1.0 if metric["direction"] == "max" else -1.0
    return [sign * (value(row["treatment"], metric) - value(row["control"], metric)) for row in rows]


def width(task: Mapping[str, Any]) -> float:
    """One on the task's scale, in the metric's units."""
    return abs(float(task["scale"]["reference"]) - float(task["scale"]["chance"]))


def notes(rows: Sequence[Row], metric: Mapping[str, Any]) -> list[str]:
    """A sentence for each trial that counts as the worst value."""
    return [
        f"Seed {row['index']}, {side}: {row[side]['because']}; it counts as the worst value, {show(metric['worst'])}."
        for row in rows
        for side in SIDES
        if row[side]["state"] in ("diverged", "undefined")
    ]


def why_broken(row: Row) -> str:
    """What broke in this pair."""
    side = next(side for side in SIDES if row[side]["state"] == "failed")
    return f"The trial of the {side} at seed {row['index']} broke: {row[side]['because']}"
