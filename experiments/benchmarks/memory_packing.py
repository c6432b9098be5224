"""Trials packed onto one GPU of 24 GB by measured need, beside one trial a GPU and fractions set by hand, in one run.

    python experiments/benchmarks/memory_packing.py [--seeds 8] [--scale 1.0]

The GPU is simulated (see `simulated_device.py` for what it models and what not); the executor, its processes and its
order are the real ones. Three mixes of arms, each with its memory, the share of the GPU's arithmetic that it uses when
it is alone, and its seconds alone: "mixed" as small and middle-sized models come, "bound" where each trial keeps the
GPU busy by itself, "small" where launches leave it idle. Trials come in the order of a claim: every arm's first seed,
then every arm's second.

measured    what each arm needs is taken from a rehearsal of it, which runs first, alone, and is counted
one a GPU   a trial has the GPU to itself
1/2, 1/4    every trial may use this share of the memory, and so many run at a time; one that needs more runs out of
            memory, and is tried again alone without that limit, before others start, as Novum does

Printed for each: makespan in seconds of wall time, its ratio to one a GPU, mean memory in use over the makespan as
allocated by trials, tries that ran out of memory, CPU seconds of all processes. The bound is what no order can beat:
the arithmetic asked for, or memory × time where that is more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from novum.executors import Job, LocalExecutor
from novum.executors.placing import RESERVE
from novum.needs import padded
from simulated_device import events

HERE = Path(__file__).parent
GB = 1_000_000_000
TOTAL = 24 * GB
WORKERS = 16
"""Cores of the machine that the GPU is in, one a trial; the trials sleep, so fewer real ones do."""
REHEARSAL = 0.1
"""Seconds of a rehearsal's few steps."""


@dataclass(frozen=True)
class Arm:
    """need: GB. share: of the GPU's arithmetic, alone. seconds: of one trial, alone."""

    need: float
    share: float
    seconds: float


MIXES = {
    "mixed": (Arm(1.2, 0.15, 0.8), Arm(2, 0.2, 1.0), Arm(3.5, 0.3, 1.2), Arm(6, 0.45, 1.5), Arm(11, 0.7, 2.0)),
    "bound": (Arm(1.2, 1.0, 0.8), Arm(2, 1.0, 1.0), Arm(3.5, 1.0, 1.2), Arm(6, 1.0, 1.5), Arm(11, 1.0, 2.0)),
    "small": (Arm(1.2, 0.05, 0.8), Arm(1.5, 0.06, 1.0), Arm(2, 0.08, 1.2)),
}
FRACTIONS: dict[str, float | None] = {"one a GPU": 1.0, "1/2": 0.5, "1/4": 0.25, "measured": None}


class Feed:
    """Trials in order, each once, or again alone where it ran out of memory: the rule of `novum.feed`."""

    def __init__(self, arms: tuple[Arm, ...], seeds: int, fraction: float | None, scale: float) -> None:
        self._fraction, self._scale = fraction, scale
        trials = [(f"{seed}-{at}", arm) for seed in range(seeds) for at, arm in enumerate(arms)]
        self._left, self._retries = deque(trials), deque[tuple[str, Arm]]()
        self._running: dict[str, tuple[Arm, bool]] = {}
        self.ran_out = 0

    def jobs(self) -> Iterator[Job | None]:
        while self._left or self._retries or self._running:
            lonely = any(alone for _, alone in self._running.values())
            if self._retries and not self._running:
                yield self._job(*self._retries.popleft(), alone=True)
            elif self._left and not self._retries and not lonely:
                yield self._job(*self._left.popleft(), alone=False)
            else:
                yield None

    def _job(self, name: str, arm: Arm, *, alone: bool) -> Job:
        self._running[name] = (arm, alone)
        told: dict[str, Any] = {"name": name, "bytes": int(arm.need * GB), "share": arm.share}
        told["seconds"] = self._scale * arm.seconds
        needs: dict[str, int] = {}
        if self._fraction is None:
            needs = {"device_memory": padded(told["bytes"])}
        elif self._fraction < 1 and not alone:
            told["cap"] = int(self._fraction * TOTAL)
            needs = {"device_memory": int(self._fraction * (1 - RESERVE) * TOTAL)}
        return Job(name, "run", {"resources": needs, "simulated": told})

    def take_in(self, name: str, failed: str | None) -> None:
        arm, alone = self._running.pop(name)
        if failed is None:
            return
        assert failed == "OutOfMemoryError" and not alone, f"{name}: {failed}"
        self.ran_out += 1
        self._retries.append((name, arm))


def rehearse(executor: LocalExecutor, arms: tuple[Arm, ...], scale: float) -> None:
    """A few steps of each arm, whose need nobody knows yet: one after the other."""
    for at, arm in enumerate(arms):
        told = {"name": f"r{at}", "bytes": int(arm.need * GB), "share": arm.share, "seconds": scale * REHEARSAL}
        for result in executor.run([Job(f"r{at}", "run", {"simulated": told})]):
            assert result.error is None, result.error


def measure(arms: tuple[Arm, ...], seeds: int, fraction: float | None, scale: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "device"
        device.mkdir()
        environment = {"PYTHONPATH": str(HERE), "SIMULATED_DEVICE": str(device), "SIMULATED_TOTAL": str(TOTAL)}
        with LocalExecutor(
            Path(folder) / "study",
            workers=WORKERS,
            perform="simulated_device:perform",
            environment=environment,
            gpus=[{"total": TOTAL, "free": TOTAL}],
        ) as executor:
            executor.hello()  # its start is the same for all, and once for a study
            feed = Feed(arms, seeds, fraction, scale)
            before, cpu = time.monotonic(), seconds_of_cpu()
            if fraction is None:
                rehearse(executor, arms, scale)
            for result in executor.run(feed.jobs()):
                feed.take_in(result.job.id, None if result.error is None else result.error.type)
                executor.acknowledge(result.job)
            wall = time.monotonic() - before
        log = events(device)  # the processes of jobs are reaped by a server, and that by us as it closes
        spent = seconds_of_cpu() - cpu
    held = [
        (after["time"] - line["time"]) * sum(each["bytes"] for each in line["there"].values())
        for line, after in pairwise(log)
    ]
    peak = max(sum(each["bytes"] for each in line["there"].values()) for line in log)
    assert peak <= TOTAL
    return {"wall": wall, "memory": sum(held) / wall / GB, "peak": peak / GB, "out": feed.ran_out, "cpu": spent}


def seconds_of_cpu() -> float:
    """Of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--scale", type=float, default=1.0, help="of all durations")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    found: dict[str, Any] = {}
    for mix, arms in MIXES.items():
        arithmetic = given.scale * given.seeds * sum(arm.seconds * arm.share for arm in arms)
        room = given.scale * given.seeds * sum(arm.seconds * arm.need for arm in arms) / 24
        print(f"\n{mix}: {len(arms) * given.seeds} trials; no order is faster than {max(arithmetic, room):.1f} s")
        print(
            f"{'':10s} {'makespan s':>10s} {'ratio':>6s} {'mean GB':>8s} {'peak GB':>8s} {'no room':>8s} {'CPU s':>6s}"
        )
        base = None
        for name, fraction in FRACTIONS.items():
            row = found[f"{mix}/{name}"] = measure(arms, given.seeds, fraction, given.scale)
            base = base or row["wall"]
            print(
                f"{name:10s} {row['wall']:10.1f} {base / row['wall']:6.2f} {row['memory']:8.1f} {row['peak']:8.1f} "
                f"{row['out']:8d} {row['cpu']:6.1f}",
                flush=True,
            )
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
