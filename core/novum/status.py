"""What a study holds and does now, read from its ledger by anyone at any time. Nothing is changed or held back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from novum import archive, streams
from novum.errors import StudyError
from novum.session import gone

if TYPE_CHECKING:
    from pathlib import Path

    from novum.ledger import Ledger


def status(ledger: Ledger, folder: Path) -> dict[str, Any]:
    """The study as plain JSON.

    state: "working", "paused", "interrupted", "killed" (its process vanished), "failed", "idle" (nothing was cut
    short) or "empty". sessions: those that work, or the last one, with what they are. running: trials in process, with
    the seconds since they started by this machine's clock. retried: trials that began more than once. fault: what is
    wrong with the record, None where it is whole. The rest: hypotheses, trials by state, weights, openings, goals.
    """
    rows = ledger.trials()
    sessions = [_session(row) for row in ledger.sessions()]
    kept = [row for row in ledger.weights() if row["state"] == "kept"]
    goals = list(dict.fromkeys(row["goal"] for row in ledger.streams()))
    alive = [each for each in sessions if each["alive"]]
    return {
        "study": str(folder),
        "state": _state(sessions),
        "sessions": alive or sessions[-1:],
        "running": [_running(row) for row in rows if row["state"] == "running" and alive],
        "retried": sum(row["attempts"] > 1 and row["state"] != "planned" for row in rows),
        "fault": _fault(ledger, folder),
        "hypotheses": [_hypothesis(ledger, row) for row in ledger.hypotheses()],
        "trials": dict(Counter(_trial_state(row, bool(alive)) for row in rows)),
        "weights": {"kept": len(kept), "bytes": sum(row["size"] for row in kept)},
        "test_openings": sum(row["split"] == "test" for row in ledger.openings()),
        "goals": {goal: streams.account(ledger, goal) for goal in goals},
        "alone": streams.alone(ledger),
    }


def _session(row: Mapping[str, Any]) -> dict[str, Any]:
    """A session as it really is: one that vanished had nobody to write so."""
    alive = row["state"] in ("working", "paused") and not gone(row["about"])
    vanished = row["state"] == "working" and not alive
    about = {name: row["about"][name] for name in ("host", "pid", "executor")}
    state = "killed" if vanished or row["state"] == "lost" else row["state"]
    told = {name: row[name] for name in ("id", "reason", "started")}
    return {**told, "state": state, "alive": alive, **about}


def _state(sessions: list[dict[str, Any]]) -> str:
    if not sessions:
        return "empty"
    states = [each["state"] for each in sessions]
    if "working" in states:
        return "working"
    if "paused" in states:
        return "paused"
    return "idle" if states[-1] == "ended" else str(states[-1])


def _running(row: Mapping[str, Any]) -> dict[str, Any]:
    since = datetime.now(UTC) - datetime.fromisoformat(row["started"])
    plan = row["plan"]
    return {
        "trial": row["key"],
        "kind": row["kind"],
        "task": plan["task"],
        "side": plan["side"],
        "seed": row["index"],
        "attempt": row["attempts"],
        "seconds": max(0.0, since.total_seconds()),
        "session": row["session"],
    }


def _trial_state(row: Mapping[str, Any], alive: bool) -> str:
    """A trial's state; one that was begun and put back, by a decision or an interrupt, is "stopped"."""
    begun = (row["state"] == "planned" and row["attempts"]) or (row["state"] == "running" and not alive)
    return "stopped" if begun else str(row["state"])


def _fault(ledger: Ledger, folder: Path) -> str | None:
    try:
        ledger.verify()
    except StudyError as error:
        return str(error)
    lacking = archive.behind(ledger, folder)
    return (
        f"the ledger lacks {', '.join(lacking)} that stand beside it; `novum repair` takes them in" if lacking else None
    )


def _hypothesis(ledger: Ledger, row: Mapping[str, Any]) -> dict[str, Any]:
    """A hypothesis in short. pairs: task → used (None before a verdict) and planned (None for no declared maximum)."""
    recorded = ledger.verdict(row["id"])
    verdict = None if recorded is None else json.loads(recorded)
    plan = ledger.experiment(row["id"])["plan"]
    planned = None if plan.get("open") else len(plan["seeds"]["indices"])
    used = {name: None if verdict is None else verdict["tasks"][name].get("pairs") for name in plan["tasks"]}
    return {
        "id": row["id"],
        "claim": row["claim"],
        "treatment": row["name"],
        "verdict": None if verdict is None else str(verdict["outcome"]),
        "goal": row.get("goal"),
        "pairs": {name: {"used": each, "planned": planned} for name, each in used.items()},
    }
