"""Private folders outside of a study, gone with their owner: at the latest when the next one is made."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO


class Scratch:
    """A new folder `root/<prefix>…`, until `end`.

    Its owner holds a lock that the kernel frees when it dies, however it dies. What the dead left under the same prefix
    is removed when another one is made.
    """

    def __init__(self, prefix: str, root: Path) -> None:
        _sweep(prefix, root)
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        new = self.folder / "lock.new"
        self._lock = new.open("w")
        fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self.folder / "lock")  # only now can a sweep see it

    def end(self) -> None:
        """Remove it."""
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _sweep(prefix: str, root: Path) -> None:
    for path in root.glob(f"{prefix}*/lock"):
        with suppress(OSError), path.open("r+") as file:  # another person's folder cannot be opened
            if _free(file):
                shutil.rmtree(path.parent, ignore_errors=True)


def _free(file: TextIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
