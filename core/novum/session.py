"""One process at work in a study: the ledger knows it by an id, and how it ended; other machines see its heartbeat."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from novum.arm import fingerprint
from novum.errors import DiskFullError, NovumError
from novum.executors.leases import started

if TYPE_CHECKING:
    from novum.ledger import Ledger

BEAT = "NOVUM_BEAT"
"""Environment variable: seconds between two heartbeats to a ledger that several machines share; default 5."""
LOOKS = 6
"""A session is lost when its heartbeat stood still over so many looks of another, one beat apart."""


def interval() -> float:
    """Seconds between two heartbeats."""
    return float(os.environ.get(BEAT, "5"))


class Session:
    """A context: begins with the study's work and ends with it, however that ends.

    Where only this machine works in the study (a ledger in its folder), whoever holds the study's lock knows that
    every other session is over. Where several do, each beats: an observer that saw the same count over `LOOKS` looks
    takes the session for lost. It compares counts by its own looks, so no two clocks need to agree and a machine that
    slept loses nothing.
    """

    def __init__(self, ledger: Ledger, folder: Path, executor: str) -> None:
        self._ledger = ledger
        self._about = about(folder, executor)
        text = f"{self._about['host']} {self._about['boot']} {os.getpid()} {time.time_ns()}"
        self.id = hashlib.sha256(text.encode()).hexdigest()[:12]
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: dict[str, tuple[int, int]] = {}
        self._looked = 0.0

    def __enter__(self) -> Session:
        found = environment()
        self._about["environment"] = fingerprint(found)
        self._ledger.record_observation(f"environment/{self._about['environment']}", found)
        self._ledger.begin_session(self.id, self._about)
        if self._ledger.shared:
            self._thread = threading.Thread(target=self._beat, name="novum-heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(NovumError):  # what ended the work says more than a ledger that cannot be written either
            if error is None:
                self._ledger.end_session(self.id, "ended")
            elif isinstance(error, KeyboardInterrupt):
                self._ledger.end_session(self.id, "interrupted", "stopped by a person or the system")
            elif isinstance(error, DiskFullError):
                self._ledger.end_session(self.id, "paused", str(error))
            elif isinstance(error, Exception):
                self._ledger.end_session(self.id, "failed", f"{type(error).__name__}: {error}"[:2000])

    def pause(self, why: str) -> None:
        """Note that it waits, where that can be noted."""
        with suppress(NovumError):
            self._ledger.end_session(self.id, "paused", why)

    def unpause(self) -> None:
        """Note that it goes on."""
        with suppress(NovumError):
            self._ledger.end_session(self.id, "working")

    def _beat(self) -> None:
        while not self._over.wait(interval()):
            with suppress(Exception):  # the next one tells as much
                self._ledger.beat(self.id)

    def take_over(self) -> list[str]:
        """At the start of work, and again and again while several machines share a ledger: put the trials of sessions
        that are lost back into the plan. Returns the ids of those sessions.
        """
        shared = self._ledger.shared
        if shared and time.monotonic() - self._looked < interval():
            return []
        self._looked = time.monotonic()
        beats, runners = self._ledger.beats(), self._ledger.runners()
        lost = []
        for row in self._ledger.sessions():
            cut = row["state"] == "working" or (row["state"] == "paused" and row["id"] in runners)
            if row["id"] == self.id or not cut:  # one that ended as paused has put its trials back itself
                continue
            if shared and not gone(row["about"]) and not self._silent(row["id"], beats.get(row["id"], 0)):
                continue
            self._ledger.end_session(row["id"], "lost", "its process ended without a word")
            self._ledger.release_running("the session that ran it was lost", session=row["id"])
            lost.append(row["id"])
        if not shared:
            self._ledger.release_running("the process that ran it ended")
        return lost

    def _silent(self, id: str, count: int) -> bool:
        last, looks = self._seen.get(id, (-1, 0))
        looks = looks + 1 if count == last else 0
        self._seen[id] = (count, looks)
        return looks >= LOOKS


def about(folder: Path, executor: str) -> dict[str, Any]:
    """Who works, for people and for other sessions: host, pid and when it started, boot of the host, executor."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "boot": boot(),
        "executor": executor,
        "folder": str(folder),
    }


def boot() -> str:
    """An id of this boot of this host; "" where the system tells none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def gone(who: dict[str, Any]) -> bool:
    """Whether a session's process is known to be dead: it ran on this boot of this host, and is not here any more."""
    if not who["boot"] or who["boot"] != boot() or who["host"] != socket.gethostname() or who["started"] is None:
        return False
    return bool(started(int(who["pid"])) != who["started"])


def environment() -> dict[str, Any]:
    """What is installed, for the record: Python, platform, and the version of every distribution."""
    found = {str(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(found.items(), key=lambda item: item[0].lower())),
    }
