"""Trials that are trained in one job: its making, and the parting of its result into a result of each of them.

The job's result is one file in the spool, whole or not at all. It is divided into one file for each trial, named by the
trial's own attempt, before anything enters the ledger; killed in between, the division is repeated. From there on each
trial goes through the same door as one that was trained alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.arm import fingerprint
from novum.executors import Job, spool
from novum.lab import local_code
from novum.pieces import POINTS, Piece, resources, time_limit, weights

if TYPE_CHECKING:
    from novum.experiment import Trial
    from novum.lab import Lab
    from novum.ledger import Ledger

KIND = "together"


def identity(trial: Trial) -> str:
    """Of the job that trains a trial with others: the same whichever of them is asked."""
    return f"{fingerprint([each.key for each in trial.together()])}-{KIND}"


def unfinished(ledger: Ledger) -> set[str]:
    """Identities of the jobs of which some trial has not ended."""
    from novum.experiment import Trial

    rows = [row["plan"] for row in ledger.trials() if row["state"] in ("planned", "running") and row["kind"] == "train"]
    together = [row for row in rows if row["seed"].get("indices") is not None]
    return {
        identity(Trial.of(row["task"], row["side"], row["seed"]["index"], row["plan"], row["seed"])) for row in together
    }


def job(
    lab: Lab,
    trials: Sequence[Trial],
    attempts: Mapping[str, int],
    points: int = POINTS,
    micro: int = 1,
    needs: Mapping[str, int] | None = None,
) -> Job:
    """For the executor: train these trials, the members of a block that can begin, at once.

    attempts: at which attempt each of them is; what is not named there is trained and not told of. needs: of all of
    them together, see `Piece.job`.
    """
    first = trials[0]
    payload: dict[str, Any] = {
        "plan": first.plan,
        "key": identity(first),
        "keys": [each.key for each in trials],
        "seeds": [{name: each.seed[name] for name in ("root", "block", "index")} for each in trials],
        "parents": [None if each.parent is None else weights(lab, each.parent) for each in trials],
        "local": local_code(first.plan["arm"]),
        "resources": resources(first.plan["arm"]["recipe"], needs),
        "points": points,
        "tracker": lab.tracker,
        "micro": micro,
    }
    rows = {each.key: Piece(each).row() for each in trials if each.key in attempts}
    limit = len(trials) * time_limit(lab, first.plan, points)
    return Job(
        identity(first),
        KIND,
        payload,
        timeout=limit,
        attempt=max(attempts.values(), default=1),
        about={"rows": rows, "attempts": dict(attempts)},
    )


def part(folder: Path, job: Job, value: Mapping[str, Any]) -> list[Job]:
    """Divide the spooled result of such a job; returns what stands for each of its trials, as if it had run alone.

    Raises OSError where the disk refuses; then it can be called again.
    """
    about = job.about or {}
    found = []
    for key, attempt in about["attempts"].items():
        row = about["rows"][key]
        spool.write(folder, key, {"value": value["trials"][key]}, attempt, row)
        found.append(replace(job, id=key, attempt=attempt, about=row))
    spool.remove(folder, job.id, job.attempt)
    return found


def recover(folder: Path) -> None:
    """Divide the results that nobody divided before their caller died. For the start of work."""
    for found in list(spool.orphans(folder)):
        if found.id.endswith(f"-{KIND}") and found.value is not None:
            job = Job(found.id, KIND, {}, attempt=found.attempt, about=found.about)
            part(folder, job, found.value)
