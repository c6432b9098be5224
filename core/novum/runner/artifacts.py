"""Trained weights and preparations on disk, by content: safetensors and plain files, never a pickle.

`weights/<hash>/` holds `net.safetensors` and the preparation's files; the hash is over both, so equal training
gives one copy and a damaged one is noticed when it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from novum.errors import StudyError

if TYPE_CHECKING:
    import torch
    from torch import nn

NET = "net.safetensors"
PREFIX = "preparation-"


@dataclass(frozen=True)
class Artifact:
    """A trained network's tensors on the CPU and its preparation's files."""

    tensors: Mapping[str, torch.Tensor]
    preparation: Mapping[str, bytes]


def save(folder: Path, net: nn.Module, preparation: Mapping[str, bytes]) -> tuple[str, int]:
    """Write `weights/<hash>/` under the study's folder; returns (hash, bytes). Writing the same twice is harmless."""
    from safetensors.torch import save as encode

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    files = {NET: encode(tensors)} | {PREFIX + name: content for name, content in preparation.items()}
    for name in files:
        if Path(name).name != name:
            raise StudyError(f"a preparation's file is called {name!r}; use plain names without folders.")
    digest = _digest(files)
    home = folder / "weights"
    home.mkdir(parents=True, exist_ok=True)
    target = home / digest
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=home))
        for name, content in files.items():
            with (scratch / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            scratch.rename(target)
        except OSError:  # another worker wrote the same content first
            shutil.rmtree(scratch)
            if not target.exists():
                raise
    return digest, sum(len(content) for content in files.values())


def load(folder: Path, digest: str) -> Artifact:
    """Read and check one. Raises StudyError when it is missing or damaged."""
    from safetensors.torch import load as decode

    home = folder / "weights" / digest
    if not home.is_dir():
        raise StudyError(f"the weights {digest[:12]} are not in {home.parent}; run the trial again to get them back.")
    files = {path.name: path.read_bytes() for path in sorted(home.iterdir())}
    if _digest(files) != digest:
        raise StudyError(f"the weights in {home} are damaged: their hash differs; delete the folder and run again.")
    preparation = {name.removeprefix(PREFIX): data for name, data in files.items() if name.startswith(PREFIX)}
    return Artifact(decode(files[NET]), preparation)


def drop(folder: Path, digest: str) -> None:
    """Delete one, if it is there."""
    shutil.rmtree(folder / "weights" / digest, ignore_errors=True)


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0".encode() + hashlib.sha256(files[name]).digest())
    return total.hexdigest()[:40]
