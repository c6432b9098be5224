"""Why a job gave no value, in the classes that decide what follows (see docs/reliability.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from novum.executors import Failure, Result

Fault = Literal["none", "cancelled", "lost", "slow", "memory", "disk", "stop", "bug"]
"""none: there is a value. cancelled: a decision came first. lost: the machine or its process failed, which tells
nothing of the trial: the same seed runs again. slow: stopped at its time limit, as good as lost. memory: the device
had no room. disk: its result had no room. stop: something that a person can mend; the trial is not to blame. bug: its
own code raised.
"""

ATTEMPTS = 3
"""A trial whose process died is tried again on the same seed; after this many losses it is broken."""
STOPPING = ("StudyError", "RegistrationError", "InputError", "ConfigError", "DataError", "MismatchError", "PluginError")
"""Errors that say the study cannot go on here, or that a person can mend (a file that is gone, a plugin that cannot be
imported)."""
DEVICE_MEMORY = ("OutOfMemoryError", "AcceleratorError")
"""Classes of torch's errors for a device without room; the second one has other causes, too."""
NO_SPACE = ("[Errno 28]", "[Errno 122]", "[Errno 27]")
"""ENOSPC, EDQUOT and EFBIG, as an OSError's message begins on Linux."""
LOST = ("MemoryError", "RankLost")
"""Errors for which the machine is to blame: it had no memory, or another process of the trial died."""
WORKER = "DataLoader worker"
"""How torch's messages about a worker process of a data loader begin, killed or gone."""


def of(result: Result) -> Fault:
    """The class of a result."""
    error = result.error
    if error is None:
        return "none"
    if error.type == "Cancelled":
        return "cancelled"
    if error.type == "Timeout":
        return "slow"
    if error.type in STOPPING:
        return "stop"
    if error.type == "NoSpace" or (error.type == "OSError" and error.message.startswith(NO_SPACE)):
        return "disk"
    if result.lost or error.type in LOST or _lost_a_worker(error):
        return "lost"
    if error.type in DEVICE_MEMORY and (error.type != "AcceleratorError" or "out of memory" in error.message):
        return "memory"
    return "bug"


def _lost_a_worker(error: Failure) -> bool:
    """Whether a process that loaded its data died, which torch raises as a RuntimeError in the trial's own process."""
    return (
        error.type == "RuntimeError"
        and WORKER in error.message
        and ("killed" in error.message or "exited" in error.message)
    )
