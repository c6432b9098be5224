"""From a job to its spool file, and from the file (or its absence) to a result: the same for every executor."""

from __future__ import annotations

import json
import signal
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novum.executors import spool
from novum.executors.base import Failure, Job, Perform, Result

CANNOT_STORE = 74
"""Exit status of a worker whose result could not be written (EX_IOERR)."""
LONGEST = 20_000
"""Characters of a message or of a traceback that are kept, the last ones."""


def attempt(perform: Perform, job: Mapping[str, Any], folder: Path, *, debug: bool) -> str:
    """Perform a job, as `fields` gives it, and store its value, or what it raised, in the spool.

    Returns the traceback of what it raised, "" where all went well. KeyboardInterrupt is always raised again, and
    with `debug` so is everything else. Raises OSError where the result cannot be written.
    """
    try:
        value = perform(job["kind"], json.loads(json.dumps(job["payload"])), folder)
        if not isinstance(value, dict):
            raise TypeError(f"a job's value is a dict; {job['kind']!r} returned {type(value).__name__}")
        json.dumps(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may call sys.exit: that breaks its own job alone
        if debug:
            raise
        trace = _tail("".join(traceback.format_exception(error)))
        told = {"type": type(error).__name__, "message": _tail(str(error)), "traceback": trace}
        spool.write(folder, job["id"], {"error": told}, job["attempt"], job["about"])
        return trace
    spool.write(folder, job["id"], {"value": value}, job["attempt"], job["about"])
    return ""


def fields(job: Job) -> dict[str, Any]:
    """A job as JSON, for the process that performs it."""
    names = ("id", "kind", "payload", "timeout", "attempt", "about")
    return {name: getattr(job, name) for name in names}


def _tail(text: str) -> str:
    return text if len(text) <= LONGEST else f"… {text[-LONGEST:]}"


def result(job: Job, folder: Path, seconds: float, *, status: int | None, why: str = "") -> Result:
    """The result of a job whose process has ended: read from the spool, or lost where nothing stands there.

    `status` is an exit status, a negative signal, or None where the process could not be started; `why` is
    "timeout", "cancelled", "" or the reason why it could not be started.
    """
    outcome = spool.read(folder, job.id, job.attempt)
    if outcome is not None and outcome.error is None:
        return Result(job, outcome.value, None, lost=False, seconds=seconds)
    if outcome is not None:
        told = outcome.error or {}
        failure = Failure(str(told["type"]), str(told["message"]), str(told["traceback"]))
        return Result(job, None, failure, lost=False, seconds=seconds)
    return Result(job, None, _lost(job, folder, status, why), lost=True, seconds=seconds)


def _lost(job: Job, folder: Path, status: int | None, why: str) -> Failure:
    file = folder / "logs" / f"{job.id}.log"
    log = f"Its output is in {file}." if file.exists() else "It printed nothing."
    if why == "timeout":
        return Failure("Timeout", f"job {job.id} timed out after {job.timeout} s and was stopped. {log}")
    if why == "cancelled":
        return Failure("Cancelled", f"job {job.id} was cancelled while it ran.")
    if status is None:
        return Failure("Lost", f"no process could be started for job {job.id}: {why}.")
    if status == CANNOT_STORE:
        return Failure(
            "NoSpace", f"job {job.id} ended, but its result could not be written: is the disk of {folder} full? {log}"
        )
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:  # a real-time signal has a number only
            name = "a signal"
        memory = " The system does so when memory runs out." if -status == signal.SIGKILL else ""
        return Failure(
            "Lost", f"the process of job {job.id} was ended by {name} ({-status}) before it had a result.{memory} {log}"
        )
    return Failure("Lost", f"the process of job {job.id} exited with status {status} before it had a result. {log}")
