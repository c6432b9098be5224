"""Imports once per machine instead of once per job, each tried in a throwaway process first."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from novum import nvml

PATIENCE = 180.0
"""Seconds that one module may take to be imported."""


def preload(modules: Sequence[str], leave: Callable[[], None]) -> dict[str, str]:
    """Import each module that survived one import in a throwaway process; {module: why not} for the others.

    A module is refused, too, where its import starts threads or opens a GPU: neither survives the fork of a job.
    `leave` is called first in each throwaway process.
    """
    refused: dict[str, str] = {}
    for module in modules:
        _, problem = throwaway(lambda module=module: _trial(module), leave)  # type: ignore[misc]
        if not problem:
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:
                problem = f"{type(error).__name__}: {error}"
        if problem:
            refused[module] = problem
    return refused


def _trial(module: str) -> None:
    importlib.import_module(module)
    if threads() > 1:
        raise RuntimeError("its import starts threads, which a forked process would not have")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("its import opens the GPU, which a forked process cannot use then")


def threads() -> int:
    """Threads of this process: the kernel's count where it tells, else Python's."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a count
    except OSError:
        return threading.active_count()


def throwaway(function: Callable[[], Any], leave: Callable[[], None]) -> tuple[Any, str]:
    """Call `function` in a forked process that then ends.

    Returns (its value, which must be JSON; "") or (None, what went wrong).
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            leave()
            os.close(reading)
            try:
                answer = json.dumps([function(), ""])
            except BaseException as error:
                traceback.print_exc()
                answer = json.dumps([None, f"{type(error).__name__}: {error}"[:1000]])
            os.write(writing, answer.encode())
        finally:
            os._exit(0)
    os.close(writing)
    told, ended, deadline = b"", None, time.monotonic() + PATIENCE
    try:
        while ended is None and time.monotonic() < deadline:  # not until end of file: a grandchild may hold the pipe
            if select.select([reading], [], [], 0.05)[0]:
                told += os.read(reading, 65536)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ended = os.waitstatus_to_exitcode(status)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it left behind, too
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None, f"it took more than {PATIENCE:g} s"
        while select.select([reading], [], [], 0)[0] and (chunk := os.read(reading, 65536)):
            told += chunk
    finally:
        os.close(reading)
    if told:
        value, problem = json.loads(told)
        return value, str(problem)
    how = f"by signal {-ended}" if ended < 0 else f"with status {ended}"
    return None, f"its import ends the process {how}"


def gpus(leave: Callable[[], None]) -> list[dict[str, int]]:
    """{"total", "free"} in bytes of each GPU that torch sees and trials use (see NOVUM_DEVICE in
    `novum.runner.device`); asked in a throwaway process, so that this one stays fit for forking. Where only CUDA tells,
    what that process itself takes counts as used.
    """
    if (os.environ.get("NOVUM_DEVICE") or "cuda") != "cuda":
        return []

    def look() -> list[dict[str, int]]:
        import torch

        count = torch.cuda.device_count()
        told = nvml.memory(count) if count else []
        if told is None:
            asked = [torch.cuda.mem_get_info(at) for at in range(count)]
            told = [{"total": total, "free": free} for free, total in asked]
        return told

    return throwaway(look, leave)[0] or []


def strays(parent: int) -> list[int]:
    """Living children of a process, by Linux's /proc; empty elsewhere."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent and after_name[0] != "Z":
                found.append(int(stat.parent.name))
    return found
