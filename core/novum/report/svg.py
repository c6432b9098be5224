"""Plots as inline SVG: no script, no library. Colours and fonts come from classes (see `style`).

Two kinds: `effects` is as wide as its place, with positions in percent, so that its text keeps its size; the others
have a fixed grid of 420 units and are set side by side or one below the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from novum.report.markup import Markup, element, joined
from novum.report.text import is_number, numbers, signed

WIDTH = 420
"""Units across a plot of the second kind; at its full size a unit is a pixel."""
SIDES = ("control", "treatment")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within low … high, roughly `about` of them."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{at * step:.12g}") for at in range(first, last + 1)]


def span(values: Sequence[float], pad: float = 0.06) -> tuple[float, float]:
    """Ends of an axis that shows these values with some room; never empty."""
    low, high = min(values), max(values)
    room = (high - low) * pad or max(abs(high) * 0.05, 1e-3)
    return low - room, high + room


def _at(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _title(text: str) -> Markup:
    return element("title", text)


# --------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True)
class Lane:
    """One interval: a task on one split.

    point, low, high: None where undefined; then `told` says why. margin: least effect that counts. outcome: colours
    it. told: the numbers in words. confirms: True for new data, drawn as a diamond.
    """

    name: str
    outcome: str
    point: float | None
    low: float | None
    high: float | None
    margin: float
    told: str
    head: Markup | None = None
    confirms: bool = False


def effects(lanes: Sequence[Lane], axis: str) -> Markup:
    """Point, interval, zero line and margin of each lane, above one shared axis."""
    shown = [value for lane in lanes for value in (lane.point, lane.low, lane.high) if value is not None]
    low, high = span([0.0, *shown, *(side * lane.margin for lane in lanes for side in (1, -1))], 0.09)

    def x(value: float) -> str:
        return f"{_at(100 * (value - low) / (high - low))}%"

    marks = ticks(low, high, 5)
    rows = [joined(lane.head, _lane(lane, low, high, marks)) for lane in lanes]
    labels = [element("text", numbers(mark), x=x(mark), y=14, class_="tick middle") for mark in marks]
    return element(
        "div",
        element("div", element("span", "← treatment worse"), element("span", "treatment better →"), class_="ends"),
        *rows,
        element("svg", *labels, width="100%", height=20, class_="axis", aria_hidden="true"),
        element("p", axis, class_="axis-label"),
        class_="effects",
    )


def _lane(lane: Lane, low: float, high: float, marks: Sequence[float]) -> Markup:
    def x(value: float) -> str:
        return f"{_at(100 * (value - low) / (high - low))}%"

    drawn = [element("line", x1=x(mark), x2=x(mark), y1=0, y2="100%", class_="grid") for mark in marks]
    if lane.margin > 0:
        width = f"{_at(100 * 2 * lane.margin / (high - low))}%"
        drawn.insert(0, element("rect", x=x(-lane.margin), y=0, width=width, height="100%", class_="small"))
        drawn.append(element("line", x1=x(lane.margin), x2=x(lane.margin), y1=0, y2="100%", class_="margin"))
    drawn.append(element("line", x1=x(0), x2=x(0), y1=0, y2="100%", class_="zero"))
    if lane.low is not None and lane.high is not None:
        drawn.append(element("line", x1=x(lane.low), x2=x(lane.high), y1=17, y2=17, class_="interval"))
        drawn += [element("line", x1=x(end), x2=x(end), y1=11, y2=23, class_="cap") for end in (lane.low, lane.high)]
    if lane.point is not None:
        shape = (
            element("path", d="M0,-8 L8,0 L0,8 L-8,0 Z", class_="point")
            if lane.confirms
            else element("circle", r=6.5, class_="point")
        )
        drawn.append(element("svg", shape, x=x(lane.point), y=17, overflow="visible"))
    else:
        drawn.append(element("text", lane.told, x="50%", y=22, class_="note middle"))
    said = f"{lane.name}: {lane.told}"
    return element(
        "svg",
        _title(said),
        *drawn,
        width="100%",
        height=34,
        class_=f"lane is-{lane.outcome}",
        role="img",
        aria_label=said,
    )


# ----------------------------------------------------------------------------------------------------------- pairs


def pairs(rows: Sequence[Mapping[str, Any]], metric: Mapping[str, Any], split: str) -> Markup:
    """A line per seed from the control's score to the treatment's.

    rows: pairs as `novum.decide` takes them. A trial without a number (diverged, undefined) is a cross in a gutter of
    its own, at the side of worse, labelled with the worst value that it counts as.
    """
    sign = 1.0 if metric["direction"] == "max" else -1.0
    scores = [float(row[side]["value"]) for row in rows for side in SIDES if row[side]["state"] == "done"]
    lost = any(row[side]["state"] != "done" for row in rows for side in SIDES)
    step = 22 if len(rows) <= 12 else max(7, 264 // len(rows))
    left, right, top = 58, WIDTH - 74, 22
    bottom = top + step * len(rows) + 4
    low, high = span(scores or [0.0, 1.0])
    inner = [left + 44.0, float(right)] if lost and sign > 0 else [float(left), right - 44.0 if lost else float(right)]
    gutter = left + 16.0 if sign > 0 else right - 16.0

    def x(side: Mapping[str, Any]) -> float:
        if side["state"] != "done":
            return gutter
        return inner[0] + (inner[1] - inner[0]) * (float(side["value"]) - low) / (high - low)

    drawn = [_grid(inner[0] + (inner[1] - inner[0]) * (at - low) / (high - low), top, bottom, numbers(at))
             for at in ticks(low, high, 4)]  # fmt: skip
    if lost:
        edge = gutter + 22 * sign
        drawn.append(element("line", x1=_at(edge), x2=_at(edge), y1=top - 6, y2=bottom, class_="break"))
        drawn.append(element("text", numbers(metric["worst"]), x=_at(gutter), y=bottom + 15, class_="tick middle"))
    drawn.append(element("text", "better by", x=WIDTH - 2, y=12, class_="tick end"))
    for at, row in enumerate(rows):
        drawn.append(_pair(row, metric, x, top + step * (at + 0.5), (left, WIDTH - 2) if step >= 14 else None, sign))
    words = f"{metric['name']} on {split}, {'higher' if sign > 0 else 'lower'} is better"
    if lost:
        words += f"; × counts as {numbers(metric['worst'])}"
    drawn.append(element("text", words, x=_at((left + right) / 2), y=bottom + 34, class_="label middle"))
    name = f"Each seed's {metric['name']} on {split}: control and treatment"
    return _plot(name, bottom + 42, drawn)


def _pair(
    row: Mapping[str, Any], metric: Mapping[str, Any], x: Any, y: float, words: tuple[float, float] | None, sign: float
) -> Markup:
    values = {side: float(row[side]["value"] if row[side]["state"] == "done" else metric["worst"]) for side in SIDES}
    gain = sign * (values["treatment"] - values["control"])
    kind = "win" if gain > 0 else "loss" if gain < 0 else "tie"
    ends = {side: _at(x(row[side])) for side in SIDES}
    told = "; ".join(f"{side} {_told(row[side], metric)}" for side in SIDES)
    parts = [
        _title(f"Seed {row['index']}: {told}; better by {signed(gain)}"),
        element("line", x1=ends["control"], x2=ends["treatment"], y1=_at(y), y2=_at(y), class_="link"),
    ]
    for side in SIDES:
        shape = (
            element("circle", cx=ends[side], cy=_at(y), r=4.5, class_=f"dot {side}")
            if row[side]["state"] == "done"
            else element("path", d=f"M{float(ends[side]) - 4:g},{y - 4:g} l8,8 m0,-8 l-8,8", class_=f"cross {side}")
        )
        parts.append(shape)
    if words is not None:
        parts.append(element("text", f"seed {row['index']}", x=_at(words[0] - 10), y=_at(y + 4), class_="tick end"))
        parts.append(element("text", signed(gain), x=_at(words[1]), y=_at(y + 4), class_="value end"))
    return element("g", *parts, class_=f"pair {kind}")


def _told(side: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    if side["state"] == "done":
        return numbers(side["value"])
    return f"{side['state']}, {side['because']}, counted as {numbers(metric['worst'])}"


# ---------------------------------------------------------------------------------------------------------- curves

Curve = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Sequence[Curve]], metric: str, units: str) -> Markup | None:
    """Mean and range over seeds of a metric on dev, per side, over units of experience; None without a point.

    series: side → one curve per seed, (units, value) each. The k-th points of a side belong together; a curve that
    broke off counts as far as it goes.
    """
    lines = {side: _bands(found) for side, found in series.items()}
    points = [point for band in lines.values() for point in band]
    if not points:
        return None
    left, right, top, bottom = 58, WIDTH - 12, 26, 236
    most = max(point.units for point in points)
    low, high = span([value for point in points for value in (point.low, point.high)], 0.08)

    def x(value: float) -> float:
        return left + (right - left) * value / most

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    drawn = []
    for at in ticks(low, high, 4):
        height = _at(y(at))
        drawn.append(element("line", x1=left, x2=right, y1=height, y2=height, class_="grid"))
        drawn.append(element("text", numbers(at), x=left - 8, y=_at(y(at) + 4), class_="tick end"))
    for at in ticks(0, most, 4):
        where = "tick end" if x(at) > right - 8 else "tick middle"
        shown = numbers(int(at) if at == int(at) else at)
        drawn.append(element("text", shown, x=_at(x(at)), y=bottom + 17, class_=where))
    drawn.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="base"))
    for side, band in lines.items():
        if band:
            drawn.append(_band(side, band, x, y))
    for side, band in lines.items():
        if band:
            drawn.append(_line(side, band, x, y))
    drawn.append(element("text", f"{metric} on dev", x=2, y=12, class_="label"))
    drawn.append(element("text", units, x=_at((left + right) / 2), y=bottom + 36, class_="label middle"))
    return _plot(f"Learning curves: {metric} on dev over {units}", bottom + 44, drawn)


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


def _band(side: str, band: Sequence[_Point], x: Any, y: Any) -> Markup:
    edge = [(point.units, point.high) for point in band] + [(point.units, point.low) for point in reversed(band)]
    return element("polygon", points=_path(edge, x, y), class_=f"band {side}")


def _line(side: str, band: Sequence[_Point], x: Any, y: Any) -> Markup:
    dots = [
        element(
            "circle",
            _title(
                f"{side} after {numbers(point.units)} units: mean {numbers(point.mean)}, "
                f"{numbers(point.low)} to {numbers(point.high)} over {point.count} seeds"
            ),
            cx=_at(x(point.units)),
            cy=_at(y(point.mean)),
            r=3.5,
            class_=f"dot {side}",
        )
        for point in band
    ]
    path = _path([(point.units, point.mean) for point in band], x, y)
    return element("g", element("polyline", points=path, class_=f"mean {side}"), *dots, class_="curve")


def _path(points: Sequence[tuple[float, float]], x: Any, y: Any) -> str:
    return " ".join(f"{_at(x(across))},{_at(y(up))}" for across, up in points)


# ---------------------------------------------------------------------------------------------------------- shared


def _grid(x: float, top: float, bottom: float, text: str) -> Markup:
    return joined(
        element("line", x1=_at(x), x2=_at(x), y1=top, y2=bottom, class_="grid"),
        element("text", text, x=_at(x), y=bottom + 15, class_="tick middle"),
    )


def _plot(name: str, height: float, drawn: Sequence[Markup]) -> Markup:
    box = f"0 0 {WIDTH} {_at(height)}"
    return element("svg", *drawn, viewBox=box, class_="plot", role="img", aria_label=name)


def curve_of(points: Sequence[Mapping[str, Any]]) -> Curve:
    """The points of a trial's curve that are numbers."""
    return [(float(point["units"]), float(point["value"])) for point in points if is_number(point["value"])]
