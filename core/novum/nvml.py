"""Memory of the NVIDIA GPUs that this process may use, as the driver tells it: without CUDA, so that a process that
asks opens no GPU and stays fit for forking.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Any

LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def memory(count: int) -> list[dict[str, int]] | None:
    """{"total", "free"} in bytes of the first `count` GPUs, numbered as CUDA numbers them for this process; None where
    the driver does not tell: no such library, a GPU cut into instances (MIG), or a name that it does not know.

    CUDA_VISIBLE_DEVICES is obeyed: numbers, or whole UUIDs.
    """
    names = _visible(count)
    if names is None:
        return None
    with suppress(OSError, AttributeError):  # no library, or one without these functions
        library = ctypes.CDLL(LIBRARY)
        if library.nvmlInit_v2() != 0:
            return None
        try:
            found = [_one(library, name) for name in names]
        finally:
            library.nvmlShutdown()
        return None if None in found else [each for each in found if each is not None]
    return None


def _visible(count: int) -> list[str] | None:
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(at) for at in range(count)] if told is None else [each.strip() for each in told.split(",")]
    known = all(name.isdecimal() or name.startswith(("GPU-", "MIG-")) for name in names[:count])
    return names[:count] if known and len(names) >= count else None


def _one(library: Any, name: str) -> dict[str, int] | None:
    handle, told = ctypes.c_void_p(), _Memory()
    if name.isdecimal():
        mode, pending = ctypes.c_uint(), ctypes.c_uint()
        if library.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle)) != 0:
            return None
        asked = library.nvmlDeviceGetMigMode(handle, ctypes.byref(mode), ctypes.byref(pending))
        if asked == 0 and mode.value == 1:  # CUDA sees one of its instances, whose memory is less than this GPU's
            return None
    elif library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) != 0:
        return None
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(told)) != 0:
        return None
    return {"total": int(told.total), "free": int(told.free)}
