"""The story of a closed loop: what happened, in order, in the ledger. Where the loop stands follows from it alone.

An event is an observation under "loop/NAME/NUMBER", so that it stands in the chain of the ledger like everything else::

    begun      {"goal"}: the loop begins, or goes on with another budget, target, space or other proposers
    observed   {"round", "facts", "keys"}: facts of the baseline, and the exploratory trials behind them
    screened   {"round", "tasks", "options", "gain", "keys"}
    proposed   {"round", "proposer", "hypothesis", "tasks", "options", "told"}; hypothesis: as registered from then on;
               told: what the proposer says of how it came to it, or null
    refused    {"round", "why"}: what was proposed could not even be registered, so nothing was run of it
    judged     {"round", "hypothesis", "outcome", "adopted", "block"}: its verdict is in the ledger; block: of its seeds
    worth      {"tasks", "seeds", "fresh"}: the last baseline beside the first, on `test`
    ended      {"why", "sentence"}: "target", "budget" or "stall"

Every event has "worked", the seconds that the loop worked since the event before it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum.arm import Arm
from novum.errors import RegistrationError
from novum.goal import Goal
from novum.standing import Claimed, Screened

if TYPE_CHECKING:
    from novum.ledger import Ledger

DIGITS = 6


@dataclass(frozen=True)
class Past:
    """What an event list says of a loop. baseline: task → arm; block: the first block of seeds that claims may use."""

    goal: Goal
    began: str
    events: tuple[Mapping[str, Any], ...]

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of a kind, oldest first."""
        return [each for each in self.events if each["kind"] == kind]

    @property
    def judged(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """(proposed, judged) of every round that came to a verdict."""
        proposed = {each["round"]: each for each in self.of("proposed")}
        return [(proposed[each["round"]], each) for each in self.of("judged")]

    @property
    def pending(self) -> Mapping[str, Any] | None:
        """The proposal that has no verdict yet; None where there is none."""
        done = {each["round"] for each in (*self.of("judged"), *self.of("refused"))}
        return next((each for each in self.of("proposed") if each["round"] not in done), None)

    @property
    def round(self) -> int:
        """The number of the round that is under way, from 1."""
        return len(self.of("judged")) + len(self.of("refused")) + 1

    @property
    def baseline(self) -> dict[str, Arm]:
        """Task → the arm that is the baseline now."""
        found = self.first
        for proposed, judged in self.judged:
            if judged["adopted"]:
                sides = proposed["hypothesis"]["tasks"]
                found |= {task: Arm.from_json(sides[task]["treatment"]) for task in proposed["tasks"]}
        return found

    @property
    def first(self) -> dict[str, Arm]:
        """Task → the arm that the goal begins with."""
        return {name: start.arm for name, start in self.goal.tasks.items()}

    @property
    def block(self) -> int:
        """The first block of seeds that a claim may use: one that no adopted arm's evidence lies in."""
        return max([int(each["block"]) + 1 for each in self.of("judged") if each["adopted"]], default=0)

    @property
    def screened(self) -> tuple[Screened, ...]:
        """What was screened, oldest first."""
        return tuple(
            Screened(each["round"], tuple(each["tasks"]), each["options"], each["gain"]) for each in self.of("screened")
        )

    @property
    def claimed(self) -> tuple[Claimed, ...]:
        """What was claimed, and judged or refused, oldest first; claims about the target are none."""
        ended = {each["round"]: each for each in (*self.of("judged"), *self.of("refused"))}
        return tuple(
            Claimed(
                proposed["round"],
                end.get("hypothesis", ""),
                tuple(proposed["tasks"]),
                proposed["options"],
                end.get("outcome", "refused"),
                end.get("adopted", False),
            )
            for proposed in self.of("proposed")
            if proposed["options"] and (end := ended.get(proposed["round"])) is not None
        )

    @property
    def keys(self) -> set[str]:
        """Keys of the exploratory trials."""
        return {key for each in self.events for key in each.get("keys", ())}

    @property
    def worked(self) -> float:
        """Seconds that the loop worked until its last event."""
        return float(sum(each["worked"] for each in self.events))

    @property
    def end(self) -> Mapping[str, Any] | None:
        """The last event where it is an end that still holds; None while the loop is under way."""
        last = self.events[-1] if self.events else None
        return last if last is not None and last["kind"] == "ended" else None


class Story:
    """The events of one loop, read from a ledger and written to it."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._before = time.monotonic()

    def read(self) -> Past | None:
        """What happened so far; None where the loop has not begun."""
        rows = self._rows()
        if not rows:
            return None
        events = tuple(row["record"] for row in rows)
        goal = next(each["goal"] for each in reversed(events) if each["kind"] == "begun")
        return Past(Goal.from_json(goal), rows[0]["time"], events)

    def add(self, kind: str, **record: Any) -> None:
        """Write one event, after the last."""
        now = time.monotonic()
        worked, self._before = round(now - self._before, 3), now
        number = len(self._rows())
        self._ledger.record_observation(
            f"loop/{self._name}/{number:0{DIGITS}d}", {"kind": kind, **record, "worked": worked}
        )

    def since(self) -> float:
        """Seconds of work since the last event of this process."""
        return time.monotonic() - self._before

    def open(self, goal: Goal) -> Past:
        """Begin a loop, or go on with the one of this name.

        Raises RegistrationError where that one began with other tasks, metrics or error control.
        """
        past = self.read()
        if past is not None and past.goal.fingerprint != goal.fingerprint:
            raise RegistrationError(
                f"the loop {goal.name!r} of this study began with {_differing(past.goal, goal)}, and now it is "
                "another; a loop keeps its tasks, their first arms, its effects and its error control. Give the "
                "changed goal another name, or put back what changed; budget, target, space and proposers may change."
            )
        if past is None or past.goal != goal:
            self.add("begun", goal=goal.to_json())
            past = self.read()
        assert past is not None
        return past

    def _rows(self) -> list[dict[str, Any]]:
        prefix = f"loop/{self._name}/"
        rows = self._ledger.observations(prefix)
        mine = [row for row in rows if len(row["key"]) == len(prefix) + DIGITS and row["key"][len(prefix) :].isdigit()]
        return sorted(mine, key=lambda row: str(row["key"]))


def names(ledger: Ledger) -> list[str]:
    """The loops of a study, in the order of their names."""
    found = {row["key"][len("loop/") : -DIGITS - 1] for row in ledger.observations("loop/")}
    return sorted(found)


def _differing(before: Goal, after: Goal) -> str:
    old, new = before.to_json(), after.to_json()
    for name in (
        "tasks",
        "order",
        "scope",
        "alpha",
        "fdr",
        "minimum_effect",
        "minimum_effect_raw",
        "max_seeds",
        "seeds",
    ):
        if old[name] != new[name]:
            return "other tasks" if name in ("tasks", "order") else f"{name} = {old[name]!r}"
    return f"seed = {before.seed!r}"
