"""A study's folder: which one is meant, and whether a study can work in it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from novum.config import flaw, plain, shown
from novum.errors import StudyError

LONGEST = 3500
"""Bytes of a folder's path; what is written in it has longer ones, and the system takes 4096."""
_CHOOSE = "choose another with --study, $NOVUM_STUDY or Study(folder)"


class StudyFolderError(StudyError):
    """The study's folder cannot be used: what the person chose is wrong, so the exit code is that of bad input."""

    exit_code = 2


def chosen(folder: str | Path) -> Path:
    """The absolute path of the folder that a person named, "~" and ".." followed; touches nothing.

    Raises StudyFolderError where no study can ever be there, or where the name is a link to what is not there: a
    folder made at its other end is seldom what was meant.
    """
    text = str(folder)
    bad = flaw(text)
    if bad is not None:
        raise StudyFolderError(f"the study's folder {shown(text)} has {bad} in its name; {_CHOOSE}.")
    try:
        path = Path(text).expanduser()
        if path.is_symlink() and not path.exists():
            raise StudyFolderError(
                f"the study's folder {str(path)!r} is a link to {str(path.readlink())!r}, which is not there; make "
                f"that folder, remove the link, or {_CHOOSE}."
            )
        path = path.resolve()
        path.exists()  # raises for a name that is too long, or a folder on the way that this user may not enter
    except OSError as error:
        raise StudyFolderError(
            f"the study's folder {plain(text, 300)!r} cannot be used ({error.strerror}); {_CHOOSE}."
        ) from None
    except RuntimeError:  # nobody's home, or links that lead in a circle
        raise StudyFolderError(
            f"the study's folder {plain(text, 300)!r} leads nowhere: its '~' names no user's home, or its links lead "
            f"in a circle; {_CHOOSE}."
        ) from None
    if len(os.fsencode(path)) > LONGEST:
        raise StudyFolderError(
            f"the study's folder {shown(str(path))} has a path of more than {LONGEST} bytes; {_CHOOSE}."
        )
    return path


def make(folder: Path, *, network: bool = False) -> None:
    """Make a study's folder, or make sure that it can be worked in; a refusal leaves nothing behind.

    Raises StudyFolderError when it cannot be written, StudyError on a network file system and where the disk has
    less room than a study needs (`novum.ledger.place`). network: the ledger is elsewhere, so that the folder may be
    on a network file system.
    """
    from novum.ledger import place

    if folder.exists() and not folder.is_dir():
        raise StudyFolderError(f"the study's folder {str(folder)!r} is a file, no folder; {_CHOOSE}.")
    if not network:
        place.local(folder)
    place.spacious(folder)
    made: list[Path] = []
    try:
        made = place.make(folder)
        probe = folder / f".writable-{os.getpid()}"  # of its own, for another process may look at the same moment
        probe.touch()
        probe.unlink()
    except OSError as error:
        place.unmake(made)
        raise StudyFolderError(
            f"the study's folder {str(folder)!r} cannot be written ({error.strerror}); {_CHOOSE}."
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the study's lock. The kernel frees it when the process ends, however it ends.

    Raises StudyError when another process works in the study.
    """
    import fcntl

    file: TextIO
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StudyError(
                f"another process (pid {owner}) is working in {folder}; wait for it, stop it, or use another folder. "
                "`novum status` reads the study meanwhile."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM (a batch system's, a container's) end the work as Ctrl-C does: workers end, and nothing is lost.

    Only in the main thread, and only where the program itself has no handler.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the same as Ctrl-C, from the system."""
