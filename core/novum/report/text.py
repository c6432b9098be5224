"""Numbers and verdicts in words, for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from novum.data import Undefined

HEADLINES = {
    "supported": "Yes: the treatment helped.",
    "refuted": "No: the treatment did not help as claimed.",
    "equivalent": "It makes no difference that counts.",
    "inconclusive": "It is not decided.",
    "invalid": "There is no answer: the experiment broke.",
}
"""What an outcome answers to the question "Did it really help?"."""
PAUSED = "It is not decided yet."
"""The answer of a claim that paused before it was decided."""


def headline(record: Mapping[str, Any]) -> str:
    """The answer of a verdict's record to "Did it really help?"."""
    return HEADLINES[record["outcome"]] if record["ended"] else PAUSED


def numbers(value: Any, digits: int = 4) -> str:
    """A stored number for a person, with 3 significant digits, from 0.1 on with `digits`; a list as "first … last".

    Integers are whole, with commas; what is undefined, not finite or missing says so and why. Text stays as it is.
    """
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, Mapping):
        return f"undefined, because {value['undefined']}"
    if value is None:
        return "undefined, because it was not recorded"
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Sequence):
        return " … ".join(numbers(each, digits) for each in value)
    return _float(float(value), digits)


def _float(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return f"undefined, because it came out as {value}"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}" if abs(value) >= 0.1 else f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(float(text)) < 1e9 else text


def interval(value: Any, digits: int = 4) -> str:
    """An interval as "low … high"; an open end is −∞ or ∞, and one that is undefined as a whole says why."""
    if value is None or isinstance(value, Mapping):
        return numbers(value)
    open_ = ("−∞", "∞")
    return " … ".join(
        infinite if isinstance(end, Mapping) else numbers(end, digits)
        for end, infinite in zip(value, open_, strict=True)
    )


def ends(value: Any) -> tuple[float, float] | None:
    """A stored interval as numbers, open ends as infinities; None where it is undefined as a whole."""
    if value is None or isinstance(value, Mapping):
        return None
    low, high = value
    return -math.inf if isinstance(low, Mapping) else low, math.inf if isinstance(high, Mapping) else high


def signed(value: Any, digits: int = 4) -> str:
    """Like `numbers`, with a plus sign before a number above zero."""
    text = numbers(value, digits)
    return f"+{text}" if isinstance(value, int | float) and math.isfinite(value) and value > 0 else text


def seconds(value: Any) -> str:
    """A length of time: "0.42 s", "38 s", "6.5 min", "2.25 h"; what is undefined says so."""
    if not isinstance(value, int | float):
        return numbers(value)
    if value == 0:
        return "0 s"
    if value < 100:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.3g} min" if value < 6000 else f"{value / 3600:,.3g} h"


def size(value: Any) -> str:
    """Bytes: "412 MB", "1.3 GB"; what is undefined says so."""
    if not isinstance(value, int | float):
        return numbers(value)
    return f"{value / 1e6:.3g} MB" if value < 1e9 else f"{value / 1e9:.3g} GB"


def is_number(value: Any) -> bool:
    """True for a finite number; False for what is undefined, missing or text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count(number: int, noun: str) -> str:
    """Such as "1 pair", "2 pairs", "1,200 pairs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# --------------------------------------------------------------------------------------------------- of a verdict


def won(look: Mapping[str, Any], pairs: int) -> str:
    """In how many of the pairs the treatment was better; undefined where a pair broke, as its effect is."""
    return numbers(look["effect"]) if isinstance(look["effect"], Mapping) else f"{look['wins']} of {pairs}"


def bound(p: Any) -> str:
    """A p-value, which is known to be at most so much: "≤ 0.02"."""
    return f"≤ {numbers(p, 3)}" if is_number(p) else numbers(p)


def used(task: Mapping[str, Any]) -> str:
    """Pairs looked at, of those planned: "5 of 10"; "5" where no maximum was declared."""
    return f"{task['pairs']} of {task['planned']}" if is_number(task["planned"]) else str(task["pairs"])


def spared(saved: Mapping[str, Any]) -> str:
    """What an early decision spared: "9 trials, about 21 s of device time"; "nothing" where it took every pair."""
    if isinstance(saved["trials"], Mapping):
        return numbers(saved["trials"])
    if not saved["trials"]:
        return "nothing"
    parts = [count(saved["trials"], "trial")]
    if is_number(saved["seconds"]):
        parts.append(f"about {seconds(saved['seconds'])} of device time")
    if is_number(saved["money"]):
        parts.append(f"{numbers(saved['money'], 3)} in money")
    return ", ".join(parts)


def costs(cost: Mapping[str, Any]) -> str:
    """What both arms cost in device-seconds, and how many times the control's the treatment's is."""
    return f"{seconds(cost['control'])} → {seconds(cost['treatment'])}{_times(cost['ratio'])}"


def peaks(memory: Mapping[str, Any]) -> str:
    """Peak memory of both arms, or why it is not known."""
    sides = memory["control"], memory["treatment"]
    if not any(is_number(each) for each in sides):
        return numbers(memory["treatment"])
    shown = [size(each) if is_number(each) else f"({each['undefined']})" for each in sides]
    return f"{' → '.join(shown)}{_times(memory['ratio'])}"


def _times(ratio: Any) -> str:
    return f" (×{numbers(ratio, 3)})" if is_number(ratio) else ""


def place(record: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """Where a task's outcome was seen, to stand behind it: "on dev" for a support that new data did not confirm."""
    seen = task["outcome"] == "supported" and task["new_data"] is None and record["new_data"] != "none"
    return " on dev" if seen else ""


def verdict_rows(record: Mapping[str, Any], digits: int = 4) -> list[dict[str, str]]:
    """A verdict's tasks as rows of plain text; a task confirmed on new data has a second row for them.

    Where the average over tasks decides, its rows come last, as task "average". digits: see `numbers`.
    """
    rows = []
    for name in record["order"]:
        task = record["tasks"][name]
        rows.append(_row(name, "dev", task, task, digits) | {"cost": costs(task["cost"]), "place": place(record, task)})
        if task["new_data"] is not None:
            rows.append(_row(name, "new data", task, task["new_data"], digits))
    whole = record.get("average")
    if whole:
        unknown = {"metric": "scale", "control": None, "treatment": None, "wins": None, "margin": None}
        first = next(iter(record["tasks"].values()))
        for split, seen in (("dev", whole), ("new data", whole.get("new_data"))):
            if seen is not None:
                task = {**unknown, **{part: first[part] for part in ("pairs", "planned", "saved")}}
                rows.append(_row("average", split, task, {**unknown, **seen}, digits))
    return rows


def _row(name: str, split: str, task: Mapping[str, Any], seen: Mapping[str, Any], digits: int) -> dict[str, str]:
    def told(value: Any) -> str:
        return "" if value is None else numbers(value, digits)

    return {
        "task": name,
        "split": split,
        "metric": task["metric"],
        "control": told(seen["control"]),
        "treatment": told(seen["treatment"]),
        "effect": signed(seen["effect"], digits),
        "interval": interval(seen["interval"], digits),
        "margin": told(task["margin"]),
        "p": bound(seen["p"]),
        "wins": "" if seen["wins"] is None else won(seen, task["pairs"]),
        "pairs": used(task) if split == "dev" else str(task["pairs"]),
        "outcome": seen["outcome"],
        "place": "",
        "saved": spared(task["saved"]) if split == "dev" else "",
        "cost": "",
    }
