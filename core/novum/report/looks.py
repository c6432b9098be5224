"""How the looks went, as inline SVG: the effect and its interval at each look, until one decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from novum.report.markup import Markup, element
from novum.report.svg import LEFT, WIDTH, fixed, gridline, plot, px, span, ticks, title
from novum.report.text import count, ends, interval, signed

TOP, BOTTOM, RIGHT = 26, 226, WIDTH - 12
ROOM = 64
"""Units that words need within the part that was spared."""


def looks(
    seen: Sequence[Mapping[str, Any]],
    outcome: str,
    margins: Sequence[float],
    used: int,
    planned: int | None,
    unit: str,
    *,
    decided: bool,
) -> Markup | None:
    """Effect over pairs, with each look's interval; the last look is in the outcome's colour. None without a look.

    seen: {"pairs", "effect", "interval"} in order. margins: the effects that the intervals are held against. used:
    pairs that were needed, which can be more where another test decides. planned: the last look of the plan, None where
    no maximum was declared. decided: whether the last look ended it. An open end, and one far outside, runs to the edge
    and has no cap.
    """
    if not seen:
        return None
    first, last = int(seen[0]["pairs"]), int(seen[-1]["pairs"])
    most = max(planned or 0, last, used, first + 1)
    low, high = _range(seen, margins)

    def x(pairs: float) -> float:
        return LEFT + (RIGHT - LEFT) * (pairs - first + 0.5) / (most - first + 1)

    def y(value: float) -> float:
        shown = min(max(value, low), high)
        return BOTTOM - (BOTTOM - TOP) * (shown - low) / (high - low)

    drawn = []
    if planned is not None and used < most:
        drawn += _spared(x(max(used, last) + 0.5))
    upwards = ticks(low, high, 4)
    for at, words in zip(upwards, fixed(upwards), strict=True):
        drawn.append(element("line", x1=LEFT, x2=RIGHT, y1=px(y(at)), y2=px(y(at)), class_="grid"))
        drawn.append(element("text", words, x=LEFT - 8, y=px(y(at) + 4), class_="tick end"))
    drawn += [gridline(x(at), BOTTOM, BOTTOM + 4, f"{at:.0f}") for at in _whole(first, most)]
    drawn.append(_across(y(0.0), "zero"))
    drawn += [_across(y(margin), "margin") for margin in margins if margin]
    half = min(6.0, 0.3 * (x(first + 1) - x(first)))
    ending = outcome if decided else "none"
    for at, look in enumerate(seen):
        decides = at == len(seen) - 1
        drawn.append(_look(look, x(look["pairs"]), y, (low, high), half, ending if decides else "none", decides))
    drawn.append(element("text", f"effect in {unit}", x=2, y=12, class_="label"))
    drawn.append(element("text", "pairs", x=px((LEFT + RIGHT) / 2), y=BOTTOM + 36, class_="label middle"))
    ended = f"{outcome} after {count(last, 'pair')}" if decided else f"open after {count(last, 'pair')}"
    return plot(f"{count(len(seen), 'look')} at the effect, the last with its interval: {ended}", BOTTOM + 44, drawn)


def _range(seen: Sequence[Mapping[str, Any]], margins: Sequence[float]) -> tuple[float, float]:
    """Every effect, every margin and the last look's whole interval; earlier intervals as far as half of that again."""
    needed = [0.0, *margins, *(look["effect"] for look in seen)]
    needed += [end for end in ends(seen[-1]["interval"]) or () if math.isfinite(end)]
    low, high = span(needed, 0.1)
    others = [end for look in seen for end in ends(look["interval"]) or () if math.isfinite(end)]
    room = 0.5 * (high - low)
    near = [end for end in others if low - room <= end <= high + room]
    return span([*needed, *near], 0.06)


def _whole(first: int, most: int) -> list[float]:
    """Ticks that are whole pairs: every pair where there is room."""
    if most - first <= 10:
        return [float(at) for at in range(first, most + 1)]
    return [at for at in ticks(first, most, 6) if at == round(at)]


def _spared(left: float) -> list[Markup]:
    zone = element("rect", x=px(left), y=TOP, width=px(RIGHT - left), height=BOTTOM - TOP, class_="small")
    words = element("text", "spared", x=px((left + RIGHT) / 2), y=TOP + 16, class_="note middle")
    return [zone, words] if RIGHT - left >= ROOM else [zone]


def _across(height: float, kind: str) -> Markup:
    return element("line", x1=LEFT, x2=RIGHT, y1=px(height), y2=px(height), class_=kind)


def _look(
    look: Mapping[str, Any],
    x: float,
    y: Any,
    edges: tuple[float, float],
    half: float,
    tone: str,
    decides: bool,
) -> Markup:
    parts = [title(f"{count(look['pairs'], 'pair')}: {signed(look['effect'])} ({interval(look['interval'])})")]
    found = ends(look["interval"])
    if found is not None:
        parts.append(element("line", x1=px(x), x2=px(x), y1=px(y(found[0])), y2=px(y(found[1])), class_="interval"))
        parts += [
            element("line", x1=px(x - half), x2=px(x + half), y1=px(y(end)), y2=px(y(end)), class_="cap")
            for end in found
            if edges[0] <= end <= edges[1]
        ]
    parts.append(element("circle", cx=px(x), cy=px(y(look["effect"])), r=6 if decides else 4, class_="point"))
    return element("g", *parts, class_=f"look is-{tone}")
