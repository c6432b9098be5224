"""Plots as inline SVG: no script, no library. Colours and fonts come from classes (see `style`).

Two kinds: `effects` is as wide as its place, with positions in percent, so that its text keeps its size; the others,
and those in `looks`, have a fixed grid of 420 units and are set side by side or one below the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from novum.report.markup import Markup, element, joined
from novum.report.text import is_number, numbers, signed

WIDTH = 420
"""Units across a plot of the second kind; at its full size a unit is a pixel."""
LEFT = 58
"""Where the plotted area begins; axis labels stand before it."""
SIDES = ("control", "treatment")
KNOWN = ("done", "given")
"""States of a side that has a number: of a trial, or of the bar that stands for the control."""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within low … high, roughly `about` of them."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    places = max(0, 1 - math.floor(math.log10(step)))
    return [round(at * step, places) for at in range(first, last + 1)]


def fixed(values: Sequence[float], *, plus: bool = False, places: int | None = None) -> list[str]:
    """Numbers that stand below or beside each other, all with the same decimals; None: as many as they have."""
    if places is None:
        places = decimals(values)
    if places > 9 or max((abs(value) for value in values), default=0.0) >= 1e9:
        return [signed(value) if plus else numbers(value) for value in values]
    rounded = [round(value, places) + 0.0 for value in values]  # no negative zero
    return [f"{value:{'+' if plus and value else ''},.{places}f}" for value in rounded]


def decimals(values: Sequence[float], digits: int = 0) -> int:
    """How many decimals these numbers have, at most twelve; with `digits`, no more than show so many significant
    digits of the largest.
    """
    places = max((len(f"{value:.12f}".rstrip("0").partition(".")[2]) for value in values), default=0)
    largest = max((abs(value) for value in values), default=0.0)
    return min(places, max(0, digits - 1 - math.floor(math.log10(largest)))) if digits and largest > 0 else places


def span(values: Sequence[float], pad: float = 0.06) -> tuple[float, float]:
    """Ends of an axis that shows these values with some room; never empty."""
    low, high = min(values), max(values)
    room = (high - low) * pad or max(abs(high) * 0.05, 1e-3)
    return low - room, high + room


def px(value: float) -> str:
    """A position or length, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def title(text: str) -> Markup:
    """What shows on hovering."""
    return element("title", text)


# --------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True)
class Mark:
    """An effect with its interval. point, low, high: None where undefined; `told` says the numbers, or why not. An end
    that is open is infinite, and drawn to the edge.

    outcome: colours it. confirms: True for new data, drawn as a diamond.
    """

    outcome: str
    point: float | None
    low: float | None
    high: float | None
    told: str
    confirms: bool = False


@dataclass(frozen=True)
class Lane:
    """One task: its marks, from top to bottom, and the least effect that counts. head: what stands above it."""

    name: str
    marks: tuple[Mark, ...]
    margin: float
    head: Markup


def effects(lanes: Sequence[Lane], axis: str) -> Markup:
    """Points, intervals, zero line and margin of each lane, above one shared axis."""
    shown = [value for lane in lanes for mark in lane.marks for value in (mark.point, mark.low, mark.high)]
    margins = [side * lane.margin for lane in lanes for side in (1, -1)]
    low, high = span([0.0, *margins, *(value for value in shown if value is not None and math.isfinite(value))], 0.09)

    def x(value: float) -> str:
        return f"{px(100 * (min(max(value, low), high) - low) / (high - low))}%"

    at = ticks(low, high, 5)
    rows = [joined(lane.head, _lane(lane, x, [x(tick) for tick in at])) for lane in lanes]
    labels = [
        element("text", words, x=x(tick), y=14, class_="tick middle") for tick, words in zip(at, fixed(at), strict=True)
    ]
    return element(
        "div",
        element("div", element("span", "← treatment worse"), element("span", "treatment better →"), class_="ends"),
        *rows,
        element("svg", *labels, width="100%", height=20, class_="axis", aria_hidden="true"),
        element("p", axis, class_="axis-label"),
        class_="effects",
    )


def _lane(lane: Lane, x: Callable[[float], str], grid: Sequence[str]) -> Markup:
    drawn = [_upright(at, "grid") for at in grid]
    if lane.margin > 0:
        left, right = (float(x(side * lane.margin)[:-1]) for side in (-1, 1))
        zone = element("rect", x=f"{px(left)}%", y=0, width=f"{px(right - left)}%", height="100%", class_="small")
        drawn = [zone, *drawn, _upright(x(lane.margin), "margin")]
    drawn.append(_upright(x(0), "zero"))
    drawn += [_mark(mark, x, 17 + 24 * at) for at, mark in enumerate(lane.marks)]
    said = f"{lane.name}: {'; '.join(mark.told for mark in lane.marks)}"
    height = 10 + 24 * len(lane.marks)
    return element("svg", title(said), *drawn, width="100%", height=height, class_="lane", role="img", aria_label=said)


def _mark(mark: Mark, x: Callable[[float], str], y: int) -> Markup:
    drawn = []
    if mark.low is not None and mark.high is not None:
        drawn.append(element("line", x1=x(mark.low), x2=x(mark.high), y1=y, y2=y, class_="interval"))
        drawn += [
            element("line", x1=x(end), x2=x(end), y1=y - 6, y2=y + 6, class_="cap")
            for end in (mark.low, mark.high)
            if math.isfinite(end)
        ]
    if mark.point is None:
        drawn.append(element("text", "undefined", x="50%", y=y + 5, class_="note middle"))
    elif mark.confirms:
        diamond = element("path", d="M0,-8 L8,0 L0,8 L-8,0 Z", class_="point")
        drawn.append(element("svg", diamond, x=x(mark.point), y=y, overflow="visible"))
    else:
        drawn.append(element("circle", cx=x(mark.point), cy=y, r=6, class_="point"))
    return element("g", *drawn, class_=f"is-{mark.outcome}")


def _upright(x: str, kind: str) -> Markup:
    return element("line", x1=x, x2=x, y1=0, y2="100%", class_=kind)


# ----------------------------------------------------------------------------------------------------------- pairs


def pairs(rows: Sequence[Mapping[str, Any]], metric: Mapping[str, Any], seen: str) -> Markup:
    """A line per seed from the control's score to the treatment's.

    rows: pairs as `novum.decide` takes them. seen: where, such as "on dev". A trial without a number (diverged,
    undefined) is a cross in a gutter of its own, at the side of worse, labelled with the worst value that it counts as.
    """
    sign = 1.0 if metric["direction"] == "max" else -1.0
    scores = [float(row[side]["value"]) for row in rows for side in SIDES if row[side]["state"] in KNOWN]
    lost = any(row[side]["state"] not in KNOWN for row in rows for side in SIDES)
    step = 22 if len(rows) <= 12 else max(7, 264 // len(rows))
    left, right, top = LEFT, WIDTH - 74, 22
    bottom = top + step * len(rows) + 4
    low, high = span(scores or [0.0, 1.0])
    inner = [left + 44.0, float(right)] if lost and sign > 0 else [float(left), right - 44.0 if lost else float(right)]
    gutter = left + 16.0 if sign > 0 else right - 16.0

    def x(side: Mapping[str, Any]) -> float:
        if side["state"] not in KNOWN:
            return gutter
        return inner[0] + (inner[1] - inner[0]) * (float(side["value"]) - low) / (high - low)

    upright = ticks(low, high, 4)
    drawn = [
        gridline(inner[0] + (inner[1] - inner[0]) * (at - low) / (high - low), top, bottom, words)
        for at, words in zip(upright, fixed(upright), strict=True)
    ]
    if lost:
        edge = gutter + 22 * sign
        drawn.append(element("line", x1=px(edge), x2=px(edge), y1=top - 6, y2=bottom, class_="break"))
        drawn.append(element("text", numbers(metric["worst"]), x=px(gutter), y=bottom + 15, class_="tick middle"))
    drawn.append(element("text", "better by", x=WIDTH - 2, y=12, class_="tick end"))
    gains = [sign * (_counted(row["treatment"], metric) - _counted(row["control"], metric)) for row in rows]
    whole = [gain for row, gain in zip(rows, gains, strict=True) if all(row[side]["state"] in KNOWN for side in SIDES)]
    told = fixed(gains, plus=True, places=decimals(whole, 3))  # a worst value must not round the others away
    for at, row in enumerate(rows):
        drawn.append(_pair(row, metric, x, top + step * (at + 0.5), gains[at], told[at], tall=step >= 14))
    words = f"{metric['name']} {seen}, {'higher' if sign > 0 else 'lower'} is better"
    if lost:
        words += f"; × counts as {numbers(metric['worst'])}"
    drawn.append(element("text", words, x=px((left + right) / 2), y=bottom + 34, class_="label middle"))
    name = f"Each seed's {metric['name']} {seen}: control and treatment"
    return plot(name, bottom + 42, drawn)


def _counted(side: Mapping[str, Any], metric: Mapping[str, Any]) -> float:
    return float(side["value"] if side["state"] in KNOWN else metric["worst"])


def _pair(
    row: Mapping[str, Any],
    metric: Mapping[str, Any],
    x: Callable[[Mapping[str, Any]], float],
    y: float,
    gain: float,
    told: str,
    *,
    tall: bool,
) -> Markup:
    kind = "win" if gain > 0 else "loss" if gain < 0 else "tie"
    ends = {side: x(row[side]) for side in SIDES}
    said = "; ".join(f"{side} {_told(row[side], metric)}" for side in SIDES)
    parts = [
        title(f"Seed {row['index']}: {said}; better by {told}"),
        element("line", x1=px(ends["control"]), x2=px(ends["treatment"]), y1=px(y), y2=px(y), class_="link"),
    ]
    for side in SIDES:
        shape = (
            element("circle", cx=px(ends[side]), cy=px(y), r=4.5, class_=f"dot {side}")
            if row[side]["state"] in KNOWN
            else element("path", d=f"M{px(ends[side] - 4)},{px(y - 4)} l8,8 m0,-8 l-8,8", class_=f"cross {side}")
        )
        parts.append(shape)
    if tall:
        parts.append(element("text", f"seed {row['index']}", x=LEFT - 10, y=px(y + 4), class_="tick end"))
        parts.append(element("text", told, x=WIDTH - 2, y=px(y + 4), class_="value end"))
    return element("g", *parts, class_=f"pair {kind}")


def _told(side: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    if side["state"] in KNOWN:
        return numbers(side["value"])
    return f"{side['state']}, {side['because']}, counted as {numbers(metric['worst'])}"


# ---------------------------------------------------------------------------------------------------------- curves

Curve = Sequence[tuple[float, float]]
Scale = Callable[[float], float]


def curves(series: Mapping[str, Sequence[Curve]], metric: str, units: str) -> Markup | None:
    """Mean and range over seeds of a metric on dev, per side, over units of experience; None without a point.

    series: side → one curve per seed, (units, value) each. The k-th points of a side belong together; a curve that
    broke off counts as far as it goes.
    """
    lines = {side: _bands(found) for side, found in series.items()}
    points = [point for band in lines.values() for point in band]
    if not points:
        return None
    left, right, top, bottom = LEFT, WIDTH - 12, 26, 236
    most = max(point.units for point in points)
    low, high = span([value for point in points for value in (point.low, point.high)], 0.08)

    def x(value: float) -> float:
        return left + (right - left) * value / most

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    upwards, across = ticks(low, high, 4), ticks(0, most, 4)
    drawn = []
    for at, words in zip(upwards, fixed(upwards), strict=True):
        height = px(y(at))
        drawn.append(element("line", x1=left, x2=right, y1=height, y2=height, class_="grid"))
        drawn.append(element("text", words, x=left - 8, y=px(y(at) + 4), class_="tick end"))
    for at, words in zip(across, fixed(across), strict=True):
        where = "tick end" if x(at) > right - 8 else "tick middle"
        drawn.append(element("text", words, x=px(x(at)), y=bottom + 17, class_=where))
    drawn.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="base"))
    for side, band in lines.items():
        if band:
            drawn.append(_band(side, band, x, y))
    for side, band in lines.items():
        if band:
            drawn.append(_line(side, band, x, y))
    drawn.append(element("text", f"{metric} on dev", x=2, y=12, class_="label"))
    drawn.append(element("text", units, x=px((left + right) / 2), y=bottom + 36, class_="label middle"))
    return plot(f"Learning curves: {metric} on dev over {units}", bottom + 44, drawn)


@dataclass(frozen=True)
class _Point:
    units: float
    mean: float
    low: float
    high: float
    count: int


def _bands(found: Sequence[Curve]) -> list[_Point]:
    """The mean and range of the k-th points of several curves, for every k that one of them has."""
    bands = []
    for at in range(max((len(curve) for curve in found), default=0)):
        here = [curve[at] for curve in found if len(curve) > at]
        values = [value for _, value in here]
        units = math.fsum(used for used, _ in here) / len(here)
        bands.append(_Point(units, math.fsum(values) / len(values), min(values), max(values), len(values)))
    return bands


def _band(side: str, band: Sequence[_Point], x: Scale, y: Scale) -> Markup:
    edge = [(point.units, point.high) for point in band] + [(point.units, point.low) for point in reversed(band)]
    return element("polygon", points=_path(edge, x, y), class_=f"band {side}")


def _line(side: str, band: Sequence[_Point], x: Scale, y: Scale) -> Markup:
    dots = [
        element(
            "circle",
            title(
                f"{side} after {numbers(point.units)} units: mean {numbers(point.mean)}, "
                f"{numbers(point.low)} to {numbers(point.high)} over {point.count} seeds"
            ),
            cx=px(x(point.units)),
            cy=px(y(point.mean)),
            r=3.5,
            class_=f"dot {side}",
        )
        for point in band
    ]
    path = _path([(point.units, point.mean) for point in band], x, y)
    return element("g", element("polyline", points=path, class_=f"mean {side}"), *dots, class_="curve")


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{px(x(across))},{px(y(up))}" for across, up in points)


# ---------------------------------------------------------------------------------------------------------- shared


def gridline(x: float, top: float, bottom: float, text: str) -> Markup:
    """An upright line with its number below."""
    return joined(
        element("line", x1=px(x), x2=px(x), y1=top, y2=bottom, class_="grid"),
        element("text", text, x=px(x), y=bottom + 15, class_="tick middle"),
    )


def plot(name: str, height: float, drawn: Sequence[Markup]) -> Markup:
    """A plot of the second kind, named for those who cannot see it."""
    box = f"0 0 {WIDTH} {px(height)}"
    return element("svg", *drawn, viewBox=box, class_="plot", role="img", aria_label=name)


def curve_of(points: Sequence[Mapping[str, Any]]) -> Curve:
    """The points of a trial's curve that are numbers."""
    return [(float(point["units"]), float(point["value"])) for point in points if is_number(point["value"])]
