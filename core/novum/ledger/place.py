"""Where a ledger may lie: a writable folder on a local disk."""

from __future__ import annotations

import os
import re
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


def writable(folder: Path, file: Path) -> None:
    """Make `folder` where it is missing; raise StudyError unless a ledger `file` can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
    kind = file_system(folder)
    if kind in NETWORK and os.environ.get(FORCE) != "1":
        raise StudyError(
            f"the study's folder {folder} lies on a network file system ({kind}), where a ledger can be damaged; name "
            f"a folder on a local disk, or set {FORCE}=1 to accept the risk."
        )


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
