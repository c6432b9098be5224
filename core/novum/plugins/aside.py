"""A question to plugins that nobody named, asked in a process of its own: one that hangs or dies harms nothing."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIMIT = 20.0
"""Seconds that an answer may take."""


def aside(question: Callable[[], Any], limit: float = LIMIT) -> tuple[Any, str]:
    """What a function returns (anything that JSON holds) and "", or None and why there is no answer.

    It runs in a fork of this process, which prints nothing and is gone afterwards with all that it imported.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # from Python 3.12 on: this process may have threads
        pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            sink = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(sink, number)
            _write(writing, json.dumps(question()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with suppress(OSError):
        os.setpgid(pid, pid)  # whichever is first
    try:
        told = _read(reading, time.monotonic() + limit)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
    if told is None:
        return None, f"it had not ended after {limit:g} s"
    return (json.loads(told), "") if told else (None, "the process that looked for it ended")


def _write(pipe: int, answer: bytes) -> None:
    while answer:
        answer = answer[os.write(pipe, answer) :]


def _read(pipe: int, deadline: float) -> bytes | None:
    """All that is written until the other end closes; None where that takes too long."""
    parts: list[bytes] = []
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(pipe, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None
