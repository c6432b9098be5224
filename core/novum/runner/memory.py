"""Peak memory while a trial trains. Asked in a worker, never at import."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROCESS = Path("/proc/self")
Reading = dict[str, Any]
"""{"bytes": a positive int, "what": "process" or "cuda"}, or {"undefined": why} (design law 6); plain JSON."""


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
    # Before it the statistics do not exist, and a reset is an error.
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.reset_peak_memory_stats(gpu)

    def read() -> Reading:
        peak = torch.cuda.max_memory_allocated(gpu)
        if peak == 0:  # with cudaMallocAsync torch reports statistics as zero
            return {"undefined": "torch's allocator on this GPU keeps no statistics"}
        return {"bytes": peak, "what": "cuda"}

    return read


def _linux() -> Callable[[], Reading]:
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError as error:
        why = f"this system does not reset the peak of a process ({PROCESS}/clear_refs: {error.strerror})"
        return lambda: {"undefined": why}

    def read() -> Reading:
        try:
            lines = (PROCESS / "status").read_text().splitlines()
        except OSError as error:
            return {"undefined": f"this system does not tell a process its peak ({PROCESS}/status: {error.strerror})"}
        peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        if peak is None:
            return {"undefined": f"{PROCESS}/status has no line VmHWM"}
        return {"bytes": int(peak) * 1024, "what": "process"}

    return read


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
