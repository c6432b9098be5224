"""Trained weights and preparations on disk, by content: safetensors and plain files, never a pickle.

`weights/<hash>/` holds `net.safetensors` and the preparation's files; the hash is over both, so equal training
gives one copy and a damaged one is noticed when it is loaded. Nothing that could lead elsewhere is read: no link, no
device, no folder within.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from novum.disk import sync
from novum.errors import StudyError

if TYPE_CHECKING:
    import torch
    from torch import nn

NET = "net.safetensors"
PREFIX = "preparation-"
DIGEST = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Artifact:
    """A trained network's tensors on the CPU and its preparation's files."""

    tensors: Mapping[str, torch.Tensor]
    preparation: Mapping[str, bytes]


def save(folder: Path, net: nn.Module, preparation: Mapping[str, bytes]) -> tuple[str, int]:
    """Write `weights/<hash>/` under the study's folder; returns (hash, bytes). Writing the same twice is harmless.

    Raises OSError where the disk refuses; then nothing half written is left.
    """
    from safetensors.torch import save as encode

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    files = {NET: encode(tensors)} | {PREFIX + name: content for name, content in preparation.items()}
    for name in files:
        if Path(name).name != name:
            raise StudyError(f"a preparation's file is called {name!r}; use plain names without folders.")
    digest = _digest(files)
    target = folder / "weights" / digest
    if not target.exists():
        _write(target, files)
    return digest, sum(len(content) for content in files.values())


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of files that appears whole or not at all."""
    home = target.parent
    home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
    try:
        for name, content in files.items():
            with (scratch / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync(scratch)
        scratch.rename(target)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():  # else another worker wrote the same content first
            raise
    sync(home)


def load(folder: Path, digest: str) -> Artifact:
    """Read and check one. Raises StudyError when it is missing or damaged, or holds what is no plain file."""
    from safetensors import SafetensorError
    from safetensors.torch import load as decode

    home = _home(folder, digest)
    if not home.is_dir():
        raise StudyError(f"the weights {digest[:12]} are not in {home.parent}; run the trial again to get them back.")
    try:
        files = {name: read_plain(home / name) for name in names_within(home)}
    except OSError as error:
        raise StudyError(f"the weights in {home} cannot be used: {error}; delete the folder and run again.") from None
    if _digest(files) != digest:
        raise StudyError(f"the weights in {home} are damaged: their hash differs; delete the folder and run again.")
    preparation = {name.removeprefix(PREFIX): data for name, data in files.items() if name.startswith(PREFIX)}
    try:
        return Artifact(decode(files[NET]), preparation)
    except (KeyError, SafetensorError) as error:
        raise StudyError(f"the weights in {home} hold no network in safetensors ({error}); run again.") from None


def present(folder: Path, digest: str) -> bool:
    """Whether the weights of this hash are in the study's folder."""
    return _home(folder, digest).is_dir()


def held(folder: Path) -> list[str]:
    """Hashes of the weights in the study's folder."""
    return sorted(path.name for path in (folder / "weights").glob("*") if DIGEST.fullmatch(path.name))


def files(folder: Path, digest: str) -> dict[str, bytes]:
    """The files of one, by name, as they are. Raises OSError for what is missing or no plain file."""
    home = _home(folder, digest)
    return {name: read_plain(home / name) for name in names_within(home)}


def put(folder: Path, digest: str, content: Mapping[str, bytes]) -> None:
    """Write the files of one that came from another machine; `load` checks them. Raises OSError, and StudyError for a
    name that is no plain one.
    """
    target = _home(folder, digest)
    for name in content:
        if Path(name).name != name or name in ("", ".", ".."):
            raise StudyError(f"the weights {digest[:12]} hold a file called {name!r}; a plain name was expected.")
    if not target.exists():
        _write(target, content)


def drop(folder: Path, digest: str) -> None:
    """Delete one, if it is there. Raises StudyError where `digest` is no hash, and so names no folder of weights."""
    shutil.rmtree(_home(folder, digest), ignore_errors=True)


def names_within(folder: Path) -> list[str]:
    """Names in a folder, sorted. Raises OSError where the folder is a link, or cannot be read."""
    if folder.is_symlink():
        raise OSError(f"{folder.name} is a symbolic link, and only a folder is read")
    return sorted(path.name for path in folder.iterdir())


def read_plain(path: Path) -> bytes:
    """The content of a regular file. Raises OSError for anything else: a link, a folder, a device, a pipe."""
    with open_plain(path) as file:
        return file.read()


def open_plain(path: Path) -> BufferedReader:
    """A regular file, open for reading. Raises OSError for anything else: a link, a folder, a device, a pipe."""
    if path.is_symlink():
        raise OSError(f"{path.name} is a symbolic link, and only plain files are read")
    # The flags hold where a link or a pipe came in between; a pipe without a writer would be waited for.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{path.name} is no plain file")
    return os.fdopen(number, "rb")


def _home(folder: Path, digest: str) -> Path:
    if not DIGEST.fullmatch(digest):
        raise StudyError(f"{digest!r} is no hash of weights; one has 40 digits of 0 to 9 and a to f.")
    return folder / "weights" / digest


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + hashlib.sha256(files[name]).digest())
    return total.hexdigest()[:40]
