"""How much memory a trial needs, by what was measured: of trials of the same arm, else of its rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novum.pieces import speed_key

if TYPE_CHECKING:
    from novum.experiment import Trial
    from novum.lab import Lab

MARGIN = 0.1
LEAST = 256_000_000
"""A need is this share above the highest peak, and at least so many bytes: another seed sees longer texts or pads
otherwise, and an allocator leaves gaps."""
NEWEST = 5
"""So many of the newest trials of an arm say what it needs."""
PIECES = "micro-batches"
"""How the deviation of a trial begins whose batches were cut into pieces: its peak is not that of the others."""

Reading = Mapping[str, Any]


class Needs:
    """Of the arms of one feed. The ledger is read once for each arm; what ends here is added."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, list[Reading]] = {}
        self._rehearsed: dict[str, Reading | None] = {}
        self._doubted: set[str] = set()

    def of(self, trial: Trial, together: int = 1) -> dict[str, int]:
        """Of a job that trains so many trials like this one as one.

        {"device_memory": bytes} where it was measured on a GPU, {"process_memory": bytes} where on the CPU; {} where
        it was not, or where the last measurement proved too small.
        """
        arm = self._arm(trial)
        if arm in self._doubted:
            return {}
        found = need(self._known[arm][-NEWEST:], self._rehearsed[arm], together)
        if "process_memory" in found:  # each device has a process, and only the first one is measured
            found["process_memory"] *= trial.plan["arm"]["recipe"].get("devices", 1)
        return found

    def learn(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """A trial ended well with this result."""
        arm = self._arm(trial)
        if cut(result):
            self._doubted.add(arm)
        elif "bytes" in (result.get("memory") or {}):
            self._doubted.discard(arm)
            trials = int(result.get("together", 1))
            reading = result["memory"]
            self._known[arm].append({**reading, "bytes": trials * reading["bytes"], "together": trials})

    def doubt(self, trial: Trial) -> None:
        """A trial ran out of memory: until another of its arm has been measured whole, each gets a GPU of its own."""
        self._doubted.add(self._arm(trial))

    def _arm(self, trial: Trial) -> str:
        from novum.arm import fingerprint

        arm = fingerprint(trial.plan)
        if arm not in self._known:
            self._known[arm] = []
            rehearsal = self._lab.ledger.observation(speed_key(trial.plan))
            self._rehearsed[arm] = None if rehearsal is None else rehearsal.get("memory")
            rows = self._lab.ledger.trials(arm=arm)
            for row in [each for each in rows if each["kind"] == "train" and each["state"] == "done"]:
                self.learn(trial, row["result"])
        return arm


def cut(result: Mapping[str, Any]) -> bool:
    """Whether a trial's batches were cut into pieces, to fit."""
    return any(str(note).startswith(PIECES) for note in result.get("deviations") or [])


def need(trials: list[Reading], rehearsal: Reading | None, together: int = 1) -> dict[str, int]:
    """The need by peaks of trials, else by that of a rehearsal (see `novum.runner.memory` for a reading).

    On a GPU it is what torch's allocator reserved and the context beside it, which is known only where a trial or the
    rehearsal had the GPU to itself. In the machine's memory it is what the process did not share with its parent. A
    peak of fewer trials in one job ("together") is multiplied, which is more than enough; but in the machine's memory
    one trial tells nothing of many, since most of it is libraries.
    """
    measured = [rehearsal] if rehearsal is not None and "bytes" in rehearsal else []
    peaks = [each for each in trials if "bytes" in each] or measured
    if not peaks:
        return {}
    scale = [max(1.0, together / each.get("together", 1)) for each in peaks]
    if peaks[-1]["what"] == "cuda":
        contexts = [each["context"] for each in [*peaks, *measured] if "context" in each]
        reserved = [by * each["reserved"] for each, by in zip(peaks, scale, strict=True) if "reserved" in each]
        return {"device_memory": padded(int(max(reserved)) + max(contexts))} if contexts and reserved else {}
    if peaks == measured and together > 1:
        return {}
    own = [by * (each["bytes"] - each.get("shared", 0)) for each, by in zip(peaks, scale, strict=True)]
    return {"process_memory": padded(int(max(own)))}


def padded(peak: int) -> int:
    """A peak with the margin."""
    return max(0, peak) + max(int(MARGIN * peak), LEAST)
