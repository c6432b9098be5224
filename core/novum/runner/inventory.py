"""What this machine has to compute with. Asked when somebody wants to know, never at import.

What cannot be found out is `Undefined`, with the reason (design law 6).
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.data import Undefined
from novum.executors.base import control_groups, cores

INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_tile", "amx_bf16", "neon", "sve")
"""Those of a CPU's instruction sets that decide how fast it multiplies matrices, as torch names them."""
NVML = "NVML's package nvidia-ml-py is not installed (`pip install 'novum[gpu]'`)"


@dataclass(frozen=True)
class Processor:
    """The CPU, as far as this process may use it.

    cores: by affinity and the quota of its control group. instructions: of `INSTRUCTIONS`, those it has. memory: bytes
    that this process may use, by what is built in and by the limit of its control group. available: bytes that nobody
    needs now.
    """

    name: str | Undefined
    cores: int
    instructions: tuple[str, ...]
    memory: int | Undefined
    available: int | Undefined


@dataclass(frozen=True)
class Gpu:
    """One CUDA device that is visible to this process.

    index: as torch counts them. capability: its compute capability, such as "9.0". memory, free: bytes, in all and now.
    others: processes of other people (or of other studies) that compute on it. busy: share of the last moments in which
    it computed, 0 to 1.
    """

    index: int
    name: str
    capability: str
    memory: int
    free: int | Undefined
    others: int | Undefined
    busy: float | Undefined


@dataclass(frozen=True)
class Inventory:
    """The devices of a machine. mps: whether there is a Mac's GPU that torch can use."""

    cpu: Processor
    gpus: tuple[Gpu, ...]
    mps: bool


def inventory() -> Inventory:
    """Look at this machine. Without NVML (the package nvidia-ml-py) each GPU is opened in this process, which takes
    some hundred megabytes of its memory until the process ends.
    """
    import torch

    gpus = tuple(_gpu(index) for index in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    return Inventory(processor(), gpus, torch.backends.mps.is_available())


# ------------------------------------------------------------------------------------------------------------- CPU


def processor() -> Processor:
    """The CPU alone."""
    import torch

    # torch before 2.10 or so does not tell.
    has: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return Processor(
        name=str(has["cpu_name"]) if has.get("cpu_name") else Undefined("torch does not tell this CPU's name"),
        cores=cores(),
        instructions=tuple(name for name in INSTRUCTIONS if has.get(name)),
        memory=memory(),
        available=_available(),
    )


def memory(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | Undefined:
    """Bytes that this process may use: what is built in, or the least limit of its control groups (v2)."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return Undefined("this system does not tell how much memory is built in")
    for folder in control_groups(root, membership):
        with suppress(OSError, ValueError):
            found = min(found, int((folder / "memory.max").read_text()))  # "max" is no number: no limit
    return found


def _available(meminfo: Path = Path("/proc/meminfo")) -> int | Undefined:
    with suppress(OSError, ValueError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return Undefined("only Linux tells, in /proc/meminfo")


# ------------------------------------------------------------------------------------------------------------- GPUs


def _gpu(index: int) -> Gpu:
    import torch

    about = torch.cuda.get_device_properties(index)
    free, others, busy = _load(index, str(getattr(about, "uuid", "")))
    return Gpu(index, about.name, f"{about.major}.{about.minor}", about.total_memory, free, others, busy)


def _load(index: int, uuid: str) -> tuple[int | Undefined, int | Undefined, float | Undefined]:
    """Free memory, other processes and use of one GPU now, through NVML; the first through torch where that fails."""
    import torch

    try:
        nvml: Any = importlib.import_module("pynvml")  # what nvidia-ml-py is imported as; nothing of ours needs it
    except ImportError:
        return torch.cuda.mem_get_info(index)[0], Undefined(NVML), Undefined(NVML)
    try:
        nvml.nvmlInit()
        try:
            # By its id, for NVML knows nothing of CUDA_VISIBLE_DEVICES.
            handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            own = os.getpid()
            running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            others = sum(each.pid != own for each in running)
            return (
                int(nvml.nvmlDeviceGetMemoryInfo(handle).free),
                others,
                nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            )
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        why = Undefined(f"NVML does not tell it of this GPU ({error})")
        return torch.cuda.mem_get_info(index)[0], why, why
