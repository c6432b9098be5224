"""Hands pieces of work to the executor one by one, as long as they are wanted, and takes their results.

What follows from a result that is none (see `novum.faults`): a lost one is tried again on the same seed, `ATTEMPTS`
times in all; one without room on the device runs alone, then in ever smaller micro-batches; one without room on the
disk waits; one whose code raised has failed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from novum import disk, faults, pieces, together
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


@dataclass(frozen=True)
class _Work:
    """What one job is at: a piece, or several that are trained together, each at an attempt of its own."""

    job: Job
    pieces: Mapping[str, Piece]
    attempts: Mapping[str, int]

    @property
    def title(self) -> str:
        """For a person."""
        first = next(iter(self.pieces.values()))
        more = len(self.pieces) - 1
        return first.title + (f" and {more} more" if more else "")


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
        self._running: dict[str, _Work] = {}  # by the job's id
        self._busy: set[str] = set()  # keys of the pieces in them
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
            piece = next((each for each in ready if _id(each) != self._lost), None)
            if self.queue is not asked:  # one ended without being run, and what is wanted was asked again
                continue
            if piece is None and self._lost is not None:  # nothing else is ready: at once again
                self._lost = None
                continue
            if any(self._trouble(id).alone for id in self._running):
                piece = None
            elif piece is not None and self._trouble(_id(piece)).alone and self._running:
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

    def _trouble(self, id: str) -> _Troubles:
        return self._troubles.setdefault(id, _Troubles())

    def _ready(self, piece: Piece) -> bool:
        if piece.key in self._busy or piece.key in self._elsewhere or self._states[piece.key] in ENDED:
            return False
        if piece.split is not None or piece.trial.parent is None:
            return True
        if self._states[piece.trial.parent.key] == "diverged":
            self._orphan(piece)
            return False
        above = [self._states[each.parent.key] for each in piece.trial.together() if each.parent is not None]
        return all(state in ("done", "diverged") for state in above)

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
        """Claim a piece, and those that are trained with it, and make their job; None where another session has one."""
        disk.wait(self._lab)
        trouble, ledger = self._trouble(_id(piece)), self._lab.ledger
        members = [each for each in _members(piece) if self._begins(each)]
        left = {each.key: each for each in members if self._states[each.key] not in ENDED}
        rows = [each.row() for each in left.values()]
        self._write(lambda: ledger.plan_trials(rows))
        attempts: dict[str, int] = {}
        for key in left:
            attempt = self._write(functools.partial(ledger.claim, key, self._session))
            if attempt is None:
                self._elsewhere |= left.keys()
                for claimed, at in attempts.items():
                    ledger.release(claimed, "another machine trains what is trained with it", at)
                return None
            attempts[key] = attempt
        try:
            needs = {} if trouble.alone else self._needs.of(piece.trial, len(members))
            if piece.split is None and piece.trial.seed["indices"] is not None:
                block = [each.trial for each in members]
                job = together.job(self._lab, block, attempts, self._points, trouble.micro, needs)
            else:
                job = replace(piece.job(self._lab, self._points, trouble.micro, needs), attempt=attempts[piece.key])
        except BaseException:
            for key, at in attempts.items():
                ledger.release(key, "stopped before it began", at)
            raise
        self._running[job.id] = _Work(job, left, attempts)
        self._busy |= left.keys()
        return job

    def _begins(self, piece: Piece) -> bool:
        """Whether a member of a block has what it begins with; it has none where its parent diverged."""
        above = None if piece.split is not None else piece.trial.parent
        return above is None or self._states[above.key] == "done"

    # ------------------------------------------------------------------------------------------- what came of it

    def take_in(self, result: Result) -> None:
        """Store a result, ask again what is wanted, and cancel what is not."""
        work = self._running[result.job.id]
        fault = faults.of(result)
        if fault == "stop":
            assert result.error is not None
            raise reraise(result.error, result.job.kind, work.title, self._lab.folder)
        if result.value is None:
            ended = self._settle_error(work, result, fault)
            self._lab.executor.acknowledge(result.job)
        else:
            ended = self._settle_value(work, result)
        del self._running[result.job.id]
        self._busy -= work.pieces.keys()
        if all(state in ENDED for state, _ in ended.values()):
            checkpoint.discard(self._lab.folder, result.job.id)
        for sentence in self._lab.executor.remarks():
            self._lab.listener.say(sentence)
        if fault == "disk":
            disk.wait(self._lab)
        for key, (state, value) in ended.items():
            if state == "done" and work.pieces[key].split is None:
                self._needs.learn(work.pieces[key].trial, value)
            if state == "superseded":
                row = self._lab.ledger.trial(key)
                self._states[key] = "planned" if row is None else str(row["state"])
                self._ask()
            elif state != "cancelled":
                self._end(work.pieces[key], state, value)
        wanted = {each.key for each in self.queue}
        surplus = {id for id, each in self._running.items() if not wanted & each.pieces.keys()}
        if surplus:
            self._lab.executor.cancel(surplus)

    def _settle_value(self, work: _Work, result: Result) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Put what a job gave into the ledger; by key "done", "diverged" or "superseded" (another machine was faster),
        with the value.
        """
        ledger, told = self._lab.ledger, result.value or {}
        jobs, values = [result.job], {result.job.id: told}
        if result.job.kind == together.KIND:
            values = told["trials"]
            jobs = self._write(lambda: together.part(self._lab.folder, result.job, told))
        ended: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for job in jobs:
            value = values[job.id]
            if work.pieces[job.id].split is None:
                notes = self._trouble(result.job.id).notes
                value = {**value, "deviations": [*value.get("deviations", []), *notes]}
            if value.get("weights"):
                pieces.publish(self._lab, value["weights"])  # first, so that who sees it done can go on with it
            state = self._write(functools.partial(pieces.keep, ledger, job.id, job.attempt, value))
            self._lab.executor.acknowledge(job, keep=state in ("done", "diverged"))
            ended[job.id] = (state, value)
        return ended

    def _settle_error(
        self, work: _Work, result: Result, fault: faults.Fault
    ) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Put into the ledger why a job gave nothing; by key "diverged", "failed", "lost" (to be tried again),
        "cancelled" (a decision came first), or "superseded".
        """
        assert result.error is not None
        ledger, seconds = self._lab.ledger, result.seconds / len(work.pieces)
        message, ended = result.error.message, dict[str, tuple[str, Mapping[str, Any]]]()
        first = next(iter(work.pieces.values()))
        limited = first.split is None and first.trial.plan["arm"]["recipe"].get("time_limit") is not None
        late = fault == "slow" and limited
        why = None if late or fault == "cancelled" else self._final(work, result.error, fault)
        for key, attempt in work.attempts.items():
            if fault == "cancelled":
                note = "stopped: the decision came first"
                self._write(functools.partial(ledger.release, key, note, attempt))
                ended[key] = ("cancelled", {})
            elif late:
                limit = f"it did not end within the {result.job.timeout:g} s that its recipe registers"
                outcome = self._write(functools.partial(pieces.diverge, ledger, key, attempt, limit, seconds))
                ended[key] = (outcome[0], {})
            elif why is not None:
                ended[key] = (self._write(functools.partial(pieces.fail, ledger, key, attempt, why, seconds)), {})
            else:
                self._write(functools.partial(ledger.release, key, message, attempt))
                ended[key] = ("lost", {})
        return ended

    def _write(self, action: Callable[[], T]) -> T:
        return disk.patiently(self._lab, action)

    def _final(self, work: _Work, error: Failure, fault: faults.Fault) -> str | None:
        """Why work without a value has failed for good; None where it is tried again."""
        trouble = self._trouble(work.job.id)
        if fault == "memory":
            return self._smaller(work, error.message)
        if fault == "disk" and disk.shortage(self._lab.folder) is not None:
            return None  # it is waited for
        if fault in ("lost", "slow", "disk"):
            self._lost = work.job.id
            trouble.losses += 1
            if trouble.losses < ATTEMPTS:
                return None
        if fault == "disk":  # there is room, and writing fails all the same: that is no fault of the trial
            for key, attempt in work.attempts.items():
                self._lab.ledger.release(key, error.message, attempt)
            raise DiskFullError(
                f"{work.title}: its result could not be written {trouble.losses} times, though the disk has room "
                f"({error.message}). Look at limits on the size of files and at quotas; then the same command goes on."
            )
        return f"{error.type}: {error.message}"

    def _smaller(self, work: _Work, message: str) -> str | None:
        """Where the device had no room: alone the next time, then in smaller micro-batches. Why it cannot be, else
        None.
        """
        trouble = self._trouble(work.job.id)
        piece = next(iter(work.pieces.values()))
        self._needs.doubt(piece.trial)
        batch = int(piece.trial.plan["arm"]["recipe"]["batch_size"])
        if not trouble.alone:
            trouble.alone = True
            trouble.notes.append("it ran alone, after the device had run out of memory")
            self._lab.listener.say(f"{work.title} ran out of the device's memory: it runs alone the next time.")
            return None
        if piece.split is not None or 2 * trouble.micro > batch:
            return f"it does not fit into the device's memory, even alone in the smallest pieces: {message}"
        trouble.micro *= 2
        self._lab.listener.say(
            f"{work.title} ran out of the device's memory alone: it begins anew, each batch in {trouble.micro} pieces."
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
        for work in self._running.values():
            for key, attempt in work.attempts.items():
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
        open_ = [key for key in self.everything if self._states[key] not in ENDED and key not in self._busy]
        rows = {row["key"]: row for row in ledger.trials(keys=open_)}
        self._elsewhere = {key for key, row in rows.items() if row["state"] == "running"}
        ended = {key: str(row["state"]) for key, row in rows.items() if row["state"] in ENDED}
        self._states |= ended
        for key, state in ended.items():
            if self.everything[key].split is None:
                self._tell(self.everything[key], state, {})
        if ended:
            self._ask()


def _members(piece: Piece) -> list[Piece]:
    """The pieces of one job with this one, itself included."""
    return [piece] if piece.split is not None else [Piece(each) for each in piece.trial.together()]


def _id(piece: Piece) -> str:
    """Of the piece's job."""
    alone = piece.split is not None or piece.trial.seed["indices"] is None
    return piece.key if alone else together.identity(piece.trial)
