"""Running trials: from planned rows to results in the ledger, through one exactly-once door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from novum.arm import canonical
from novum.errors import StudyError
from novum.lab import local_code, reraise
from novum.runner import artifacts

if TYPE_CHECKING:
    from novum.executors import Job, Result
    from novum.experiment import Trial
    from novum.lab import Lab
    from novum.ledger import Ledger

ATTEMPTS = 3
"""A trial whose process died is tried again on the same seed; after this many losses it is broken."""
POINTS = 5
"""Curve points of a trial that serves a claim."""
ENDED = ("done", "diverged", "failed")
STOPPING = ("StudyError", "RegistrationError", "InputError", "ConfigError", "DataError", "MismatchError", "PluginError")
"""Errors that say the study cannot go on here, or that a person can mend (a file that is gone, a plugin that cannot be
imported): the trial itself is not to blame, and returns to the plan."""


Wanted = Callable[[], Sequence["Trial"]]


def train(lab: Lab, wanted: Wanted | Sequence[Trial], *, total: int | None = None, points: int = POINTS) -> bool:
    """Train what is wanted and not trained yet, parents before those that start from them. Returns whether nothing
    broke.

    wanted: trials in the order in which they are needed, or a function that names those that are still needed; it is
    asked again after each result, and what runs and is wanted no more is cancelled. total: how many trials that may
    come to, for progress. A list of trials is given up as soon as one breaks (a plugin's exception, or a process lost
    too often). Interrupting is safe: running trials return to the plan.
    """
    feed = _Feed(lab, wanted, points)
    if not feed.queue:
        return not feed.broken
    announced = _Announced(lab)
    lab.listener.planned(total or len(feed.everything), feed.done, lab.executor.describe()["workers"])
    try:
        for result in lab.executor.run(feed.jobs()):
            feed.take_in(result, announced)
    finally:
        feed.stop()
        lab.listener.ended()
    return not feed.broken


class _Feed:
    """Hands trials to the executor one by one, as long as they are wanted, and takes their results."""

    def __init__(self, lab: Lab, wanted: Wanted | Sequence[Trial], points: int) -> None:
        self._lab = lab
        self._points = points
        self._fixed = not callable(wanted)
        self._wanted: Wanted = wanted if callable(wanted) else lambda: wanted
        self._running: dict[str, tuple[Trial, int]] = {}
        self._losses: Counter[str] = Counter()
        self._lost: str | None = None  # whose process died last: others go first, should the cause be passing
        self._states: dict[str, str] = {}
        self.everything: dict[str, Trial] = {}
        self.announced: _Announced | None = None
        self.queue: list[Trial] = []
        self._ask()

    @property
    def done(self) -> int:
        """How many of the trials seen so far have ended."""
        return sum(state in ENDED for state in self._states.values())

    @property
    def broken(self) -> bool:
        """Whether a trial that is wanted has failed."""
        return any(self._states.get(key) == "failed" for key in self.everything)

    def _ask(self) -> None:
        """Ask what is wanted now; what is known to the ledger already counts as it stands there."""
        wanted = _with_parents(self._wanted())
        unknown = [key for key in wanted if key not in self._states]
        stored = {row["key"]: str(row["state"]) for row in self._lab.ledger.trials(keys=unknown)} if unknown else {}
        self._states |= {key: stored.get(key, "planned") for key in unknown}
        self.everything |= wanted
        left = [trial for key, trial in wanted.items() if self._states[key] not in ENDED]
        self.queue = [] if self._fixed and self.broken else left

    def jobs(self) -> Iterator[Job | None]:
        """The next job whenever the executor has room; None while all that is ready runs."""
        while True:
            asked = self.queue
            ready = (each for each in asked if self._ready(each))
            trial = next((each for each in ready if each.key != self._lost), None)
            if self.queue is not asked:  # a trial ended without being run, and what is wanted was asked again
                continue
            if trial is None and self._lost is not None:  # nothing else is ready: at once again
                self._lost = None
                continue
            if trial is not None:
                yield self._start(trial)
            elif self._running:
                yield None
            else:
                return

    def _ready(self, trial: Trial) -> bool:
        if trial.key in self._running or self._states[trial.key] in ENDED:
            return False
        if trial.parent is None:
            return True
        above = self._states[trial.parent.key]
        if above == "diverged":
            self._orphan(trial, trial.parent)
        return above == "done"

    def _orphan(self, trial: Trial, parent: Trial) -> None:
        """A trial whose parent diverged has nothing to begin with: it diverged with it, without being run."""
        ledger = self._lab.ledger
        row = ledger.trial(parent.key)
        assert row is not None
        why = f"the arm it starts from diverged: {row['result']['diverged']}"
        result = {"units": 0, "seconds": 0.0, "curve": [], "diverged": why, "start": None, "weights": None, "bytes": 0}
        result["memory"] = {"undefined": "it was not run"}
        ledger.plan_trials([trial.to_json()])
        ledger.finish(trial.key, ledger.start(trial.key), "diverged", result, {})
        self._states[trial.key] = "diverged"
        if self.announced is not None:
            self.announced(trial, "diverged", result)
        self._ask()

    def _start(self, trial: Trial) -> Job:
        job = train_job(self._lab, trial, self._points)
        self._lab.ledger.plan_trials([trial.to_json()])
        attempt = self._lab.ledger.start(trial.key)
        self._running[trial.key] = (trial, attempt)
        return replace(job, attempt=attempt)

    def take_in(self, result: Result, announced: _Announced) -> None:
        """Store a result, ask again what is wanted, and cancel what is not."""
        self.announced = announced
        key = result.job.id
        trial, attempt = self._running[key]
        if result.error is not None and result.error.type in STOPPING:
            raise reraise(result.error, "train", _title(trial), self._lab.folder)
        del self._running[key]
        self._losses[key] += result.lost
        self._lost = key if result.lost else None
        state = store(self._lab, result, attempt, result.lost and self._losses[key] < ATTEMPTS)
        if state != "cancelled":
            announced(trial, state, result.value or {})
        if state in ENDED:
            self._states[key] = state
            self._ask()
        surplus = self._running.keys() - {trial.key for trial in self.queue}
        if surplus:
            self._lab.executor.cancel(surplus)

    def stop(self) -> None:
        """Put what still runs back into the plan."""
        for key in self._running:
            self._lab.ledger.release(key, "stopped before it ended")


class _Announced:
    """Tells the listener of each trial that ends."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._started: set[str] = set()

    def __call__(self, trial: Trial, state: str, result: Mapping[str, Any]) -> None:
        start = result.get("start")
        if start and trial.task not in self._started:
            self._started.add(trial.task)
            fresh = f", {len(start['fresh'])} are its own" if start["fresh"] else ", all that it has"
            self._lab.listener.say(
                f"{trial.task}: the {trial.side} begins with {start['loaded']} tensors of its start{fresh}."
            )
        metrics = result.get("scores", {}).get("dev", {}).get("metrics", {})
        self._lab.listener.trial(trial.task, trial.side, trial.index, state, metrics)


def _with_parents(trials: Iterable[Trial]) -> dict[str, Trial]:
    found: dict[str, Trial] = {}
    for trial in trials:
        for each in reversed(list(trial.line())):
            found.setdefault(each.key, each)
    return found


def train_job(lab: Lab, trial: Trial, points: int) -> Job:
    """The job that trains a trial, beginning with its parent's weights where it has a parent."""
    from novum.executors import Job

    payload = {
        "key": trial.key,
        "plan": trial.plan,
        "seed": {name: trial.seed[name] for name in ("root", "block", "index")},
        "points": points,
        "parent": None if trial.parent is None else weights(lab, trial.parent),
        "tracker": lab.tracker,
        "local": local_code(trial.plan["arm"]),
    }
    return Job(id=trial.key, kind="train", payload=payload, about=trial.to_json())


def store(lab: Lab, result: Result, attempt: int, retry: bool = False) -> str:
    """Put one result into the ledger; returns "done", "diverged", "failed", "lost" (to be tried again), or
    "cancelled" (a decision came first).
    """
    key = result.job.id
    if result.error is not None:
        if result.error.type == "Cancelled":
            lab.ledger.release(key, "stopped: the decision came first")
            lab.executor.acknowledge(result.job)
            return "cancelled"
        if retry:
            lab.ledger.release(key, result.error.message)
            lab.executor.acknowledge(result.job)
            return "lost"
        why = f"{result.error.type}: {result.error.message}"
        lab.ledger.finish(key, attempt, "failed", {"failed": why, "seconds": result.seconds}, {})
        lab.executor.acknowledge(result.job)
        return "failed"
    assert result.value is not None
    state = keep(lab.ledger, key, attempt, result.value)
    lab.executor.acknowledge(result.job, keep=True)
    return state


def keep(ledger: Ledger, key: str, attempt: int, value: Mapping[str, Any]) -> str:
    """Write the value of a finished job into the ledger; returns "done", "diverged", or "superseded" where another
    attempt began or ended meanwhile: then nothing of it counts.
    """
    from novum.ledger import Score

    plain = {name: each for name, each in value.items() if name != "scores"}
    scores = {
        split: Score(each["metrics"], each["tables"], each["units"], plain["seconds"])
        for split, each in value["scores"].items()
    }
    state: Literal["done", "diverged"] = "done" if plain.get("diverged") is None else "diverged"
    if plain.get("weights"):  # noted first: a crash in between leaves no folder that the record does not know
        ledger.keep_weights(plain["weights"], plain["bytes"], key)
    return state if ledger.finish(key, attempt, state, plain, scores) else "superseded"


def recover(ledger: Ledger, folder: Path) -> None:
    """At the start of work: take in results that a worker spooled before its caller died, and put what ran without
    a result back into the plan (design law 3).
    """
    from novum.executors import orphans, spool

    for found in orphans(folder):
        if found.value is None or ledger.trial(found.id) is None:  # an error is met again, and told by who meets it
            spool.remove(folder, found.id, found.attempt)
            continue
        state = keep(ledger, found.id, found.attempt, found.value)
        if state == "superseded":
            spool.remove(folder, found.id, found.attempt)
        else:
            spool.keep(folder, found.id, found.attempt)
    ledger.release_running("the process that ran it ended")


def weights(lab: Lab, trial: Trial) -> str:
    """The hash of a trained trial's weights, which are there. Lost ones are trained again, on the record.

    Raises StudyError when training again does not give the same weights.
    """
    row = lab.ledger.trial(trial.key)
    assert row is not None and row["result"] is not None, f"{trial.key} was asked for its weights before it was trained"
    digest = str(row["result"]["weights"])
    if not (lab.folder / "weights" / digest).is_dir():
        lab.ledger.drop_weights(digest)  # they are gone: only so does the record tell that they came back
        again = lab.one("train", train_job(lab, trial, 1).payload, _title(trial))
        lab.ledger.keep_weights(again["weights"], again["bytes"], trial.key)
        if again["weights"] != digest:
            raise StudyError(
                f"the weights of {_title(trial)} were lost, and training again gave "
                f"others ({again['weights'][:12]} instead of {digest[:12]}): this machine does not repeat its numbers."
            )
    return digest


def _title(trial: Trial) -> str:
    return f"{trial.task}, {trial.side}, seed {trial.index}"


def score(lab: Lab, trials: Sequence[Trial], split: str) -> None:
    """Score trained trials on another split; each score is a keyed job with a row of its own."""
    from novum.executors import Job

    distinct = {trial.key: trial for trial in trials}.values()  # arms may share a trial
    able = [trial for trial in distinct if (lab.ledger.trial(trial.key) or {}).get("state") == "done"]
    rows = [{**trial.to_json(), "key": f"{trial.key}-{split}", "kind": "score", "of": trial.key} for trial in able]
    lab.ledger.plan_trials(rows)
    for last in (attempt == ATTEMPTS for attempt in range(1, ATTEMPTS + 1)):
        states = {row["key"]: row["state"] for row in lab.ledger.trials(keys=[row["key"] for row in rows])}
        left = [trial for trial in able if states[f"{trial.key}-{split}"] not in ENDED]
        if not left:
            return
        jobs = []
        for trial in left:
            payload = {
                "plan": trial.plan,
                "weights": weights(lab, trial),
                "split": split,
                "seed": {name: trial.seed[name] for name in ("root", "block", "index")},
                "local": local_code(trial.plan["arm"]),
            }
            about = next(row for row in rows if row["of"] == trial.key)
            jobs.append(Job(id=f"{trial.key}-{split}", kind="score", payload=payload, about=about))
        attempts = {job.id: lab.ledger.start(job.id) for job in jobs}
        jobs = [replace(job, attempt=attempts[job.id]) for job in jobs]
        ended: set[str] = set()
        try:
            for result in lab.executor.run(jobs):
                if result.error is not None and result.error.type in STOPPING:
                    raise reraise(result.error, "score", result.job.id, lab.folder)
                ended.add(result.job.id)
                store(lab, result, attempts[result.job.id], retry=result.lost and not last)
        finally:
            for key in attempts.keys() - ended:
                lab.ledger.release(key, "stopped before it ended")


def forget(lab: Lab, trials: Sequence[Trial], keep: str, deciding: str | None = None) -> None:
    """After a verdict: drop the weights that its `keep` does not name ("none", "first" seed of each arm, "all").

    Weights that another trial of the study also gave, or that a registered hypothesis other than `deciding` still
    waits for, stay.
    """
    if keep == "all":
        return
    everything = _with_parents(trials)
    mine = {key for key, trial in everything.items() if keep == "none" or trial.index > 0}
    held = {row["hash"]: row["trial"] for row in lab.ledger.weights() if row["state"] == "kept"}
    awaited = _awaited(lab.ledger, deciding)
    needed = {
        (row["result"] or {}).get("weights")
        for row in lab.ledger.trials()
        if row["kind"] == "train" and (row["key"] not in mine or row["key"] in awaited)
    }
    for digest, key in held.items():
        if key in mine and digest not in needed:
            artifacts.drop(lab.folder, digest)
            lab.ledger.drop_weights(digest)


def _awaited(ledger: Ledger, deciding: str | None) -> set[str]:
    """Keys of the trials that other registered hypotheses without a verdict still count on."""
    from novum.experiment import Experiment

    waiting = [row["id"] for row in ledger.hypotheses() if ledger.verdict(row["id"]) is None and row["id"] != deciding]
    plans = [Experiment(canonical(ledger.experiment(name)["plan"])) for name in waiting]
    return {key for plan in plans for key in _with_parents(list(plan.trials()))}
