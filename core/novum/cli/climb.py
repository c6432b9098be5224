"""`novum loop`: a goal worked on round after round, and what came of it in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from novum.cli.terminal import badge, rows_table, show
from novum.report import text

if TYPE_CHECKING:
    from novum.lineage import Lineage, Step
    from novum.study import Study


def run_loop(
    path: Path, overrides: list[str], study: Study, console: Console, emit: Callable[[Any], None], as_json: bool
) -> None:
    """Work on the goal of a file, and print and report what came of it."""
    from novum.goalfile import load_goal

    goal = load_goal(path, overrides)
    if not as_json:
        tasks = ", ".join(goal.tasks)
        budget = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in goal.budget.to_json().items())
        console.print(f"[bold]Goal {escape(goal.name)}[/]  on {escape(tasks)}, with {escape(budget)}; Ctrl-C is safe.")
    lineage = study.loop(goal)
    study.close()
    for step in lineage.steps:
        if step.hypothesis:
            study.report(step.hypothesis)
    report = study.loop_report(goal.name)
    if as_json:
        emit({**lineage.to_json(), "report": str(report)})
        return
    print_lineage(console, lineage)
    console.print(f"\nReport: {report}")


def print_lineage(console: Console, lineage: Lineage) -> None:
    """The lineage of every task, what the loop was worth, and why it ended."""
    for name in lineage.goal.tasks:
        console.print(f"\n[bold]{escape(name)}[/]  from {escape(_arm(lineage, name))}")
        steps = [step for step in lineage.steps if name in step.tasks]
        for at, step in enumerate(steps):
            mark = "└" if at == len(steps) - 1 else "├"
            console.print(f"  {mark} {_step(step, name)}")
        if not steps:
            console.print("  └ no change was claimed here")
    worth = lineage.worth
    if worth is not None and worth["tasks"]:
        kind = "fresh" if worth["fresh"] else "exploratory"
        console.print(f"\n[bold]Did it really help?[/]  The last baseline beside the first on test, {kind} seeds:")
        rows = [
            {
                "task": name,
                "metric": row["metric"],
                "first": row["first"],
                "last": row["last"],
                "gain": text.signed(row["effect"], 3),
                "95 % interval": text.interval(row["interval"], 3),
                "seeds": str(row["pairs"]),
            }
            for name, row in worth["tasks"].items()
        ]
        console.print(rows_table(rows, list(rows[0])))
        console.print("  A description: the changes were confirmed on these data, which makes it somewhat optimistic.")
    elif worth is not None:
        console.print("\n[bold]Did it really help?[/]  No change was adopted: the first arms stand.")
    tested = sum(step.outcome is not None for step in lineage.steps)
    screened = f", {lineage.screened} changes screened" if lineage.screened else ""
    console.print(
        f"\n{escape(lineage.sentence)} {tested} claims tested{screened}, {len(lineage.adopted)} adopted, in "
        f"{text.seconds(lineage.worked)}."
    )


def _arm(lineage: Lineage, name: str) -> str:
    arm = lineage.first[name]
    recipe = ", ".join(f"{option} {show(value)}" for option, value in sorted(arm.recipe.items()))
    return f"{arm.model.name}{', ' if recipe else ''}{recipe}"


def _step(step: Step, task: str) -> str:
    found: Mapping[str, Any] | None = step.effect.get(task)
    outcome = "open" if step.refused is None else "refused, nothing was registered"
    outcome = badge(step.outcome) if step.outcome is not None else outcome
    effect = ""
    if found is not None:
        effect = f" {text.signed(found['mean'], 3)} ({text.interval(found['interval'], 3)})"
    kept = ", [bold]adopted[/]" if step.adopted else ""
    return f"{step.round} {escape(step.claim)}: {outcome}{effect}{kept}  [dim]{escape(step.proposer)}[/]"


def print_facts(
    path: Path, overrides: list[str], study: Study, console: Console, emit: Callable[[Any], None], as_json: bool
) -> None:
    """The facts that the last round of a goal's loop saw: of its tasks, of its baselines, and of what was tried.

    Raises StudyError where the study has no loop of that name.
    """
    from novum.goalfile import load_goal
    from novum.lineage import Lineage

    name = load_goal(path, overrides).name
    with study.reading() as ledger:
        lineage = Lineage.read(ledger, name)
    if as_json:
        emit(lineage.facts)
        return
    for task, facts in lineage.facts.items():
        console.print(f"[bold]{escape(task)}[/]")
        console.print(rows_table(facts, ["id", "value", "unit", "about"]))
