"""Checkpoints: where a trial goes on after its process was killed. safetensors and JSON, never a pickle.

`checkpoints/<trial key>/<number>/` under the study's folder holds three files: `state.safetensors` with every tensor,
`state.json` with everything else, and `manifest.json` with the SHA-256 of both. A checkpoint appears whole or not at
all, the two newest are kept, and each is verified when it is read. One that cannot be used is passed over for the one
before it; one that cannot be written leaves the others as they are. Neither is silent: see `Shelf.deviations`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from novum import disk
from novum.errors import StudyError
from novum.runner import artifacts
from novum.runner.packing import pack, unpack, written

if TYPE_CHECKING:
    import torch

    from novum.runner.joint import Joint
    from novum.runner.train import Trainer

    Resumable = TypeVar("Resumable", Trainer, Joint)

TENSORS, STATE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
EVERY = 60.0
"""Seconds of wall time between checkpoints, where a job names no other."""
KEEP = 2
"""Checkpoints of one trial that are kept, the newest ones."""
SHARE = 0.1
"""Most of the time that writing may take; where a checkpoint takes long, the next one is put off."""
LONGEST = 300
"""Characters of a reason that a sentence repeats."""
KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def discard(folder: Path, key: str) -> None:
    """Delete every checkpoint of a trial of the study in `folder`; harmless where there is none.

    Raises StudyError where `key` is no trial's key.
    """
    _remove(_home(folder, key))


class Shelf:
    """The checkpoints of one trial.

    identity: what a checkpoint must agree with to be used, as JSON; others are left alone until newer ones replace
        them. every: seconds of wall time between two checkpoints; 0 asks for one after every batch, None for none.

    `deviations` are plain sentences on what went wrong with checkpoints, each once and each also told on standard
    error; `resumed` the units at which the trial went on after its process had died. Both are saved with every state
    and come back with it.
    """

    def __init__(self, folder: Path, key: str, identity: Mapping[str, Any], every: float | None = EVERY) -> None:
        self.deviations: list[str] = []
        self.resumed: list[int] = []
        self._home = _home(folder, key)
        self._identity = json.loads(json.dumps(identity))
        self._every = every
        self._last = time.monotonic()
        self._cost = 0.0
        self._unusable: set[int] = set()
        self.number: int | None = None
        """The checkpoint that the trial went on from."""

    def tell(self, sentence: str) -> None:
        """Put a sentence on the record, and on standard error, unless it stands there."""
        if sentence not in self.deviations:
            self.deviations.append(sentence)
            with suppress(Exception):  # a plugin may have closed it
                sys.stderr.write(f"novum: {sentence}\n")

    # ------------------------------------------------------------------------------------------------------ writing

    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        if self._every is None:
            return False
        pause = self._cost * (1 - SHARE) / SHARE if self._every > 0 else 0.0
        return time.monotonic() - self._last >= max(self._every, pause)

    def stop(self) -> None:
        """Write none from here on: what there is to save cannot be saved."""
        self._every = None

    def save(self, collect: Callable[[], Any]) -> bool:
        """Write what `collect` gives; returns whether it is on the disk. Whatever goes wrong is told, not raised.

        None says that there is nothing that can be saved: it is not asked again.
        """
        began = time.monotonic()
        try:
            state = collect()
            if state is None:
                self.stop()
                return False
            self._write(*pack({"state": state, "resumed": self.resumed, "deviations": self.deviations}))
        except Exception as error:  # of the disk, of memory, of a plugin's state_dict: none is worth the trial
            self.tell(f"a checkpoint could not be written ({_reason(error)}); training went on")
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - began
        return True

    def _write(self, packed: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        if self._home.is_symlink():
            raise OSError("the folder of its checkpoints is a symbolic link")
        text = json.dumps({"identity": self._identity, "state": packed}).encode()
        _check_space(self._home, len(text) + sum(tensor.nbytes for tensor in tensors.values()))
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=self._home))
        try:
            sums = {TENSORS: _store(scratch / TENSORS, written(tensors)), STATE: _store(scratch / STATE, [text])}
            _store(scratch / MANIFEST, [_manifest(sums)])
            disk.sync(scratch)
            self._place(scratch)
            disk.sync(self._home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._prune()

    def _place(self, scratch: Path) -> None:
        number = max(self._numbers(), default=0)
        while True:
            number += 1
            try:
                scratch.rename(self._home / str(number))
                return
            except OSError as error:  # an attempt that was thought dead may write beside this one
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise

    def _prune(self) -> None:
        usable = [number for number in self._numbers() if number not in self._unusable]
        for number in self._numbers():
            if number not in usable[-KEEP:]:
                _remove(self._home / str(number))
        self._unusable &= set(self._numbers())

    # ------------------------------------------------------------------------------------------------------ reading

    def resume(self, make: Callable[[], Resumable]) -> Resumable:
        """A trainer that goes on from the newest checkpoint of this identity that is whole and can be restored, or
        one at its beginning. Each checkpoint that is passed over is told.

        make: gives a new trainer; a restoring that fails half way spoils the one before. Want of memory counts
        against no checkpoint, and is raised.
        """
        import torch

        trainer = make()
        for number, content in self._stored():
            try:
                saved: dict[str, Any] = self._unpacked(number, content, trainer.device)
                trainer.restore(saved["state"])
                resumed, told = [*saved["resumed"], trainer.used], list(saved["deviations"])
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                self._pass_over(number, error)
                trainer = make()
                continue
            self.resumed, self.number = resumed, number
            self.deviations = told + [each for each in self.deviations if each not in told]
            return trainer
        if self.deviations:
            self.tell("no checkpoint could be used: the trial started from its beginning")
        return trainer

    def follow(self, number: int, trainer: Trainer) -> None:
        """Restore a trainer from the checkpoint that another process of the same trial went on from.

        Raises OSError, ValueError or what the restoring raises where it is not that checkpoint any more.
        """
        content = _verified(self._home / str(number))
        if content["identity"] != self._identity:
            raise ValueError(f"checkpoint {number} is of another trial")
        trainer.restore(self._unpacked(number, content["state"], trainer.device)["state"])

    def _stored(self) -> Iterator[tuple[int, Any]]:
        """The checkpoints of this identity that are whole, newest first, as number and JSON."""
        try:
            if self._home.is_symlink():
                raise OSError("their folder is a symbolic link")
            numbers = self._numbers()
        except OSError as error:
            self.tell(f"the trial's checkpoints could not be read ({_reason(error)})")
            return
        for path in self._home.glob(".*-*"):  # what a killed process was writing or removing
            _remove(path)
        for number in reversed(numbers):
            try:
                content = _verified(self._home / str(number))
            except Exception as error:
                self._pass_over(number, error)
                continue
            if content["identity"] == self._identity:
                yield number, content["state"]
            else:
                self._unusable.add(number)

    def _unpacked(self, number: int, packed: Any, device: torch.device) -> Any:
        from safetensors import safe_open

        with safe_open(self._home / str(number) / TENSORS, framework="pt", device="cpu") as tensors:
            return unpack(packed, tensors.get_tensor, device)

    def _pass_over(self, number: int, error: Exception) -> None:
        """Note that a checkpoint is of no use; it is removed when the next one has been written."""
        self._unusable.add(number)
        self.tell(f"checkpoint {number} could not be used ({_reason(error)}) and was passed over")

    def _numbers(self) -> list[int]:
        if not self._home.exists():
            return []
        return sorted(int(name) for name in artifacts.names_within(self._home) if NUMBER.fullmatch(name))


def _home(folder: Path, key: str) -> Path:
    if not KEY.fullmatch(key):
        raise StudyError(f"{key!r} is no trial's key; one has letters, digits, '_', '-' and '.', which does not lead.")
    return folder / "checkpoints" / key


def _verified(folder: Path) -> dict[str, Any]:
    """The content of `state.json` of a checkpoint that is whole. Raises OSError or ValueError for any other."""
    names = artifacts.names_within(folder)
    if names != sorted((TENSORS, STATE, MANIFEST)):
        raise ValueError(f"it holds {', '.join(names) or 'nothing'}")
    text = artifacts.read_plain(folder / STATE)
    with artifacts.open_plain(folder / TENSORS) as file:
        sums = {TENSORS: hashlib.file_digest(file, "sha256").hexdigest(), STATE: hashlib.sha256(text).hexdigest()}
    if artifacts.read_plain(folder / MANIFEST) != _manifest(sums):
        raise ValueError("its files and their hashes differ")
    content: dict[str, Any] = json.loads(text)
    return content


def _manifest(sums: Mapping[str, str]) -> bytes:
    """Byte for byte the same for the same sums, so that a change to any byte of it is seen."""
    return json.dumps({"format": 1, "sha256": dict(sorted(sums.items()))}).encode()


def _store(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a file to the disk, part by part; returns the SHA-256 of what was meant to be written."""
    total = hashlib.sha256()
    with path.open("xb") as file:
        for part in parts:
            total.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return total.hexdigest()


def _check_space(folder: Path, size: int) -> None:
    """Raises OSError where the disk would be left with less than the reserve."""
    usage = shutil.disk_usage(folder)
    reserve = disk.reserve(usage.total)
    if usage.free < size + reserve:
        raise OSError(errno.ENOSPC, f"the disk has no room for it beside a reserve of {reserve // 1_000_000} MB")


def _remove(path: Path) -> None:
    """Delete a folder as a whole, so that a kill in between leaves none that looks like a checkpoint."""
    gone = path.with_name(f".gone-{path.name}-{os.getpid()}")
    with suppress(OSError):
        path.rename(gone)
        if gone.is_symlink() or not gone.is_dir():
            gone.unlink()
    shutil.rmtree(gone, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """In words, without the random names of files that would make each failure another one."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
