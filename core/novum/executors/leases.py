"""Who runs jobs on this machine: a lease that the kernel frees when its holder dies, however it dies.

A fork server holds a POSIX record lock (`fcntl.lockf`) on `leases/<pid>.lease`, and lists there the process groups of
its jobs. No clock is asked: a lease whose lock is free belongs to the dead. (`flock` would not do: a process that
forked from the dead one would hold it on.)
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

PATIENCE = 5.0
"""Seconds for a server that outlived its caller to end its jobs by itself."""


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None where there is none, or no /proc.

    With its id it names a process for good: ids are used again, ids with start times are not.
    """
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] != "Z":  # a zombie runs nothing any more
            return int(fields[19])
    return None


class Lease:
    """A server's lease, from now until `end` or its death."""

    def __init__(self, folder: Path) -> None:
        home = folder / "leases"
        home.mkdir(parents=True, exist_ok=True)
        self._path = home / f"{os.getpid()}.lease"
        self._path.unlink(missing_ok=True)  # of a dead one that had this id
        self._file = self._path.open("a")
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.note(os.getpid())

    @property
    def descriptor(self) -> int:
        """Of the file that carries the lock."""
        return self._file.fileno()

    def note(self, pid: int, job: str | None = None) -> None:
        """Put a process, the leader of its own group, on the lease; the first is the server itself, and no job."""
        with suppress(OSError):  # a full disk costs no job: it still dies with this process
            self._file.write(json.dumps({"pid": pid, "started": started(pid), "job": job}) + "\n")
            self._file.flush()

    def end(self) -> None:
        """Give it up: nothing of it runs any more."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def clear(folder: Path, own: int | None = None) -> list[int]:
    """End what an earlier run of this study left running on this machine, and return the groups that were killed.

    own: the caller's own server. A server that lives on after its caller gets `PATIENCE` seconds to end its jobs. To
    be called by who holds the study's lock.
    """
    killed: list[int] = []
    for path in sorted((folder / "leases").glob("*.lease")):
        if path.stem != str(own):
            with suppress(FileNotFoundError), path.open("r+") as file:
                noted = _noted(path)
                if not _free(file) and noted:
                    killed += _kill(noted[:1])  # its jobs die with it, or stand on the lease
                killed += [group for group in _kill(noted[1:]) if group not in killed]
                path.unlink(missing_ok=True)
    return killed


def _free(file: TextIO) -> bool:
    """Wait until nobody holds the lease."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _noted(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # the last line may be torn
            found.append(json.loads(line))
    return found


def _kill(noted: list[dict[str, Any]]) -> list[int]:
    """Kill those groups that are still the ones noted."""
    killed = []
    for each in noted:
        pid, now = int(each["pid"]), started(int(each["pid"]))
        # A group outlives its leader, and its number is not given away meanwhile; another leader is another group.
        if each["started"] is None or now not in (None, each["started"]):
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
            killed.append(pid)
    return killed
