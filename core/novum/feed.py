"""Hands pieces of work to the executor one by one, as long as they are wanted, and takes their results.

What follows from a result that is none (see `novum.faults`): a lost one is tried again on the same seed, `ATTEMPTS`
times in all; one without room on the device runs alone, then in ever smaller micro-batches; one without room on the
disk waits; one whose code raised has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from novum import disk, faults, pieces
from novum.errors import DiskFullError
from novum.faults import ATTEMPTS
from novum.lab import reraise
from novum.needs import Needs
from novum.pieces import Piece
from novum.runner import checkpoint

if TYPE_CHECKING:
    from novum.executors import Failure, Job, Result
    from novum.lab import Lab

T = TypeVar("T")

ENDED = ("done", "diverged", "failed")
POLL = 0.2
"""Seconds between two looks at what other machines do, while there is nothing to do here."""

Wanted = Callable[[], Mapping[str, Piece]]


@dataclass
class _Troubles:
    """What one piece has met with in this run."""

    losses: int = 0
    alone: bool = False
    micro: int = 1
    notes: list[str] = field(default_factory=list)


class Feed:
    """Of one call of `trials.train` or `trials.score`.

    wanted: the pieces that are still needed, by key, in the order in which they are needed; asked again after each
    result. halt: give everything up as soon as one piece has failed.
    """

    def __init__(self, lab: Lab, wanted: Wanted, *, points: int, halt: bool) -> None:
        self._lab = lab
        self._wanted = wanted
        self._points = points
        self._halt = halt
        self._session = "" if lab.session is None else lab.session.id
        self._running: dict[str, tuple[Piece, int]] = {}
        self._troubles: dict[str, _Troubles] = {}
        self._needs = Needs(lab)
        self._lost: str | None = None  # whose process died last: others go first, should the cause be passing
        self._states: dict[str, str] = {}
        self._elsewhere: set[str] = set()
        self._looked = 0.0
        self._started: set[str] = set()
        self.everything: dict[str, Piece] = {}
        self.queue: list[Piece] = []
        self._ask()

    @property
    def done(self) -> int:
        """How many of the pieces seen so far have ended."""
        return sum(state in ENDED for state in self._states.values())

    @property
    def broken(self) -> bool:
        """Whether a piece that is wanted has failed."""
        return any(self._states.get(key) == "failed" for key in self.everything)

    # ------------------------------------------------------------------------------------------------ what to do

    def _ask(self) -> None:
        """Ask what is wanted now; what is known to the ledger already counts as it stands there."""
        wanted = self._wanted()
        unknown = [key for key in wanted if key not in self._states]
        stored = {row["key"]: str(row["state"]) for row in self._lab.ledger.trials(keys=unknown)} if unknown else {}
        self._states |= {key: stored.get(key, "planned") for key in unknown}
        self.everything |= wanted
        left = [piece for key, piece in wanted.items() if self._states[key] not in ENDED]
        self.queue = [] if self._halt and self.broken else left

    def jobs(self) -> Iterator[Job | None]:
        """The next job whenever the executor has room; None while all that is ready runs."""
        while True:
            self._look_around()
            asked = self.queue
            ready = (each for each in asked if self._ready(each))
            piece = next((each for each in ready if each.key != self._lost), None)
            if self.queue is not asked:  # one ended without being run, and what is wanted was asked again
                continue
            if piece is None and self._lost is not None:  # nothing else is ready: at once again
                self._lost = None
                continue
            if any(self._trouble(key).alone for key in self._running):
                piece = None
            elif piece is not None and self._trouble(piece.key).alone and self._running:
                piece = None  # it needs the device for itself: first the others end
            if piece is not None:
                job = self._start(piece)
                if job is not None:
                    yield job
            elif self._running:
                yield None
            elif any(each.key in self._elsewhere for each in self.queue):
                time.sleep(POLL)  # another machine trains what is wanted here
            else:
                return

    def _trouble(self, key: str) -> _Troubles:
        return self._troubles.setdefault(key, _Troubles())

    def _ready(self, piece: Piece) -> bool:
        if piece.key in self._running or piece.key in self._elsewhere or self._states[piece.key] in ENDED:
            return False
        if piece.split is not None or piece.trial.parent is None:
            return True
        above = self._states[piece.trial.parent.key]
        if above == "diverged":
            self._orphan(piece)
        return above == "done"

    def _orphan(self, piece: Piece) -> None:
        """A trial whose parent diverged has nothing to begin with: it diverged with it, without being run."""
        ledger, parent = self._lab.ledger, piece.trial.parent
        assert parent is not None
        row = ledger.trial(parent.key)
        assert row is not None
        ledger.plan_trials([piece.row()])
        attempt = ledger.claim(piece.key, self._session)
        if attempt is None:  # another machine does the same
            self._elsewhere.add(piece.key)
            return
        why = f"the arm it starts from diverged: {row['result']['diverged']}"
        state, result = pieces.diverge(ledger, piece.key, attempt, why)
        self._end(piece, state, result)

    def _start(self, piece: Piece) -> Job | None:
        """Claim a piece and make its job; None where another session has it."""
        disk.wait(self._lab)
        trouble = self._trouble(piece.key)
        needs = {} if trouble.alone else self._needs.of(piece.trial)
        job = piece.job(self._lab, self._points, trouble.micro, needs)
        ledger = self._lab.ledger
        self._write(lambda: ledger.plan_trials([piece.row()]))
        attempt = self._write(lambda: ledger.claim(piece.key, self._session))
        if attempt is None:
            self._elsewhere.add(piece.key)
            return None
        self._running[piece.key] = (piece, attempt)
        return replace(job, attempt=attempt)

    # ------------------------------------------------------------------------------------------- what came of it

    def take_in(self, result: Result) -> None:
        """Store a result, ask again what is wanted, and cancel what is not."""
        key = result.job.id
        piece, attempt = self._running[key]
        fault = faults.of(result)
        if fault == "stop":
            assert result.error is not None
            raise reraise(result.error, result.job.kind, piece.title, self._lab.folder)
        del self._running[key]
        state = self._settle(piece, attempt, result, fault)
        if state == "done" and piece.split is None and result.value is not None:
            self._needs.learn(piece.trial, result.value)
        for sentence in self._lab.executor.remarks():
            self._lab.listener.say(sentence)
        self._lab.executor.acknowledge(result.job, keep=state in ("done", "diverged") and result.error is None)
        if fault == "disk":
            disk.wait(self._lab)
        if state == "superseded":
            row = self._lab.ledger.trial(key)
            self._states[key] = "planned" if row is None else str(row["state"])
            self._ask()
        elif state != "cancelled":
            self._end(piece, state, result.value or {})
        surplus = self._running.keys() - {each.key for each in self.queue}
        if surplus:
            self._lab.executor.cancel(surplus)

    def _settle(self, piece: Piece, attempt: int, result: Result, fault: faults.Fault) -> str:
        """Put one result into the ledger: "done", "diverged", "failed", "lost" (to be tried again), "cancelled" (a
        decision came first), or "superseded" (another machine was faster).
        """
        ledger, key, seconds = self._lab.ledger, piece.key, result.seconds
        if result.value is not None:
            notes = [*result.value.get("deviations", []), *self._trouble(key).notes]
            value = {**result.value, "deviations": notes} if piece.split is None else result.value
            if value.get("weights"):
                pieces.publish(self._lab, value["weights"])  # first, so that who sees it done can go on with it
            return self._write(lambda: pieces.keep(ledger, key, attempt, value))
        assert result.error is not None
        message = result.error.message
        if fault == "cancelled":
            self._write(lambda: ledger.release(key, "stopped: the decision came first", attempt))
            return "cancelled"
        if fault == "slow" and piece.trial.plan["arm"]["recipe"].get("time_limit") is not None and piece.split is None:
            limit = f"it did not end within the {result.job.timeout:g} s that its recipe registers"
            return self._write(lambda: pieces.diverge(ledger, key, attempt, limit, seconds))[0]
        why = self._final(piece, result.error, fault)
        if why is not None:
            return self._write(lambda: pieces.fail(ledger, key, attempt, why, seconds))
        self._write(lambda: ledger.release(key, message, attempt))
        return "lost"

    def _write(self, action: Callable[[], T]) -> T:
        return disk.patiently(self._lab, action)

    def _final(self, piece: Piece, error: Failure, fault: faults.Fault) -> str | None:
        """Why a piece without a value has failed for good; None where it is tried again."""
        trouble = self._trouble(piece.key)
        if fault == "memory":
            return self._smaller(piece, error.message)
        if fault == "disk" and disk.shortage(self._lab.folder) is not None:
            return None  # it is waited for
        if fault in ("lost", "slow", "disk"):
            self._lost = piece.key
            trouble.losses += 1
            if trouble.losses < ATTEMPTS:
                return None
        if fault == "disk":  # there is room, and writing fails all the same: that is no fault of the trial
            self._lab.ledger.release(piece.key, error.message)
            raise DiskFullError(
                f"{piece.title}: its result could not be written {trouble.losses} times, though the disk has room "
                f"({error.message}). Look at limits on the size of files and at quotas; then the same command goes on."
            )
        return f"{error.type}: {error.message}"

    def _smaller(self, piece: Piece, message: str) -> str | None:
        """Where the device had no room: alone the next time, then in smaller micro-batches. Why it cannot be, else
        None.
        """
        self._needs.doubt(piece.trial)
        trouble = self._trouble(piece.key)
        batch = int(piece.trial.plan["arm"]["recipe"]["batch_size"])
        if not trouble.alone:
            trouble.alone = True
            trouble.notes.append("it ran alone, after the device had run out of memory")
            self._lab.listener.say(f"{piece.title} ran out of the device's memory: it runs alone the next time.")
            return None
        if piece.split is not None or 2 * trouble.micro > batch:
            return f"it does not fit into the device's memory, even alone in the smallest pieces: {message}"
        trouble.micro *= 2
        self._lab.listener.say(
            f"{piece.title} ran out of the device's memory alone: it begins anew, each batch in {trouble.micro} pieces."
        )
        return None

    def _end(self, piece: Piece, state: str, result: Mapping[str, Any]) -> None:
        """Tell of a piece that ended here (or is tried again), and ask anew."""
        if state in ENDED:
            self._states[piece.key] = state
            checkpoint.discard(self._lab.folder, piece.key)
        if piece.split is None:
            self._tell(piece, state, result)
        if state in ENDED:
            self._ask()

    def _tell(self, piece: Piece, state: str, result: Mapping[str, Any]) -> None:
        listener, trial, start = self._lab.listener, piece.trial, result.get("start")
        if start and trial.task not in self._started:
            self._started.add(trial.task)
            fresh = f", {len(start['fresh'])} are its own" if start["fresh"] else ", all that it has"
            listener.say(f"{trial.task}: the {trial.side} begins with {start['loaded']} tensors of its start{fresh}.")
        metrics = result.get("scores", {}).get("dev", {}).get("metrics", {})
        listener.trial(trial.task, trial.side, trial.index, state, metrics)

    def stop(self) -> None:
        """Put what still runs back into the plan."""
        for key, (_, attempt) in self._running.items():
            self._lab.ledger.release(key, "stopped before it ended", attempt)

    # --------------------------------------------------------------------------------------------- other machines

    def _look_around(self) -> None:
        """Where several machines share the ledger: see what the others ended, run and lost."""
        ledger = self._lab.ledger
        if not (ledger.shared or self._elsewhere) or time.monotonic() - self._looked < POLL:
            return
        self._looked = time.monotonic()
        if self._lab.session is not None:
            self._lab.session.take_over()
        open_ = [key for key in self.everything if self._states[key] not in ENDED and key not in self._running]
        rows = {row["key"]: row for row in ledger.trials(keys=open_)}
        self._elsewhere = {key for key, row in rows.items() if row["state"] == "running"}
        ended = {key: str(row["state"]) for key, row in rows.items() if row["state"] in ENDED}
        self._states |= ended
        for key, state in ended.items():
            if self.everything[key].split is None:
                self._tell(self.everything[key], state, {})
        if ended:
            self._ask()
