"""A simulated GPU for `memory_packing.py` and for tests of packing: its work function sleeps where a trial would train.

Its memory is a file under a lock: a trial allocates once, at its start, and gives all back at its end, however it ends;
what goes beyond SIMULATED_TOTAL bytes on one GPU raises torch's own error. Its arithmetic is shared: each trial uses a
given share of the GPU when it is alone, and where the shares of those that are there sum to more than 1, all of them
slow down by that sum. Nothing else slows a trial down: no contention for caches, for the bus or for launches.

SIMULATED_DEVICE is a folder for its state and for its log, a line for each trial that begins, ends or finds no room.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TICK = 0.01
"""Seconds between two looks at who else is there."""
PATIENCE = 60.0
"""Seconds that a trial waits for others to be there, where it is told to."""

Guests = dict[str, dict[str, Any]]


def perform(kind: str, payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`run` occupies the device as the payload says; `train` stands in for a trial, whose model's option `note` is the
    memory that a whole batch needs, in GB.
    """
    if kind == "train":
        need = float(payload["plan"]["arm"]["model"]["note"]) * 1e9 / payload["micro"]
        occupy(payload["key"], int(need), seconds=0.3)
        notes = [f"micro-batches of 1/{payload['micro']} after running out of memory"] if payload["micro"] > 1 else []
        return result(int(need)) | {"deviations": notes}
    return occupy(**payload["simulated"])


def occupy(
    name: str,
    bytes: int,  # noqa: A002 - as in a reading
    seconds: float = 0.0,
    share: float = 0.0,
    cap: int | None = None,
    meet: int = 0,
) -> dict[str, Any]:
    """Hold memory on each GPU of this job for so many seconds of undisturbed work; then, until `meet` trials are there
    at once. cap: bytes that this trial may have at most, as a fraction set by hand allows.
    """
    gpus = [int(each) for each in os.environ["NOVUM_GPUS"].split(",")]
    total = int(os.environ["SIMULATED_TOTAL"])
    with _state("begins", name) as guests:
        used = max(sum(each["bytes"] for each in guests.values() if gpu in each["gpus"]) for gpu in gpus)
        fits = used + bytes <= total and (cap is None or bytes <= cap)
        if fits:
            guests[name] = {"pid": os.getpid(), "bytes": bytes, "share": share, "gpus": gpus, "met": 0}
    if not fits:
        with _state("no room", name):
            pass
        import torch

        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {bytes / 1e9:.2f} GB (simulated)")
    try:
        _work(seconds, gpus, time.monotonic() + PATIENCE, meet)
    finally:
        with _state("ends", name) as guests:
            del guests[name]
    return {"gpus": gpus}


def _work(seconds: float, gpus: list[int], deadline: float, meet: int) -> None:
    done, before, met = 0.0, time.monotonic(), 0
    while done < seconds or met < meet:
        if met < meet and time.monotonic() > deadline:
            raise TimeoutError(f"{meet} trials were never there at once; {met} were")
        time.sleep(TICK)
        with _state() as guests:
            load = max(sum(each["share"] for each in guests.values() if gpu in each["gpus"]) for gpu in gpus)
            for each in guests.values():  # told to all: who saw it may be gone before another looks
                each["met"] = max(each["met"], len(guests))
            met = next(each["met"] for each in guests.values() if each["pid"] == os.getpid())
        now = time.monotonic()
        done, before = done + (now - before) / max(1.0, load), now


@contextmanager
def _state(event: str = "", name: str = "") -> Iterator[Guests]:
    """Who is on the device, under the lock; what is changed is kept. What an event left is written into the log."""
    place = Path(os.environ["SIMULATED_DEVICE"])
    with (place / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = place / "state.json"
        guests: Guests = json.loads(state.read_text()) if state.exists() else {}
        guests = {each: told for each, told in guests.items() if _alive(told["pid"])}
        yield guests
        state.write_text(json.dumps(guests))
        if event:
            line = {"time": time.monotonic(), "event": event, "name": name, "there": guests}
            with (place / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")


def _alive(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def events(place: Path) -> list[dict[str, Any]]:
    """The log: {"time" in seconds, "event", "name", "there": {name: {"bytes", "share", "gpus", …}}}."""
    log = place / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def result(peak: int) -> dict[str, Any]:
    """What a trial gives, without weights and scores; its peak is in bytes."""
    memory = {"bytes": peak, "what": "cuda", "reserved": peak, "context": 0}
    plain = {"units": 1, "seconds": 0.1, "curve": [], "diverged": None, "start": None, "scores": {}}
    return plain | {"weights": None, "bytes": 0, "memory": memory, "deviations": []}
