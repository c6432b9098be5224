"""Where a ledger may lie: a writable folder on a local disk that has some room."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from novum.errors import StudyError

FORCE = "NOVUM_LEDGER_ON_NETWORK"
"""Environment variable; "1" accepts a network file system, at the risk of a damaged ledger."""
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    [
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    ]
)
"""File systems on which SQLite's write-ahead log is not safe (https://www.sqlite.org/wal.html)."""


RESERVE = 2_000_000
"""Bytes that a disk must have free before a study works on it, or RESERVE_SHARE of the disk where that is less."""
RESERVE_SHARE = 0.05
FIRST = 300_000
"""Bytes that a new ledger takes, with the files that SQLite puts beside it."""


def writable(folder: Path, file: Path) -> None:
    """Make `folder` where it is missing; raise StudyError unless a ledger `file` can be written in it."""
    local(folder)
    try:
        make(folder)
    except OSError as error:
        raise StudyError(
            f"the study's folder {folder} cannot be made ({error.strerror or error}); name a folder in a place that "
            "you may write to."
        ) from None
    for path in (folder, file):
        if path.exists() and not os.access(path, os.W_OK):
            raise StudyError(
                f"{path} is not writable by this user; change its permissions, name another folder, or open the "
                "study read-only (`novum status` does)."
            )


def local(folder: Path) -> None:
    """Raise StudyError where `folder`, which need not be there, lies on a network file system; FORCE accepts it."""
    kind = file_system(folder)
    if kind in NETWORK and os.environ.get(FORCE) != "1":
        raise StudyError(
            f"the study's folder {folder} lies on a network file system ({kind}), where a ledger can be damaged; name "
            f"a folder on a local disk, or set {FORCE}=1 to accept the risk."
        )


def room(folder: Path) -> int:
    """Free bytes for this user on the disk that holds `folder`, which need not be there; 0 where it takes no files.

    sys.maxsize where the system does not say.
    """
    disk = _disk(folder)
    if disk is None:
        return sys.maxsize
    return 0 if disk.f_files and not disk.f_favail else disk.f_bavail * disk.f_frsize


def spacious(folder: Path) -> None:
    """Raise StudyError where the disk of `folder`, which need not be there, has less room than a study needs.

    That is RESERVE, or RESERVE_SHARE of a small disk; and never less than FIRST for a new study.
    """
    disk = _disk(folder)
    if disk is None or disk.f_flag & os.ST_RDONLY:  # that it cannot be written is told by who tries
        return
    need = min(RESERVE, int(RESERVE_SHARE * disk.f_blocks * disk.f_frsize))
    if not (folder / "ledger.sqlite").exists():
        need = max(need, FIRST)
    free = room(folder)
    if free < need:
        raise StudyError(
            f"the disk of the study's folder {folder} is full: {free:_} bytes are free, and a study needs {need:_}; "
            "free some space and run the same again, or choose a folder on another disk with --study, $NOVUM_STUDY or "
            "Study(folder). Nothing was changed."
        )


def _disk(folder: Path) -> os.statvfs_result | None:
    """Sizes of the disk that holds `folder` or the nearest above it that is there; None where it has none."""
    try:
        found = os.statvfs(next(each for each in (folder, *folder.parents) if each.exists()))
    except (OSError, StopIteration):
        return None
    return found if found.f_blocks else None


def make(folder: Path) -> list[Path]:
    """Make `folder` and what is missing above it; gives those it made, the outermost first.

    Raises OSError, and leaves none of them then, where one cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    made: list[Path] = []
    try:
        for each in reversed(missing):
            with suppress(FileExistsError):  # another process may be making the same
                each.mkdir()
                made.append(each)
        folder.mkdir(exist_ok=True)  # raises where it is a file
    except OSError:
        unmake(made)
        raise
    return made


def unmake(folders: Sequence[Path]) -> None:
    """Take away what `make` made, as far as it is still empty."""
    for each in reversed(folders):
        with suppress(OSError):
            each.rmdir()


def file_system(folder: Path) -> str | None:
    """The type of the file system that holds `folder`, such as "ext4"; None where the system does not say."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = folder.resolve()
    found: tuple[int, str] | None = None
    for line in lines:  # "36 35 98:0 /root /mount options optional… - type source options"
        left, _, right = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), left.split(" ")[4]))
        depth = len(mount.parts)
        if real.is_relative_to(mount) and (found is None or depth >= found[0]):  # a later mount hides an earlier one
            found = depth, right.split(" ")[0]
    return found[1] if found else None
