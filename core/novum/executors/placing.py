"""Which jobs run side by side on this machine: by the memory that they were measured to need, and by cores."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.errors import StudyError
from novum.executors.base import Job, control_groups

RESERVE = 0.02
"""This share of a GPU's memory, or of the machine's, is given to nobody: measured peaks leave gaps between blocks."""


@dataclass(frozen=True)
class Gpu:
    """Bytes of one GPU: of the whole, and those free when the workers started (other people may use some)."""

    total: int
    free: int

    @property
    def room(self) -> int:
        """Bytes for jobs."""
        return max(0, self.free - int(RESERVE * self.total))


@dataclass(frozen=True)
class Need:
    """What one job asks for, by its payload's "resources". None: it was never measured.

    device_memory: bytes on each GPU, the context included. process_memory: bytes of the machine's memory. devices:
    GPUs (or cores, where there is no GPU) that belong to this job alone.
    """

    device_memory: int | None = None
    process_memory: int | None = None
    devices: int = 1

    @classmethod
    def of(cls, job: Job) -> Need:
        """Of a job. What a person guesses a trial needs ("memory") counts only until it was measured."""
        told: Mapping[str, Any] = job.payload.get("resources") or {}
        process = told.get("process_memory", told.get("memory"))
        return cls(told.get("device_memory"), None if process is None else int(process), int(told.get("devices", 1)))


@dataclass(frozen=True)
class Place:
    """Where a job runs. `slot`: the lowest number that no other running job has. `gpus`: indices, as CUDA numbers them
    for the server. `memory`: bytes that are kept for it, on each GPU or of the machine. `shared`: whether others may
    come to its GPU.
    """

    slot: int
    gpus: tuple[int, ...] = ()
    memory: int = 0
    shared: bool = False
    cores: int = 1


class Placing:
    """A machine. It remembers nothing of what runs where: each question brings that along.

    workers: most jobs at a time, None for the number of cores. gpus: empty without any. memory: bytes of the machine
    that were free when the workers started, None where that is unknown, and then not counted.
    """

    def __init__(self, workers: int | None, cores: int, gpus: Sequence[Gpu], memory: int | None) -> None:
        self.gpus = tuple(gpus)
        self.slots = workers or cores
        self.memory = None if memory is None else int((1 - RESERVE) * memory)
        self._cores = max(self.slots, cores)
        self.short: str | None = None
        """A sentence for a person, once memory has held a job back that had a core."""

    def full(self, taken: Collection[Place]) -> bool:
        """Whether no job at all could start beside these."""
        return sum(each.cores for each in taken) >= self.slots

    def place(self, job: Job, taken: Collection[Place]) -> Place | None:
        """Where a job may run beside others; None where it must wait for one of them to end.

        Where nothing runs there is a place for every job. Raises StudyError for one that wants more devices than there
        are.
        """
        need = Need.of(job)
        have = len(self.gpus) or self._cores
        if need.devices > have:
            what = "GPU" if self.gpus else "core"
            raise StudyError(
                f"job {job.id} wants {need.devices} devices for one trial, and this machine has {have} "
                f"{what}{'s' if have > 1 else ''}; allowed: 1 to {have}. Lower recipe.devices, or run it on a machine "
                "that has as many."
            )
        used = sum(each.cores for each in taken)
        if taken and used + need.devices > self.slots:
            return None
        slot = next(at for at in range(len(taken) + 1) if at not in {each.slot for each in taken})
        return self._on_gpus(need, slot, taken) if self.gpus else self._on_cores(need, slot, taken)

    def _on_gpus(self, need: Need, slot: int, taken: Collection[Place]) -> Place | None:
        """A measured need goes where the fewest run, so that they share the arithmetic, too; among those where most is
        left. An unknown one, one above any GPU's room and one of several devices get GPUs of their own.
        """
        guests = {at: [each for each in taken if at in each.gpus] for at in range(len(self.gpus))}
        empty = sorted((at for at in guests if not guests[at]), key=lambda at: (-self.gpus[at].room, at))
        asked = need.device_memory
        if need.devices > 1 or asked is None or asked > max(gpu.room for gpu in self.gpus):
            mine = tuple(sorted(empty[: need.devices]))
            return Place(slot, mine, cores=need.devices) if len(mine) == need.devices else None
        left = {at: self.gpus[at].room - sum(each.memory for each in guests[at]) for at in guests}
        able = [at for at in guests if left[at] >= asked and all(each.shared for each in guests[at])]
        if not able:
            return None
        best = min(able, key=lambda at: (len(guests[at]), -left[at], at))
        return Place(slot, (best,), asked, shared=True)

    def _on_cores(self, need: Need, slot: int, taken: Collection[Place]) -> Place | None:
        """An unknown need counts as an equal share of the memory: before anything was measured, all cores work."""
        if self.memory is None:
            return Place(slot, cores=need.devices)
        asked = self.memory // self.slots * need.devices if need.process_memory is None else need.process_memory
        if taken and sum(each.memory for each in taken) + asked > self.memory:
            self.short = self.short or (
                f"Memory holds fewer trials at a time than the {self.slots} that the cores would: one needs "
                f"{size(asked)} as measured, and {size(self.memory)} were free for all when the workers started."
            )
            return None
        return Place(slot, memory=asked, cores=need.devices)


def size(count: int) -> str:
    """Bytes for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def available(
    root: Path = Path("/sys/fs/cgroup"),
    membership: Path = Path("/proc/self/cgroup"),
    machine: Path = Path("/proc/meminfo"),
) -> int | None:
    """Bytes of memory that new processes may use without swapping: what Linux calls available, or what the limits of
    this control group (v2) leave where that is less. Elsewhere all of the machine's memory; None where nobody tells.
    """
    found: list[int] = []
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in machine.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    for folder in control_groups(root, membership):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            found.append(max(0, limit - used + _file_cache(folder)))
    if not found and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def _file_cache(folder: Path) -> int:
    """Bytes of a group's files that nobody uses: they are given up first."""
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0
