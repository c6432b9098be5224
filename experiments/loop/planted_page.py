"""The part of docs/loop-results.md that is about planted levers: bars first, then the tables behind them."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import climbers
from family import FAMILIES, LEVERS, SHARED, Family
from measures import ESTIMATES, OTHERS, PACES, Cell, Number
from novum import pacing
from novum.goal import Goal

BEGIN, END = "<!-- planted: begin -->", "<!-- planted: end -->"
ELSEWHERE = ("search, gives up", "greedy")
CHANGES: Mapping[str, Mapping[str, Any]] = {
    f"as above ({climbers.PAIRS} pairs, {pacing.CANDIDATES} candidates)": {},
    "at most 12 pairs": {"pairs": 12},
    "at most 30 pairs": {"pairs": 30},
    "1 candidate: no screening": {"candidates": 1},
    "8 candidates": {"candidates": 8},
    "never gives up": {"futility": 0.0},
    "gives up below a chance of 20 %": {"futility": 0.2},
    "screened ones stay in the choice": {"keep": True},
    "stalls after 3 batches that gain nothing": {"patience": 3},
    "new data judged at 5 %": {"confirm": 0.05},
    "8 candidates that stay, new data at 5 %": {"candidates": 8, "keep": True, "confirm": 0.05},
}
"""What is changed of the loop that screens and gives up."""

Found = Mapping[tuple[Any, ...], Cell]


def elsewhere(family: Family) -> dict[str, Family]:
    """The same family in other worlds."""
    return {
        "networks share 90 % of the noise": replace(family, shared=0.9),
        "networks share 10 % of the noise": replace(family, shared=0.1),
        "1,000 levers": replace(family, levers=1000),
    }


def _percent(number: Number) -> str:
    return f"{100 * number.value:.2f} ± {100 * number.error:.2f}"


def _plain(number: Number) -> str:
    return "–" if math.isnan(number.value) else f"{number.value:.2f} ± {number.error:.2f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [first, ["---"] * len(first), *map(list, rows)])


def _budgets(found: Found) -> list[int]:
    return sorted({key[1] for key in found if key[0] == "main"})


def _methods(found: Found, budget: int) -> list[str]:
    return [each for each in (*PACES, *OTHERS) if ("main", budget, FAMILIES[0].name, each) in found]


def table(found: Found, budget: int) -> str:
    """Gain of every method on every family."""
    rows = [
        [_name(method), *(_plain(found["main", budget, family.name, method].gain) for family in FAMILIES)]
        for method in _methods(found, budget)
    ]
    return _table([f"true gain, {budget} trials", *(family.name for family in FAMILIES)], rows)


def _name(method: str) -> str:
    return f"**Novum: {method}**" if method in PACES else method


def _bars(found: Found) -> list[list[str]]:
    rows = []
    for budget in _budgets(found):
        ours = {(f, m): found["main", budget, f.name, m] for f in FAMILIES for m in PACES}
        greedy = {f: found["main", budget, f.name, "greedy"] for f in FAMILIES}
        over = [f for f in FAMILIES if greedy[f].fdr.value > 0.3]
        worst = max(((f, m) for f in over for m in PACES), key=lambda at: ours[at].fdr.value - 3 * ours[at].fdr.error)
        rate = ours[worst].fdr
        least = min(greedy[f].fdr.value for f in FAMILIES)
        told = f"{100 * least:.0f} to {100 * max(greedy[f].fdr.value for f in FAMILIES):.0f} %"
        rows.append(
            [
                f"{budget} trials: false-discovery rate, worst of {len(over)} families × {len(PACES)} loops",
                f"{_percent(rate)} %",
                f"≤ {100 * (0.05 + 3 * rate.error):.2f} %",
                _holds(rate.value <= 0.05 + 3 * rate.error),
                told,
            ]
        )
        for estimate in (ESTIMATES[0], ESTIMATES[2]):
            measured = {
                at: cell.ratio[estimate] for at, cell in ours.items() if not math.isnan(cell.ratio[estimate].value)
            }
            top = max(measured, key=lambda at: measured[at].value)
            others = [greedy[f].ratio["dev"].value for f in FAMILIES]
            rows.append(
                [
                    f"{budget} trials: claimed over true gain, {_said(estimate)}; worst: {top[1]}, {top[0].name}",
                    _plain(measured[top]),
                    "≤ 1.3",
                    _holds(measured[top].value <= 1.3),
                    f"{min(others):.2f} to {max(others):.2f}",
                ]
            )
    return rows


def _said(estimate: str) -> str:
    return {"dev": "mean at the stop", "dev, corrected": "corrected"}[estimate]


def _holds(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _rates(found: Found, budget: int) -> str:
    rows = [
        [_name(method), *(_percent(found["main", budget, family.name, method].fdr) for family in FAMILIES)]
        for method in _methods(found, budget)
    ]
    return _table([f"false-discovery rate in %, {budget} trials", *(family.name for family in FAMILIES)], rows)


def _ratios(found: Found, budget: int) -> str:
    rows = []
    for method in _methods(found, budget):
        cells = [found["main", budget, family.name, method] for family in FAMILIES]
        for estimate in ESTIMATES if method in PACES else ESTIMATES[:1]:
            named = f"{_name(method)}, {estimate}" if method in PACES else _name(method)
            rows.append([named, *(_plain(cell.ratio[estimate]) for cell in cells)])
    return _table([f"claimed over true gain, {budget} trials", *(family.name for family in FAMILIES)], rows)


def _work(found: Found, budget: int) -> str:
    rows = []
    for method in _methods(found, budget):
        cells = [found["main", budget, family.name, method] for family in FAMILIES]
        told = [
            f"{c.adopted:.2f} of {c.claims:.1f}, {c.trials:.0f} trials, {100 * c.stalls:.0f} %"
            if method in PACES
            else f"{c.adopted:.1f}, {c.trials:.0f} trials"
            for c in cells
        ]
        rows.append([_name(method), *told])
    return _table([f"adopted of claims, trials, stalled; {budget} trials", *(f.name for f in FAMILIES)], rows)


def _raised(found: Found) -> str:
    rows = []
    steps = {
        "screening, with giving up": ("search, gives up", "rules, gives up"),
        "screening, without": ("search", "rules"),
        "giving up, with screening": ("search, gives up", "search"),
        "giving up, without": ("rules, gives up", "rules"),
    }
    for budget in _budgets(found):
        for name, (more, less) in steps.items():
            told = []
            for family in FAMILIES:
                a, b = (found["main", budget, family.name, each].gain for each in (more, less))
                ratio = a.value / b.value if b.value > 0 else math.nan
                error = ratio * math.hypot(a.error / a.value, b.error / b.value) if b.value > 0 else math.nan
                told.append(f"× {ratio:.2f} ± {error:.2f}")
            rows.append([f"{name}, {budget} trials", *told])
    return _table(["true gain is multiplied by", *(family.name for family in FAMILIES)], rows)


def _pace(found: Found) -> str:
    rows = []
    for label in CHANGES:
        cells = [found["pace", label, family.name] for family in FAMILIES]
        rows.append(
            [label, *(f"{_plain(c.gain)} ({100 * c.fdr.value:.1f} %)" for c in cells)],
        )
    return _table(["true gain (false-discovery rate), 200 trials", *(family.name for family in FAMILIES)], rows)


def _elsewhere(found: Found) -> str:
    rows = []
    for label in elsewhere(FAMILIES[0]):
        for method in ELSEWHERE:
            cells = [found["elsewhere", label, family.name, method] for family in FAMILIES]
            told = [
                f"{_plain(c.gain)} ({100 * c.fdr.value:.1f} %, "
                f"{_plain(c.ratio['dev, corrected' if method in PACES else 'dev']).split(' ')[0]})"
                for c in cells
            ]
            rows.append([f"{label}: {_name(method)}", *told])
    return _table(["true gain (false-discovery rate, claimed over true)", *(f.name for f in FAMILIES)], rows)


def _opening(found: Found, bars: list[list[str]]) -> str:
    held = sum(row[3] == "yes" for row in bars)
    small = _budgets(found)[0]
    more, names = [], []
    for budget in _budgets(found):
        for family in FAMILIES:
            ours = max(found["main", budget, family.name, each].gain.value for each in PACES)
            theirs = found["main", budget, family.name, "greedy"].gain.value
            more.append(ours > theirs)
            names.append(f"{family.name}, {budget} trials ({ours:.1f} against {theirs:.1f})")
    lost = [name for name, each in zip(names, more, strict=True) if not each]
    first = FAMILIES[0].name
    tpe = found.get(("main", small, first, "Optuna"))
    told = f"{held} of {len(bars)} bars hold. What Novum's loop adopts is true; what it gains is less than what a loop "
    told += f"gains that believes everything, in {len(lost)} of {len(more)} cells: {'; '.join(lost)}. "
    told += (
        "The effects here add up and a lever that does nothing costs nothing, so that a wrong adoption is cheap, and "
        "levers are tried by the hundred: this is where greed pays. What it cannot say is which of its levers help"
    )
    if tpe is not None:
        told += (
            f"; and TPE, whose every trial moves half of the levers, gains most of all ({tpe.gain.value:.1f} on "
            f"{first}), with {100 * tpe.fdr.value:.0f} % of its levers doing nothing or harm"
        )
    return told + "."


def _default() -> str:
    """Told where a goal that does not say allows another number."""
    default = next(each.default for each in fields(Goal) if each.name == "max_seeds")
    return "" if default == climbers.PAIRS else f" (a goal that does not say allows {default})"


def write(found: Found, seconds: float, processes: int, quick: bool) -> str:
    """The part of the page, from every cell."""
    names = ["novum", "numpy", "scipy", *(["optuna"] if any("Optuna" in key for key in found) else [])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    bars, budgets = _bars(found), _budgets(found)
    loops = found["main", budgets[0], FAMILIES[0].name, "search"].loops
    few = found.get(("main", budgets[0], FAMILIES[0].name, "Optuna"))
    parts = [
        "## Planted levers",
        "**A quick run with a tenth of the loops.**" if quick else "",
        _opening(found, bars),
        f"Simulated on {datetime.now(UTC):%d %B %Y} in {seconds / 60:.0f} minutes ({processes} processes; Python "
        f"{platform.python_version()}, {versions}):",
        "```sh\nOMP_NUM_THREADS=1 python experiments/loop/planted.py --to docs/loop-results.md\n```",
        f'A family is {LEVERS} changes (levers) of a baseline; "10/60/30 at 1" says that 10 % help by one standard '
        "deviation of the paired difference, 60 % are inert and 30 % hurt by as much. An adopted lever adds its effect "
        f"to the baseline. {100 * SHARED:.0f} % of the noise is the network's, the same on new data; the rest is the "
        "items', drawn anew there. Novum's loop is as `novum loop` runs it: levels of LORD++ at 5 %, rounded down to "
        f"powers of 1 / 1.05; at most {climbers.PAIRS} pairs{_default()}, the real decisions; control trials shared "
        "until an "
        "adoption; a lever is adopted where dev and, at the same level, new data support it. It pays for observing "
        f"each baseline at {climbers.SEEDS} seeds, for screening, and keeps 20 trials or fewer for the comparison at "
        f"its end. *rules* claims levers in random order; *search* screens {pacing.CANDIDATES} by one trial each and "
        "claims the best that gained; *gives up* ends a claim once support alone is out of reach. *greedy* keeps what "
        "scored above the best so far, one trial each; *by pairs* compares at a fresh seed, two trials each; *random "
        "search* and *Optuna* (TPE) give the best configuration of all levers on and off. A loop's false-discovery "
        "rate is the share of what it adopted that does not help. Numbers are means ± one standard error over "
        f"{loops:,} loops"
        + (f" (Optuna: {few.loops}, at {budgets[0]} trials)" if few else "")
        + "; gains are in paired standard deviations.",
        "### Bars",
        _table(["bar", "measured", "allowed", "holds", "greedy"], bars),
        "### True gain at equal trials",
        *(table(found, budget) for budget in budgets),
        "### What is adopted and false",
        *(_rates(found, budget) for budget in budgets),
        "### What is promised",
        "The sum of what the adopted levers were said to be worth over what they are worth. *dev*: the mean at the "
        "stop, which is too large, as only what came out large is supported, and sooner with luck. *corrected*: "
        "`novum.stats.unbiased`, the effect that is most likely given that the test supported. The mean on *new data* "
        "is no way out: the same networks stand behind it, and it was selected too.",
        *(_ratios(found, budget) for budget in budgets),
        "### Screening and giving up",
        _raised(found),
        "### Other paces",
        f"The loop that screens and gives up, with one thing changed; {loops // 2:,} loops.",
        _pace(found),
        "### Other worlds",
        f"{budgets[0]} trials. Novum's claims are the corrected ones.",
        _elsewhere(found),
        "### What was done",
        *(_work(found, budget) for budget in budgets),
        "### What this does not show",
        "Effects that add up and differences that are normal are kind to everyone. Levers of real tasks interact, an "
        "adopted lever that does nothing costs complexity or time, and real items are shared by all seeds.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def put(to: Path, text: str) -> None:
    """Write the part between its marks: into the page, or as a new page."""
    marked = f"{BEGIN}\n\n{text}\n{END}\n"
    old = to.read_text(encoding="utf-8") if to.exists() else f"# What the loop is worth\n\n{BEGIN}\n{END}\n"
    if BEGIN not in old or END not in old:
        old += f"\n{BEGIN}\n{END}\n"
    before, after = old.split(BEGIN, 1)[0], old.split(END, 1)[1].lstrip("\n")
    to.write_text(before + marked + (f"\n{after}" if after else ""), encoding="utf-8")
