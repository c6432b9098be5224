"""Numbers of a verdict: nine significant digits, and for a sentence three."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Undefined = dict[str, str]


def undefined(because: str) -> Undefined:
    """What stands for a number that there is not (design law 6)."""
    return {"undefined": because}


def sig(value: float) -> float:
    """Rounded to the nine significant digits of a verdict."""
    return float(f"{value:.9g}")


def show(value: float) -> str:
    """A number in a sentence."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def mean(values: Sequence[float]) -> Any:
    """The exact mean; undefined for no values."""
    return sig(math.fsum(values) / len(values)) if values else undefined("no pair has ended")


def ratio(above: float, below: float) -> Any:
    """Above / below; undefined where the control cost nothing."""
    return sig(above / below) if below > 0 else undefined("the control cost nothing")


def correlation(control: Sequence[float], treatment: Sequence[float]) -> Any:
    """Pearson's correlation over pairs: what pairing by seed achieved."""
    if len(control) < 3:
        return undefined("fewer than three pairs")
    means = math.fsum(control) / len(control), math.fsum(treatment) / len(treatment)
    a = [value - means[0] for value in control]
    b = [value - means[1] for value in treatment]
    spreads = math.fsum(x * x for x in a), math.fsum(y * y for y in b)
    sizes = math.fsum(x * x for x in control), math.fsum(y * y for y in treatment)
    norm = math.sqrt(spreads[0] * spreads[1])
    if any(spread <= 1e-18 * size for spread, size in zip(spreads, sizes, strict=True)):
        return undefined("one arm does not vary over seeds")
    return sig(math.fsum(x * y for x, y in zip(a, b, strict=True)) / norm)


def interval(low: float | None, high: float | None) -> list[Any]:
    """Both ends of an interval; an end that no look can give yet is undefined: the interval is open there."""
    return [undefined("it is open on this side") if end is None else sig(end) for end in (low, high)]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def better(control: float, treatment: float, metric: Mapping[str, Any]) -> bool:
    """Whether the treatment's value is the better one."""
    return treatment > control if metric["direction"] == "max" else treatment < control
