"""What a person sees in a terminal while a study runs: the four acts, each look that decides, live progress."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from novum.lab import Listener, told
from novum.rehearse import duration


def console() -> Console:
    """Standard output; a pipe or a file gets long lines rather than squeezed tables."""
    made = Console(soft_wrap=True, highlight=False)
    if not made.is_terminal:
        made.width = 200
    return made


FIRST = 10
"""Trials after which a claim with no declared maximum first tells how far it is; then whenever they have doubled."""
COLOURS = {
    "supported": "green",
    "refuted": "red",
    "equivalent": "blue",
    "inconclusive": "yellow",
    "invalid": "magenta",
}


class Terminal(Listener):
    """Tells a study to a person, a sentence a line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._bar: Any = None
        self._began = 0.0
        self._total = self._before = self._done = self._workers = 0
        self._open = False
        self._metrics: dict[str, str] = {}
        self._scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._next_line = 0.1

    def act(self, number: int, name: str, sentence: str) -> None:
        self.console.print(f"\n[bold cyan]{number} {escape(name)}[/]  {escape(sentence)}")

    def say(self, sentence: str) -> None:
        self.console.print(f"  {escape(sentence)}")

    def observed(self, task: str, record: Mapping[str, Any]) -> None:
        facts = {fact["id"]: fact for fact in record["facts"]}
        told = [f"{_lower(fact['about'].rstrip('.'))}: {_amount(fact['value'])}" for fact in _telling(facts)]
        scale = record["scale"]
        ends = (
            f"on {scale['metric']}, chance scores {show(scale['chance'])} (its 0) and the reference "
            f"{show(scale['reference'])} (its 1)"
            if scale
            else "it states no scale"
        )
        self.console.print(f"  [bold]{escape(task)}[/]: {ends}; {escape('; '.join(told))}.")

    def registered(self, plan: Mapping[str, Any]) -> None:
        self._scores.clear()
        self._metrics = {name: task["metric"]["name"] for name, task in plan["tasks"].items()}
        self._open = plan["open"]

    def look(self, task: str, plan: Mapping[str, Any], standing: Any) -> None:
        sentence = told(task, plan, standing)
        if sentence is not None:
            self.say(sentence)

    def planned(self, total: int, done: int, workers: int) -> None:
        self._total, self._before, self._done, self._workers = total, done, done, workers
        self._began, self._next_line = time.monotonic(), FIRST if self._open else 0.1
        self._scores.clear()
        if done:
            self.say(f"{done}{self._of()} trials are there already.")
        if self.console.is_terminal and total > 1:
            columns = (SpinnerColumn(), BarColumn(30), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            most = None if self._open else total
            self._bar = self._progress.add_task(self._words().lstrip(", "), total=most, completed=done)

    def trial(self, task: str, arm: str, index: int, state: str, metrics: Mapping[str, Any]) -> None:
        value = metrics.get(self._metrics.get(task, ""))
        if isinstance(value, int | float) and arm in ("control", "treatment"):
            self._scores[task][arm].append(float(value))
        if state == "lost":
            self.say(f"The process of {task}, {arm}, seed {index} was lost; the trial is tried again on the same seed.")
            return
        if state in ("diverged", "failed"):
            self.say(f"{task}, {arm}, seed {index}: {state}.")
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._bar, completed=self._done, description=self._words().lstrip(", "))
        elif self._open and self._done >= self._next_line:
            self.say(f"{self._done} trials done{self._words()}")
            self._next_line = 2 * self._done
        elif not self._open and self._total > 1 and self._done >= self._next_line * self._total:
            self.say(f"{self._done}{self._of()} trials done{self._words()}")
            self._next_line = math.floor(10 * self._done / self._total) / 10 + 0.1

    def ended(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._total > 1:
            new, took = self._done - self._before, duration(time.monotonic() - self._began)
            means = self._means(f" Mean scores on dev{', of these' if self._before else ''}: ")
            self.say(f"{new} trial{'s' if new != 1 else ''} took {took}.{means}")
        self._metrics = {}  # means are shown of registered trials alone: a noise floor must not answer the claim

    def _of(self) -> str:
        """How many there are in all, where a maximum was declared."""
        return "" if self._open else f" of {self._total}"

    def _words(self) -> str:
        new = self._done - self._before
        left = self._total - self._done
        running = f", {min(self._workers, left)} running" if left else ""
        known = new and left and not self._open
        to_go = f", at most {duration((time.monotonic() - self._began) / new * left)} left" if known else ""
        return f"{running}{to_go}.{self._means(' ')}"

    def _means(self, lead: str) -> str:
        parts = [
            f"{task} {show(sum(arms['control']) / len(arms['control']))} → "
            f"{show(sum(arms['treatment']) / len(arms['treatment']))}"
            for task, arms in self._scores.items()
            if arms["control"] and arms["treatment"]
        ]
        return f"{lead}{'; '.join(parts)}" if parts else ""


class Curve:
    """Prints curve points as lines of one table; `told` holds the trials that it has heard of."""

    def __init__(self, console: Console, many: bool) -> None:
        self.told: set[str] = set()
        self._console = console
        self._many = many
        self._head = False

    def __call__(self, trial: str, point: dict[str, Any]) -> None:
        self.told.add(trial)
        metrics = [name for name in point["metrics"] if not name.endswith(("_weighted", "_macro"))]
        metrics += [name for name in point["metrics"] if name == "f1_macro"]
        cells = {"trial": trial[:12]} if self._many else {}
        cells |= {"units": str(point["units"])}
        cells |= {f"train {name}": show(value) for name, value in point["losses"].items()}
        cells |= {f"dev {name}": show(point["metrics"][name]) for name in metrics}
        cells |= {"seconds": show(point["seconds"])}
        if not self._head:
            self._console.print("  " + "  ".join(f"{name:>12}" for name in cells))
            self._head = True
        self._console.print("  " + "  ".join(f"{escape(value):>12}" for value in cells.values()))


TELLING = ("train.size", "classes", "horizon", "baseline", "random")
"""Facts worth a newcomer's line come first; matched by the end or the beginning of their ids."""


def _telling(facts: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found = [
        fact
        for word in TELLING
        for name, fact in facts.items()
        if name == word or name.split(".")[-1].startswith(word) or name.startswith(f"{word}.")
    ]
    unique = {fact["id"]: fact for fact in [*found, *facts.values()]}
    return list(unique.values())[:3]


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _amount(value: Any) -> str:
    return show(value) if isinstance(value, float | Mapping) else str(value)


def show(value: Any) -> str:
    """A number for a person; a mapping says why there is none."""
    if isinstance(value, Mapping):
        return f"undefined, because {value['undefined']}"
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def badge(outcome: str) -> str:
    """An outcome in its colour."""
    return f"[bold {COLOURS[outcome]}]{outcome}[/]"


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Rows as a plain table."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(_cell(row.get(column))) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    return show(value) if isinstance(value, float | Mapping) else str(value)
