"""What the acts share while a study runs: its folder, its ledger, its workers, and who is told of progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.errors import KINDS, NovumError, PluginError, StudyError

if TYPE_CHECKING:
    from novum.executors import Executor, Failure
    from novum.ledger import Ledger
    from novum.session import Session


class Listener:
    """Hears what happens, and says nothing. The faces (terminal, notebook) override what they show."""

    def act(self, number: int, name: str, sentence: str) -> None:
        """One of the four acts begins."""

    def say(self, sentence: str) -> None:
        """One sentence for a person."""

    def observed(self, task: str, record: Mapping[str, Any]) -> None:
        """A task was observed: {"facts": [...], "scale": {...} or None}."""

    def registered(self, plan: Mapping[str, Any]) -> None:
        """A plan is registered, now or before: an `Experiment`'s record."""

    def look(self, task: str, plan: Mapping[str, Any], standing: Any) -> None:
        """A task was looked at (a `Standing` of the walk); "" is the average over tasks."""

    def planned(self, total: int, done: int, workers: int) -> None:
        """Trials are about to run, `workers` at a time; `done` of them ended before."""

    def trial(self, task: str, arm: str, index: int, state: str, metrics: Mapping[str, Any]) -> None:
        """A trial ended: state "done", "diverged", "failed" or "lost" (then it is tried again)."""

    def ended(self) -> None:
        """No more trials of this experiment."""


def told(task: str, plan: Mapping[str, Any], standing: Any) -> str | None:
    """A decided look in a sentence; None while it is open."""
    if standing.outcome is None or standing.decision is None:
        return None
    look, most = standing.decision.look, len(plan["seeds"]["indices"])
    ends = ["∞" if end is None else f"{end:.3g}" for end in (look.low, look.high)]
    low = f"−{ends[0]}" if look.low is None else ends[0]
    of = "" if plan["open"] else f" of {most}"
    who = task or "average over tasks"
    return f"{who}: {standing.outcome} after {standing.n}{of} pairs, {look.mean:+.3g} ({low} … {ends[1]})."


class Lines(Listener):
    """Tells progress on standard error, a sentence a line: what a script, a notebook or a prompt hears."""

    def __init__(self) -> None:
        self._total = self._done = self._told = 0

    def act(self, number: int, name: str, sentence: str) -> None:
        self.say(f"{number} {name}: {sentence}")

    def say(self, sentence: str) -> None:
        sys.stderr.write(f"novum: {sentence}\n")
        sys.stderr.flush()

    def look(self, task: str, plan: Mapping[str, Any], standing: Any) -> None:
        sentence = told(task, plan, standing)
        if sentence is not None:
            self.say(sentence)

    def planned(self, total: int, done: int, workers: int) -> None:
        self._total, self._done, self._told = total, done, 10 * done // total

    def trial(self, task: str, arm: str, index: int, state: str, metrics: Mapping[str, Any]) -> None:
        if state == "lost":
            self.say(f"the process of {task}, {arm}, seed {index} was lost; the trial is tried again on the same seed.")
            return
        if state != "done":
            self.say(f"{task}, {arm}, seed {index}: {state}.")
        self._done += 1
        if 10 * self._done // self._total > self._told:  # at each tenth of the whole
            self._told = 10 * self._done // self._total
            self.say(f"{self._done} of {self._total} trials done.")


@dataclass
class Lab:
    """A study at work."""

    folder: Path
    ledger: Ledger
    executor: Executor
    listener: Listener = field(default_factory=Listener)
    tracker: str = "jsonl"
    session: Session | None = None
    timeout: float | None = None
    """Seconds that one trial may take; None: far more than the rehearsal lets expect."""

    def pause(self, why: str) -> None:
        """The work has to wait, for room on the disk."""
        self.listener.say(f"paused: {why}")
        if self.session is not None:
            self.session.pause(why)

    def unpause(self) -> None:
        """The work goes on."""
        self.listener.say("There is room again: the study goes on.")
        if self.session is not None:
            self.session.unpause()

    def one(self, kind: str, payload: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Do one job and return its value; raises its error as its own type (see `reraise`)."""
        return self.all([(name, kind, payload)])[name]

    def all(self, jobs: Iterable[tuple[str, str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
        """Do some (name, kind, payload) jobs side by side; the first error ends them all and is raised.

        One whose process was lost tells nothing, and is done again, `ATTEMPTS` times in all.
        """
        from novum import faults
        from novum.executors import Job

        names = {f"{kind}-{at}": (name, kind, payload) for at, (name, kind, payload) in enumerate(jobs)}
        left = {job: Job(id=job, kind=kind, payload=dict(payload)) for job, (_, kind, payload) in names.items()}
        found: dict[str, dict[str, Any]] = {}
        for last in (attempt == faults.ATTEMPTS for attempt in range(1, faults.ATTEMPTS + 1)):
            for result in self.executor.run(list(left.values())):
                name, kind, _ = names[result.job.id]
                self.executor.acknowledge(result.job)
                if result.error is None:
                    assert result.value is not None
                    found[name] = result.value
                    del left[result.job.id]
                elif last or faults.of(result) not in ("lost", "slow"):
                    raise reraise(result.error, kind, name, self.folder)
            if not left:
                break
        return {name: found[name] for name, _, _ in names.values()}


def reraise(error: Failure, kind: str, name: str, folder: Path) -> NovumError:
    """The error of a job as an exception of this process.

    A NovumError comes back as what it was; anything else is a plugin's or Novum's fault, and names its log.
    """
    if error.type in KINDS:
        return KINDS[error.type](error.message)
    last = error.traceback.strip().splitlines()[-1:] or [error.message]
    return PluginError(
        f"{kind} of {name} failed in a worker: {error.type}: {error.message or last[0]}. "
        f"The traceback is in {folder / 'logs'}; run again with --executor inline --debug to stop where it happens."
    )


def local_code(*arms: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """How the classes and functions of the caller's own files that these arms use travel to a worker.

    Raises StudyError when a class is known only by name: the script that defined it must run again.
    """
    from dataclasses import asdict

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for arm in arms:
        for kind, name in _named(arm):
            code = plugins.local_code(kind, name)
            if code is not None:
                found[kind, name] = asdict(code)
            elif name.startswith(plugins.LOCAL):
                raise StudyError(
                    f"the {kind} {name!r} was a class of a script; run that script again, which defines it."
                )
        if arm.get("start_from"):
            for kind, code_json in local_code(arm["start_from"]):
                found[kind, code_json["name"]] = code_json
    return [(kind, code) for (kind, _), code in found.items()]


def _named(arm: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(kind, name) of every plugin that an arm names, but not those of what it starts from."""
    recipe = arm.get("recipe") or {}
    parts = [(kind, (arm.get(kind) or {}).get("plugin", "")) for kind in ("task", "model", "evaluator")]
    parts += [(kind, recipe.get(kind, "")) for kind in ("optimizer", "schedule")]
    return parts + [
        ("technique", name) for name, options in recipe.get("techniques", {}).items() if options is not False
    ]
