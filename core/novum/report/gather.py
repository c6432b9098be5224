"""Everything that a report shows, as plain JSON. Reads the ledger, and looks at this machine; decides nothing."""

from __future__ import annotations

import json
import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import streams
from novum.errors import StudyError
from novum.evidence import evidence
from novum.experiment import Experiment, Trial
from novum.loop import registered

if TYPE_CHECKING:
    from novum.ledger import Ledger


def gather(ledger: Ledger, hypothesis_id: str) -> dict[str, Any]:
    """What is known of a hypothesis, by its whole id.

    ::

        hypothesis   as registered
        plan         the experiment's record; fingerprint: its SHA-256, 32 hexadecimal digits
        verdict      the recorded one, or None
        evidence     {"dev": task → pairs, "test": the same, or None while it is closed}
        trials       one row per planned trial, parents first; see `_row`. Where no maximum was declared: per trial that
                     was started. Trials on fresh seeds follow, where new data were scored with them
        observations task → facts and scale, or None where there are none
        openings     {"mine": those of this hypothesis, "test": how often the study opened `test`}
        stream       {"account": the goal's hypotheses in order, or None where it names no goal, "alone": how many
                     hypotheses of the study name none}
        sessions     that ran trials of it, in order: id, state, reason, started, ended, executor, machine (A, B, …;
                     no host's name leaves the study), environment (its hash, or None), trials (how many ended in it)
        environment  of the machine that gathers, at this moment
        times        registered, opened, verdict, first_start, last_end (ISO-8601 or None), wall_seconds (or None)

    Raises StudyError for an unknown hypothesis and for a plan of an earlier method, RegistrationError where its plan
    was edited.
    """
    hypothesis = ledger.hypothesis(hypothesis_id)
    if hypothesis is None or hypothesis["id"] != hypothesis_id:
        raise StudyError(f"no hypothesis {hypothesis_id!r} in {ledger.path}; `novum status` lists the registered ones.")
    experiment = registered(ledger, hypothesis_id)
    if "order" not in experiment.record:
        method = experiment.record["method"]
        raise StudyError(
            f"{hypothesis_id} was registered with the method {method['name']!r}, version {method['version']}, which "
            f"this Novum does not report on; `novum verdict {hypothesis_id} --json` shows its verdict, and the version "
            "that registered it writes its report."
        )
    text = ledger.verdict(hypothesis_id)
    openings = ledger.openings()
    mine = [row | {"keys": len(row["keys"])} for row in openings if row["hypothesis"] == hypothesis_id]
    confirmed = any(row["purpose"] == "confirm" for row in mine)
    times = _times(ledger, hypothesis_id, mine)
    trials = list(_trials(ledger, experiment, times["registered"]))
    return {
        "hypothesis": hypothesis,
        "plan": experiment.record,
        "fingerprint": experiment.id,
        "verdict": None if text is None else json.loads(text),
        "evidence": {
            "dev": _rows(ledger, experiment, "dev"),
            "test": _rows(ledger, experiment, "test") if confirmed else None,
        },
        "trials": trials,
        "observations": {
            task: ledger.observation((hypothesis.get("observations") or {}).get(task, "")) for task in experiment.tasks
        },
        "openings": {"mine": mine, "test": sum(row["split"] == "test" for row in openings)},
        "stream": {
            "account": None if hypothesis.get("goal") is None else streams.account(ledger, hypothesis["goal"]),
            "alone": streams.alone(ledger),
        },
        "sessions": _sessions(ledger, trials),
        "environment": environment(ledger.folder),
        "times": times | _span(trials),
    }


def _rows(ledger: Ledger, experiment: Experiment, split: str) -> dict[str, list[dict[str, Any]]]:
    found = evidence(ledger, experiment, split, items=False).rows
    return {task: [dict(row) for row in rows] for task, rows in found.items()}


# --------------------------------------------------------------------------------------------------------- trials


def _trials(ledger: Ledger, experiment: Experiment, registered_at: str | None) -> Iterator[dict[str, Any]]:
    sides: dict[str, list[Trial]] = {}
    planned = list(experiment.trials())
    fresh = list(experiment.confirming()) if experiment.record["confirm"] == "fresh-seeds" else []
    for trial in (*planned, *fresh):
        for each in _chain(trial):  # arms that begin alike share their parents' trials
            sides.setdefault(each.key, []).append(each)
    stored = {row["key"]: row for row in ledger.trials(keys=list(sides))}
    most = 0 if experiment.record["open"] else len(experiment.record["seeds"]["indices"])
    sides = {key: found for key, found in sides.items() if key in stored or found[0].index < most}
    dev = ledger.scores(list(sides), "dev")
    test = ledger.scores([f"{key}-test" for key in sides], "test")
    released: dict[str, list[str]] = {}
    for event in ledger.events(kind="released"):
        for key in event["payload"]["trials"]:
            released.setdefault(key, []).append(str(event["payload"]["reason"]))
    for key, places in sides.items():
        trial = places[0]
        row = _row(trial, stored.get(key), experiment.tasks[trial.task]["metric"]["name"])
        again = test.get(f"{key}-test")
        finished = row["finished"]
        yield row | {
            "sides": list(dict.fromkeys(place.side for place in places)),
            "dev": _metric(dev.get(key), row["metric"]),
            "test": _metric(again, row["metric"]),
            "test_seconds": None if again is None else again["seconds"],
            "released": released.get(key, []),
            "earlier": bool(finished and registered_at and finished < registered_at),
            "confirms": trial.index >= len(experiment.record["seeds"]["indices"]),
        }


def _chain(trial: Trial) -> list[Trial]:
    return [trial] if trial.parent is None else [*_chain(trial.parent), trial]


def _row(trial: Trial, stored: Mapping[str, Any] | None, metric: str) -> dict[str, Any]:
    """One trial: task, side, seed index, state, attempts, what it used and what it gave.

    state: "not started" where the ledger has no row yet. memory: its peak, {"bytes", "what"}, or {"undefined": why};
    None where it has not ended. curve: {"units", "value"} of the task's metric on dev.
    start: {"loaded": how many tensors came from the parent, "fresh": the names of those that did not}, or None.
    """
    row: Mapping[str, Any] = stored or {"state": "not started", "attempts": 0, "started": None, "finished": None}
    result: Mapping[str, Any] = row.get("result") or {}
    return {
        "key": trial.key,
        "task": trial.task,
        "metric": metric,
        "index": trial.index,
        "parent": None if trial.parent is None else trial.parent.key,
        "state": row["state"],
        "attempts": row["attempts"],
        "started": row["started"],
        "finished": row["finished"],
        "session": row.get("session"),
        "deviations": result.get("deviations") or [],
        "resumed": result.get("resumed") or [],
        "because": result.get("failed") or result.get("diverged"),
        "stopped": result.get("stopped"),
        "units": result.get("units"),
        "seconds": result.get("seconds"),
        "memory": result.get("memory"),
        "weights": result.get("weights"),
        "start": result.get("start"),
        "curve": [
            {"units": point["units"], "value": point["metrics"].get(metric, {"undefined": f"{metric} was not given"})}
            for point in result.get("curve", [])
        ],
    }


def _sessions(ledger: Ledger, trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ended = Counter(row["session"] for row in trials if row["finished"] is not None)
    keys = {row["key"] for row in trials}
    began = [event["payload"] for event in ledger.events(kind="started")]
    touched = {each.get("session") for each in began if each["trial"] in keys}
    known = [row for row in ledger.sessions() if row["id"] in touched]
    hosts = list(dict.fromkeys(row["about"]["host"] for row in known))
    return [
        {name: row[name] for name in ("id", "state", "reason", "started", "ended")}
        | {
            "executor": row["about"]["executor"],
            "machine": chr(ord("A") + hosts.index(row["about"]["host"]) % 26),
            "environment": row["about"].get("environment"),
            "trials": ended[row["id"]],
        }
        for row in known
    ]


def _metric(scored: Mapping[str, Any] | None, metric: str) -> Any:
    if scored is None:
        return None
    return scored["metrics"].get(metric, {"undefined": f"{metric} was not given"})


# ----------------------------------------------------------------------------------------- time and surroundings


def _times(ledger: Ledger, hypothesis_id: str, openings: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"registered": None, "opened": None, "verdict": None}
    for event in ledger.events(kind="registered"):
        if hypothesis_id in event["payload"]["hypotheses"]:
            found["registered"] = event["time"]
    for event in ledger.events(kind="verdict"):
        if event["payload"]["hypothesis"] == hypothesis_id:
            found["verdict"] = event["time"]
    for row in openings:
        found["opened"] = found["opened"] or row["time"]
    return found


def _span(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """From the first start to the last end of the trials that this claim itself ran."""
    own = [row for row in trials if not row["earlier"]]
    starts = sorted(row["started"] for row in own if row["started"])
    ends = sorted(row["finished"] for row in own if row["finished"])
    if not starts or not ends:
        return {"first_start": None, "last_end": None, "wall_seconds": None}
    span = (datetime.fromisoformat(ends[-1]) - datetime.fromisoformat(starts[0])).total_seconds()
    return {"first_start": starts[0], "last_end": ends[-1], "wall_seconds": max(span, 0.0)}


def environment(folder: Path) -> dict[str, Any]:
    """The machine that gathers, and the Git commit of the study's folder, else of the current one, else None."""
    return {
        "novum": version("novum"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "machine": platform.machine() or "unknown",
        "commit": commit(folder) or commit(Path.cwd()),
    }


def commit(folder: Path) -> str | None:
    """The Git commit that is checked out in `folder`; None where there is none, or no Git."""
    try:
        told = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None
