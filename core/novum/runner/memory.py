"""Peak memory while a trial trains. Asked in a worker, never at import."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from novum import nvml

PROCESS = Path("/proc/self")
Reading = dict[str, Any]
"""{"bytes": a positive int, "what": "process" or "cuda"}, or {"undefined": why} (design law 6); plain JSON. What else a
trial's place depends on stands beside it, where it is known, in bytes: "reserved" (peak of what torch's allocator took
from the GPU) and "context" (what the process holds there beyond that); "shared" (of a process: what it had in common
with others when the measurement began).
"""


def measure(kind: str) -> Callable[[], Reading]:
    """Forget the peak so far; the function that is returned reads the peak since then, in bytes.

    kind: the trial's device kind. On "cuda" the peak is that of the tensors which torch holds on this worker's GPU
    (what: "cuda"), elsewhere that of the resident memory of this process, libraries included and its children not
    (what: "process"). Both count what was there already: a difference between two trials says more than one number.

    Linux resets the peak, see proc(5) on clear_refs and VmHWM. Other systems keep the peak of a process's whole life
    (getrusage): there it is known only where training raised it, which in a process of its own it does.
    """
    if kind == "cuda":
        return _cuda()
    return _linux() if sys.platform == "linux" else _lifelong()


def _cuda() -> Callable[[], Reading]:
    import torch

    from novum.runner.device import device

    gpu = device("cuda")
    before = _untouched(gpu.index)
    # Before it the statistics do not exist, and a reset is an error.
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.reset_peak_memory_stats(gpu)

    def read() -> Reading:
        peak = torch.cuda.max_memory_allocated(gpu)
        if peak == 0:  # with cudaMallocAsync torch reports statistics as zero
            return {"undefined": "torch's allocator on this GPU keeps no statistics"}
        now = _free(gpu.index)
        context = {}
        if before is not None and now is not None and before > now:
            context = {"context": max(0, before - now - torch.cuda.memory_reserved(gpu))}
        return {"bytes": peak, "what": "cuda", "reserved": torch.cuda.max_memory_reserved(gpu)} | context

    return read


@functools.cache
def _untouched(gpu: int) -> int | None:
    """Bytes that were free on a GPU before this process opened it; None where that is not known, or where others may
    have come in between (see `LocalExecutor`): then the difference says nothing of this process.
    """
    import torch

    alone = os.environ.get("NOVUM_SHARED", "0") == "0"
    opened = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return _free(gpu) if alone and not opened else None


def _free(gpu: int) -> int | None:
    """Bytes that are free on a GPU now, asked of the driver: CUDA would open it to answer."""
    told = nvml.memory(gpu + 1)
    return None if told is None else told[gpu]["free"]


def _linux() -> Callable[[], Reading]:
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError as error:
        why = f"this system does not reset the peak of a process ({PROCESS}/clear_refs: {error.strerror})"
        return lambda: {"undefined": why}
    shared = _shared()

    def read() -> Reading:
        try:
            lines = (PROCESS / "status").read_text().splitlines()
        except OSError as error:
            return {"undefined": f"this system does not tell a process its peak ({PROCESS}/status: {error.strerror})"}
        peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        if peak is None:
            return {"undefined": f"{PROCESS}/status has no line VmHWM"}
        return {"bytes": int(peak) * 1024, "what": "process"} | shared

    return read


def _shared() -> dict[str, int]:
    """{"shared": bytes of this process's resident memory that other processes map, too}; {} where nobody tells.

    A process that was forked from a server has torch in common with it, and with all others that were: packing counts
    that once.
    """
    with suppress(OSError, ValueError):
        lines = [line.split() for line in (PROCESS / "smaps_rollup").read_text().splitlines()]
        parts = [int(line[1]) for line in lines if line[0] in ("Shared_Clean:", "Shared_Dirty:")]
        return {"shared": sum(parts) * 1024} if parts else {}
    return {}


def _lifelong() -> Callable[[], Reading]:
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return lambda: {"undefined": "this system has no getrusage"}

    before = getrusage(RUSAGE_SELF).ru_maxrss

    def read() -> Reading:
        peak = getrusage(RUSAGE_SELF).ru_maxrss
        if peak <= before:
            return {"undefined": "this process had used more memory before, and this system does not reset its peak"}
        return {"bytes": peak * (1 if sys.platform == "darwin" else 1024), "what": "process"}

    return read
