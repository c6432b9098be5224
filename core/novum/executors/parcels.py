"""How files travel between machines: bytes and names in one block of bytes, never a pickle.

A parcel is the length of its label (8 bytes, big-endian), the label as JSON ({"head": …, "sizes": {name: bytes}}), and
the contents of the files, one after the other.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from novum import disk
from novum.errors import StudyError
from novum.executors import spool

TOPS = ("weights", "runs", "checkpoints", "logs")
"""The folders of a study that a job may leave files in."""


def pack(head: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> bytes:
    """A parcel of JSON and files. Raises TypeError or ValueError where `head` is not JSON."""
    files = files or {}
    label = json.dumps({"head": head, "sizes": {name: len(content) for name, content in files.items()}}).encode()
    return b"".join([len(label).to_bytes(8, "big"), label, *files.values()])


def unpack(parcel: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What was packed: (head, {name: content}). Raises ValueError or KeyError where it is no parcel."""
    at = 8 + int.from_bytes(parcel[:8], "big")
    label = json.loads(parcel[8:at])
    files = {}
    for name, size in label["sizes"].items():
        files[name] = parcel[at : at + size]
        at += size
    if at != len(parcel):
        raise ValueError(f"a parcel of {len(parcel)} bytes should have {at}")
    return label["head"], files


def collect(folder: Path, tops: Iterable[str] = TOPS) -> dict[str, bytes]:
    """The files below some subfolders, by path relative to `folder`: no links, nothing that is still being written."""
    found = {}
    for top in tops:
        for here, folders, names in os.walk(folder / top):  # follows no links
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(here, name)
                if not (name.startswith(".") or name.endswith(".tmp") or path.is_symlink()) and path.is_file():
                    found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a study's folder, each whole or not at all, and a folder of weights only as a whole.

    Raises StudyError for a path that leads elsewhere, before any file is written, and OSError where the disk refuses.
    """
    for name in files:
        _check(folder, name)
    weights: dict[str, dict[str, bytes]] = {}
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if parts[0] == "weights":
            weights.setdefault(parts[1], {})["/".join(parts[2:])] = content
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            spool.put(folder / name, content)
    for digest, inside in weights.items():
        _place_weights(folder / "weights", digest, inside)


def _check(folder: Path, name: str) -> None:
    """A plain relative path below one of the folders that jobs may write to, without links on its way."""
    path = PurePosixPath(name)
    plain = bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts
    deep = 3 if name.startswith("weights/") else 2
    if not plain or path.as_posix() != name or len(path.parts) < deep or path.parts[0] not in TOPS:
        raise StudyError(
            f"a worker sent a file called {name[:200]!r}; allowed are plain paths below {', '.join(TOPS)}. Nothing of "
            "it was written. Look at the machines of the cluster: this is not what Novum sends."
        )
    for depth in range(2, len(path.parts) + 1):  # the first folder may be a person's own link to a bigger disk
        step = folder.joinpath(*path.parts[:depth])
        if step.is_symlink():
            raise StudyError(
                f"a worker sent the file {name!r}, but {step} is a link; links are not followed. Remove the link and "
                "run again."
            )


def _place_weights(home: Path, digest: str, files: Mapping[str, bytes]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    target = home / digest
    if target.exists():  # the name is the hash of the content
        return
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
    try:
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            spool.put(scratch / name, content)
        scratch.chmod(0o755)  # as a folder made without tempfile has it
        scratch.rename(target)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():
            raise
    disk.sync(home)
