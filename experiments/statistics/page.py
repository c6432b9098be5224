"""The page that reports the cells: bars first, then the tables behind them."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streams
from cells import MARGIN
from laws import LAWS, SYMMETRIC
from novum.stats.design import design
from novum.stats.power import simulate

BARRED = ("normal", "t3", "laplace", "outliers", "uneven", "growing")
DESIGNS = ((3, 1), (5, 1), (10, 1), (20, 1), (20, 4))
EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0)
RULES = {
    10: ("fixed", "t 1.5", "t 1", "t 2", "sign-flip", "stand-in", "e"),
    20: ("fixed", "t 1.5", "t 1", "t 2", "sign-flip", "stand-in", "e"),
    30: ("fixed", "t 1.5", "t 1", "t 2", "e"),
}
SMALL = (0.05, 0.01, 0.005, 0.001)
STREAMS = ((1.5, 0.1), (1.0, 0.3))
NAMES = {
    "fixed": "t at N pairs, one look",
    "t 1.5": "**sequential t**",
    "t 1": "sequential t, ρ = 1",
    "t 2": "sequential t, ρ = 2",
    "sign-flip": "**sequential sign-flip**",
    "stand-in": "the stand-in for it in `novum.stats.power`",
    "e": "e-process",
    "futility": "sequential t, giving up below a chance of 10 %",
    "t": "sequential t",
    "later": "sequential t from 5 pairs on",
    "peeking": "*peeking: the fixed t at every look*",
}
SLACK = 3.2
"""Standard errors by which a simulated rate may exceed its bound: 5.5 % for 5 % at 20,000 studies."""

Found = Mapping[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Bar:
    """One promise: what was measured in its worst cell, and what is allowed."""

    what: str
    measured: str
    allowed: str
    holds: bool


# -------------------------------------------------------------------------------------------------------------- bars


def most(bound: float, studies: int) -> float:
    """The largest simulated rate that a true rate of `bound` explains."""
    return bound + SLACK * math.sqrt(bound * (1 - bound) / studies)


def _rate(what: str, cells: Iterable[Mapping[str, Any]], parts: tuple[str, ...], bound: float) -> Bar:
    every = [(cell[part], cell["studies"]) for cell in cells for part in parts]
    worst, studies = max(every, key=lambda each: each[0] - most(bound, each[1]))
    return Bar(what, _percent(worst), f"≤ {_percent(most(bound, studies))}", worst <= most(bound, studies))


def _covered(cell: Mapping[str, Any]) -> float:
    return 1 - float(cell["supported"]) - float(cell["refused"])


def _power(found: Found, pairs: int, effect: float, least: float, used: float) -> list[Bar]:
    cell = found["power", pairs, effect, "futility"]
    name = f"sequential t, N = {pairs}, effect {effect:g} sd"
    return [
        Bar(f"{name}: supported", _percent(cell["supported"]), f"≥ {_percent(least)}", cell["supported"] >= least),
        Bar(f"{name}: mean pairs", f"{cell['pairs']:.2f}", f"≤ {used:g}", cell["pairs"] <= used),
    ]


def bars(found: Found) -> list[Bar]:
    """Every promise with its worst cell."""
    both = ("supported", "refused")
    t_tests = {law: [found["errors", law, *each, "t"] for each in DESIGNS] for law in BARRED}
    made = [
        _rate(f"sequential t, {LAWS[law][0]}: wrong support or refutation", t_tests[law], both, 0.05) for law in BARRED
    ]
    margins = [found["margin", *each, "t"] for each in DESIGNS]
    made.append(_rate(f"sequential t, margin of {MARGIN:g} sd: the same", margins, both, 0.05))
    made += [
        _rate(
            f"sequential sign-flip, {LAWS[law][0]}: the same", [found["flips", law, n] for n in (5, 10, 20)], both, 0.05
        )
        for law in SYMMETRIC
    ]
    least = min(_covered(cell) for cell in [*t_tests["normal"], *margins])
    covered = 1 - most(0.1, margins[0]["studies"])  # 89.3 % at 20,000 studies
    name = "sequential t: all intervals of a study cover"
    made.append(Bar(name, _percent(least), f"≥ {_percent(covered)}", least >= covered))
    harm = [found["harm", pairs] for pairs in (5, 10, 20)]
    worst = max(cell["supported"] for cell in harm)
    made.append(Bar("sequential t, effect −0.3 sd: supported", _percent(worst), "≤ 2.0 %", worst <= 0.02))
    made += _power(found, 10, 1.5, 0.975, 6.0) + _power(found, 20, 1.0, 0.975, 10.2)
    pairs = found["power", 10, 2.0, "futility"]["pairs"]
    made.append(Bar("sequential t, N = 10, effect 2 sd: mean pairs", f"{pairs:.2f}", "≤ 5.2", pairs <= 5.2))
    refused = found["zone", 0.0]["refused"]
    name = "zone of 1 sd, N = 10, no effect: refuted or equivalent"
    made.append(Bar(name, _percent(refused), "≥ 78.0 %", refused >= 0.78))
    for shared in (False, True):
        cells = [found["stream", *each, shared, "lord++"] for each in STREAMS]
        cell = max(cells, key=lambda each: each["fdr"] - 3 * each["error"])
        allowed = streams.ALPHA + 3 * cell["error"]
        name = f"stream of {streams.LENGTH}, LORD++, {'one shared' if shared else 'fresh'} control: false discoveries"
        made.append(Bar(name, _percent(cell["fdr"]), f"≤ {_percent(allowed)}", cell["fdr"] <= allowed))
    return made


# ------------------------------------------------------------------------------------------------------------ tables


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first = [str(each) for each in head]
    lines = [first, ["---"] * len(first), *([str(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _both(cell: Mapping[str, Any]) -> str:
    return f"{100 * cell['supported']:.1f} / {100 * cell['refused']:.1f}"


def _design(pairs: int, batch: int) -> str:
    return f"N = {pairs}" + (f", batches of {batch}" if batch > 1 else "")


def _errors(found: Found) -> str:
    rows = [[LAWS[law][0], *(_both(found["errors", law, *each, "t"]) for each in DESIGNS)] for law in BARRED]
    for rule, name in (("t", f"normal, margin of {MARGIN:g} sd"), ("peeking", NAMES["peeking"])):
        rows.append([name, *(_both(found["margin", *each, rule]) for each in DESIGNS)])
    return _table(["differences", *(_design(*each) for each in DESIGNS)], rows)


def _flips(found: Found) -> str:
    rows = [[LAWS[law][0], *(_both(found["flips", law, pairs]) for pairs in (5, 10, 20))] for law in SYMMETRIC]
    return _table(["differences", *(_design(pairs, 1) for pairs in (5, 10, 20))], rows)


def _coverage(found: Found) -> str:
    rows = [
        [LAWS[law][0], *(f"{100 * _covered(found['errors', law, *each, 't']):.1f}" for each in DESIGNS)]
        for law in BARRED
    ]
    return _table(["differences", *(_design(*each) for each in DESIGNS)], rows)


def _comparison(found: Found, pairs: int) -> str:
    def cell(effect: float, rule: str) -> str:
        one = found["power", pairs, effect, rule]
        return f"{100 * one['supported']:.1f} / {one['pairs']:.1f}"

    rows = [[NAMES[rule], *(cell(effect, rule) for effect in EFFECTS)] for rule in (*RULES[pairs], "futility")]
    return _table([f"N = {pairs}", *(f"effect {effect:g} sd" for effect in EFFECTS)], rows)


def _bias(found: Found) -> str:
    def cell(pairs: int, effect: float, rule: str) -> str:
        return f"{found['power', pairs, effect, rule]['estimate'] - effect:+.2f}"

    chosen = [effect for effect in EFFECTS if effect]
    rows = [
        [f"N = {pairs}, {NAMES[rule]}", *(cell(pairs, effect, rule) for effect in chosen)]
        for pairs in RULES
        for rule in ("t 1.5", "fixed")
    ]
    return _table(["mean estimate of supported studies − effect", *(f"effect {each:g} sd" for each in chosen)], rows)


def _robustness(found: Found) -> str:
    rules = ("fixed", "peeking", "t", "later", "sign-flip")
    rows = [[LAWS[law][0], *(f"{100 * found['robust', law, rule]['supported']:.1f}" for rule in rules)] for law in LAWS]
    return _table(["differences, N = 10", *(NAMES[rule].replace("*", "") for rule in rules)], rows)


def _small(found: Found) -> str:
    rows = [
        [NAMES[rule].replace("*", ""), *(f"{100 * found['small', law, rule]['supported']:.2f}" for law in names)]
        for names in [("normal", "bimodal")]
        for rule in ("t", "sign-flip")
    ]
    return _table(["level 0.5 %, N = 10", "normal", "two points"], rows)


def _levels(found: Found) -> str:
    rows = [
        [f"N = {pairs}", *(f"{100 * found['level', level, pairs]['supported']:.1f}" for level in SMALL)]
        for pairs in (10, 20)
    ]
    return _table(["supported at 1.5 sd", *(f"α = {level:g}" for level in SMALL)], rows)


def _zone(found: Found) -> str:
    rows = []
    for effect in (0.0, 0.5, 1.0):
        cell = found["zone", effect]
        parts = [f"{100 * cell[part]:.1f}" for part in ("supported", "equivalent", "refuted", "inconclusive")]
        rows.append([f"effect {effect:g} sd", *parts, f"{cell['pairs']:.1f}"])
    head = ["zone of 1 sd, N = 10", "supported", "equivalent", "refuted", "inconclusive", "mean pairs"]
    return _table(head, rows)


def _signs() -> str:
    chances = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    rows = []
    for pairs in (10, 20, 30):
        plan = design("sequential-sign", pairs)
        cells = [simulate(plan, chance - 0.5, 1.0) for chance in chances]
        rows.append([f"N = {pairs}", *(f"{100 * each.supported:.1f} / {each.pairs:.1f}" for each in cells)])
    return _table(["sequential sign test", *(f"P(win) = {chance:g}" for chance in chances)], rows)


def _streams(found: Found) -> str:
    rows = []
    for effect, true in STREAMS:
        for shared in (False, True):
            for rule in streams.RULES:
                cell = found["stream", effect, true, shared, rule]
                name = {"lord++": "**LORD++**", "lond": "LOND"}.get(rule, rule)
                case = f"{100 * true:.0f} % true, {effect:g} sd, {'shared' if shared else 'fresh'} control"
                rate = f"{100 * cell['fdr']:.1f} ± {100 * cell['error']:.1f}"
                rows.append([case, name, rate, f"{100 * cell['power']:.0f}", f"{100 * cell['clusters']:.1f}"])
    return _table(["stream", "rule", "false-discovery rate", "true effects found", "3 or more wrong"], rows)


# -------------------------------------------------------------------------------------------------------------- page


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _opening(all_bars: list[Bar], found: Found) -> str:
    failed = [bar for bar in all_bars if not bar.holds]
    held = f"{len(all_bars) - len(failed)} of {len(all_bars)} promises hold"
    first = f"{held}." if failed else f"All {len(all_bars)} promises hold."
    told = " ".join(f"*{bar.what}* does not: {bar.measured} where {bar.allowed} is allowed." for bar in failed)
    skew = [found["robust", "collapse", rule]["supported"] for rule in ("fixed", "t", "sign-flip")]
    two = found["robust", "bimodal", "t"]["supported"]
    rest = (
        "Two things are not promised, and fail: differences that take two values break the t-test "
        f"({_percent(two)} wrong support at a level of 5 %), for which the sign-flip test is there; and strong skew "
        f"breaks every test of the mean (10 % collapses: {_percent(min(skew))} to {_percent(max(skew))})."
    )
    grows = (
        "A spread that grows with the number of the pair is a hard case that seeds cannot make, being exchangeable; "
        "the sign-flip test keeps its level there, too."
    )
    grown = any("growing" in bar.what for bar in failed)
    return " ".join(part for part in (first, told, grows if grown else "", rest) if part)


def write(found: Found, seconds: float, processes: int, quick: bool) -> str:
    """The page, from every cell."""
    all_bars = bars(found)
    versions = {name: importlib.metadata.version(name) for name in ("novum", "numpy", "scipy")}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    words = " ".join(sys.argv[1:])
    studies = found["errors", "normal", 10, 1, "t"]["studies"]
    flips = found["flips", "normal", 20]["studies"]
    count = found["stream", *STREAMS[0], False, "lord++"]["studies"]
    rows = [[bar.what, bar.measured, bar.allowed, "yes" if bar.holds else "**no**"] for bar in all_bars]
    parts = [
        "# The sequential tests, simulated",
        _opening(all_bars, found),
        f"Simulated on {datetime.now(UTC):%d %B %Y} in {seconds / 60:.0f} minutes ({processes} processes; "
        f"{_cores()} cores, {_processor()}; Python {platform.python_version()}, {told}):",
        f"```sh\npython experiments/statistics/protocol.py {words}\n```",
        f"A cell holds {studies:,} studies, of the sign-flip test at N = 20 {flips:,}, of streams {count:,}. Numbers "
        "are percentages unless said; sd is the standard deviation of the paired differences; the level is 5 % on "
        f"either side. A rate may exceed its bound by {SLACK} standard errors of the simulation. Where errors are "
        "counted, designs never give up, which is the harder case for them.",
        "## Promises",
        _table(["promise, in its worst cell", "measured", "allowed", "holds"], rows),
        "## Wrong support / wrong refutation, sequential t",
        "The true effect is exactly the margin.",
        _errors(found),
        "## The same, sequential sign-flip",
        _flips(found),
        "## Studies all of whose intervals cover the true effect, sequential t",
        "Nominal: 90.",
        _coverage(found),
        "## Supported / mean pairs",
        "No margin. All but the last row go on until an answer or the last pair; the last row is the default.",
        *(_comparison(found, pairs) for pairs in RULES),
        _signs(),
        "The sign test is computed, not simulated.",
        "## Where laws are not kind",
        "Wrong support. The effect is 0; the last two laws are skewed, and no test of the mean is safe.",
        _robustness(found),
        _small(found),
        "## Small levels, as streams ask for",
        _levels(found),
        "## A zone",
        _zone(found),
        "## What early stopping does to the estimate",
        "In standard deviations. A fixed test flatters too: only what came out large is supported.",
        _bias(found),
        "## Streams",
        f"{streams.LENGTH} hypotheses one after the other, N = {streams.PAIRS}; false-discovery rate ± standard error.",
        _streams(found),
    ]
    if quick:
        parts.insert(1, "**A quick run with a tenth of the studies.**")
    return "\n\n".join(parts) + "\n"
