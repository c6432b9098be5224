"""Results on disk, between the worker that made them and the caller that stores them, and kept ever after.

`spool/<id>.<attempt>.json.gz` holds what no caller has acknowledged; `kept/<id>.json.gz` what one has stored and
asked to keep, so that a damaged ledger can be rebuilt. A file appears whole or not at all, and survives a loss of
power once `write` has returned. Each attempt has a file of its own: a late one never passes for the next.
"""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.disk import sync

SPOOL = "spool"
KEPT = "kept"
SUFFIX = ".json.gz"


@dataclass(frozen=True)
class Spooled:
    """What a worker left: exactly one of `value` and `error` is None; `about` is what the caller told of the job."""

    id: str
    attempt: int
    value: dict[str, Any] | None
    error: dict[str, Any] | None
    about: dict[str, Any]
    path: Path


def place(folder: Path, id: str, attempt: int = 1) -> Path:
    """Where the result of one attempt at a job stands until it is acknowledged."""
    return folder / SPOOL / f"{id}.{attempt}{SUFFIX}"


def kept_place(folder: Path, id: str) -> Path:
    """Where the result of a job stands once it is acknowledged and kept."""
    return folder / KEPT / f"{id}{SUFFIX}"


def encode(id: str, attempt: int, outcome: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a result's file, the same for the same result.

    NaN and infinity pass as Python's JSON writes them. Raises TypeError or ValueError where it is not JSON.
    """
    text = json.dumps({"id": id, "attempt": attempt, "about": dict(about or {}), **outcome})
    return gzip.compress(text.encode(), compresslevel=1, mtime=0)


def write(
    folder: Path, id: str, outcome: Mapping[str, Any], attempt: int = 1, about: Mapping[str, Any] | None = None
) -> None:
    """Store {"value": {…}} or {"error": {"type", "message", "traceback"}} under a job's id and attempt.

    Raises TypeError or ValueError, before any file is touched, where it is not JSON, and OSError where the disk
    refuses.
    """
    put(place(folder, id, attempt), encode(id, attempt, outcome, about))


def put(target: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns. Raises OSError."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


def read(folder: Path, id: str, attempt: int = 1) -> Spooled | None:
    """What `write` stored; None where there is nothing, or nothing readable (a warning then names the file)."""
    return load(place(folder, id, attempt), "the job will run again")


def load(path: Path, then: str) -> Spooled | None:
    """A result's file; None where there is none, or none that can be read: a warning says so, and what comes `then`."""
    try:
        told = json.loads(gzip.decompress(path.read_bytes()))
        found = Spooled(
            str(told["id"]), int(told["attempt"]), told.get("value"), told.get("error"), told.get("about") or {}, path
        )
        if isinstance(found.value if found.error is None else found.error, dict) and path.name in (
            place(path.parent, found.id, found.attempt).name,
            kept_place(path.parent, found.id).name,
        ):
            return found
        problem = "it holds no result of that job"
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        problem = f"{type(error).__name__}: {error}"
    warnings.warn(f"{path} is damaged and was ignored ({problem}); {then}.", RuntimeWarning, stacklevel=3)
    return None


def remove(folder: Path, id: str, attempt: int = 1) -> None:
    """Forget the result of one attempt; harmless where there is none."""
    place(folder, id, attempt).unlink(missing_ok=True)


def keep(folder: Path, id: str, attempt: int = 1) -> None:
    """Move the result of one attempt to those that are kept; harmless where there is none."""
    source, target = place(folder, id, attempt), kept_place(folder, id)
    if source.exists():
        target.parent.mkdir(exist_ok=True)
        source.replace(target)
        sync(target.parent)


def orphans(folder: Path) -> Iterator[Spooled]:
    """Results that no caller acknowledged, by id and attempt.

    To be stored, then acknowledged, at the start of a study, before any job runs. A damaged file is skipped with a
    warning; one that a killed process had only begun is deleted.
    """
    for draft in (folder / SPOOL).glob("*.tmp"):
        if not _alive(draft.stem.rpartition(".")[2]):
            draft.unlink(missing_ok=True)
    for path in sorted((folder / SPOOL).glob(f"*{SUFFIX}")):
        found = load(path, "the job will run again")
        if found is not None:
            yield found


def _alive(pid: str) -> bool:
    """Whether a process of this number is there; a name that holds none counts as alive, and its file is left alone."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True


def kept(folder: Path) -> Iterator[Spooled]:
    """Results that were stored and kept, by id. A damaged file is skipped with a warning."""
    for path in sorted((folder / KEPT).glob(f"*{SUFFIX}")):
        found = load(path, "it stays where it is")
        if found is not None:
            yield found
