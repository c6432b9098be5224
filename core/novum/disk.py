"""Room on the disk: looked at before a trial starts, and waited for when it is gone. Nothing is ever half-written."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from novum.errors import DiskFullError

if TYPE_CHECKING:
    from novum.lab import Lab

T = TypeVar("T")

SHARE = 0.05
MOST = 500_000_000
"""A trial starts only where this share of the disk, or so many bytes where that is less, are free."""
PATIENCE = "NOVUM_DISK_PATIENCE"
"""Environment variable: seconds to wait for room before giving up; default 3600."""
EVERY = 0.5
"""Seconds between two looks at a full disk."""


def reserve(total: int) -> int:
    """Bytes that stay free on a disk of so many."""
    return min(int(SHARE * total), MOST)


def sync(folder: Path) -> None:
    """Make the names in a folder survive a loss of power. Raises OSError where the disk refuses."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def shortage(folder: Path) -> str | None:
    """What is wrong with the room on `folder`'s disk, in a sentence; None where there is enough to start a trial."""
    usage = shutil.disk_usage(folder)
    least = reserve(usage.total)
    if usage.free >= least:
        return None
    return (
        f"the disk of {folder} has {size(usage.free)} left, and Novum keeps {size(least)} in reserve; free some "
        "space there"
    )


def size(count: float) -> str:
    """A number of bytes for a person: "12 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def patiently(lab: Lab, action: Callable[[], T]) -> T:
    """Do something that needs room; where there is none, pause the study until there is, and do it again.

    Raises DiskFullError when nobody made room for `NOVUM_DISK_PATIENCE` seconds.
    """
    deadline: float | None = None
    while True:
        try:
            done = action()
        except DiskFullError as error:
            if deadline is None:
                deadline = time.monotonic() + float(os.environ.get(PATIENCE, "3600"))
                lab.pause(str(error))
            if time.monotonic() > deadline:
                raise
            time.sleep(EVERY)
        else:
            if deadline is not None:
                lab.unpause()
            return done


def wait(lab: Lab) -> None:
    """Pause the study until there is room to start a trial; returns at once where there is. Raises DiskFullError."""

    def look() -> None:
        lacking = shortage(lab.folder)
        if lacking is not None:
            raise DiskFullError(f"{lacking}; the study then goes on by itself, or by the same command.")

    patiently(lab, look)
