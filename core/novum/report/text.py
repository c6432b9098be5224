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


def numbers(value: Any) -> str:
    """A stored number for a person, with 3 to 4 significant digits; an interval as "low … high".

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
        return " … ".join(numbers(each) for each in value)
    return _float(float(value))


def _float(value: float) -> str:
    if not math.isfinite(value):
        return f"undefined, because it came out as {value}"
    if value == 0:
        return "0"
    text = f"{value:.4g}" if abs(value) >= 0.1 else f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(float(text)) < 1e9 else text


def signed(value: Any) -> str:
    """Like `numbers`, with a plus sign before a number above zero."""
    text = numbers(value)
    return f"+{text}" if isinstance(value, int | float) and math.isfinite(value) and value > 0 else text


def seconds(value: Any) -> str:
    """A length of time: "0.42 s", "38 s", "6.5 min", "2.25 h"; what is undefined says so."""
    if not isinstance(value, int | float):
        return numbers(value)
    if value < 100:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.3g} min" if value < 6000 else f"{value / 3600:,.3g} h"


def is_number(value: Any) -> bool:
    """True for a finite number; False for what is undefined, missing or text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def won(look: Mapping[str, Any], pairs: int) -> str:
    """In how many of the pairs the treatment was better; undefined where a pair broke, as its effect is."""
    return numbers(look["effect"]) if isinstance(look["effect"], Mapping) else f"{look['wins']} of {pairs}"


def verdict_rows(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """A verdict's tasks as rows of plain text; a task confirmed on new data has a second row for them."""
    rows = []
    for name, task in record["tasks"].items():
        looks = [("dev", task, task["cost"])]
        if task["new_data"] is not None:
            looks.append(("new data", task["new_data"], None))
        for split, seen, cost in looks:
            rows.append(
                {
                    "task": name,
                    "split": split,
                    "metric": task["metric"],
                    "control": numbers(seen["control"]),
                    "treatment": numbers(seen["treatment"]),
                    "effect": signed(seen["effect"]),
                    "interval": numbers(seen["interval"]),
                    "margin": numbers(task["margin"]),
                    "p": numbers(seen["p"]),
                    "wins": won(seen, task["pairs"]),
                    "outcome": seen["outcome"] if split == "new data" else task["outcome"],
                    "cost": "" if cost is None else costs(cost),
                }
            )
    return rows


def costs(cost: Mapping[str, Any]) -> str:
    """What both arms cost in device-seconds, and how many times the control's the treatment's is."""
    ratio = f" (×{numbers(cost['ratio'])})" if is_number(cost["ratio"]) else ""
    return f"{seconds(cost['control'])} → {seconds(cost['treatment'])}{ratio}"
