"""Results on disk, between the worker that made them and the caller that stores them.

A file appears whole or not at all, and survives a loss of power once `write` has returned.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def place(folder: Path, id: str) -> Path:
    """Where the result of a job stands."""
    return folder / "spool" / f"{id}.json"


def write(folder: Path, id: str, outcome: dict[str, Any]) -> None:
    """Store {"value": {…}} or {"error": {"type", "message", "traceback"}} under a job's id.

    NaN and infinity pass as Python's JSON writes them. Raises TypeError or ValueError, before any file is touched,
    where the value is not JSON, and OSError where the disk refuses.
    """
    target = place(folder, id)
    text = json.dumps({"id": id, **outcome})
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(folder: Path, id: str) -> dict[str, Any] | None:
    """What `write` stored; None where there is nothing, or nothing readable (a warning then names the file)."""
    target = place(folder, id)
    try:
        outcome = json.loads(target.read_text())
        if outcome["id"] == id and isinstance(outcome.get("value", outcome.get("error")), dict):
            return dict(outcome)
        problem = "it holds no result of that job"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    warnings.warn(
        f"{target} is damaged and was ignored ({problem}); the job will run again.", RuntimeWarning, stacklevel=2
    )
    return None


def remove(folder: Path, id: str) -> None:
    """Forget a job's result; harmless where there is none."""
    place(folder, id).unlink(missing_ok=True)


def orphans(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Results that no caller acknowledged, as (job id, {"id", "value"} or {"id", "error"}), by id.

    To be stored, then acknowledged, at the start of a study, before any job runs. A damaged file is skipped with a
    warning.
    """
    for path in sorted((folder / "spool").glob("*.json")):
        id = path.name.removesuffix(".json")
        outcome = read(folder, id)
        if outcome is not None:
            yield id, outcome
