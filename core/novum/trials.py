"""Running trials: from planned rows to results in the ledger, through one exactly-once door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def train(lab: Lab, trials: Sequence[Trial], points: int = POINTS) -> bool:
    """Train what is not trained yet, parents first. Returns whether nothing broke.

    A trial that breaks (a plugin's exception, or a process lost too often) ends the rest: the plan cannot be
    completed. Interrupting is safe: running trials return to the plan.
    """
    everything = _with_parents(trials)
    lab.ledger.plan_trials([trial.to_json() for trial in everything.values()])
    rows = {row["key"]: row for row in lab.ledger.trials(keys=list(everything))}
    if all(row["state"] in ENDED for row in rows.values()):
        return all(row["state"] != "failed" for row in rows.values())
    announced = _Announced(lab, everything, rows)
    try:
        return all(_wave(lab, wave, points, announced) for wave in _waves(everything.values()))
    finally:
        lab.listener.ended()


class _Announced:
    """Tells the listener how many trials there are, and each that ends."""

    def __init__(self, lab: Lab, trials: Mapping[str, Trial], rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._lab = lab
        self._losses: Counter[str] = Counter()
        self._started: set[str] = set()
        done = sum(row["state"] in ENDED for row in rows.values())
        lab.listener.planned(len(trials), done, lab.executor.describe()["workers"])

    def may_retry(self, result: Result) -> bool:
        """Whether a trial whose process died is tried again; counts this loss."""
        self._losses[result.job.id] += result.lost
        return result.lost and self._losses[result.job.id] < ATTEMPTS

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


def _waves(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Trials by how many ancestors they have: each wave needs only the weights of the waves before it."""
    waves: list[list[Trial]] = []
    for trial in trials:
        depth = len(list(trial.line())) - 1
        waves.extend([] for _ in range(depth + 1 - len(waves)))
        waves[depth].append(trial)
    return waves


def _wave(lab: Lab, wave: Sequence[Trial], points: int, announced: _Announced) -> bool:
    left = list(wave)
    while left:
        states = {row["key"]: row for row in lab.ledger.trials(keys=[trial.key for trial in left])}
        if any(row["state"] == "failed" for row in states.values()):
            return False
        left = [trial for trial in left if states[trial.key]["state"] not in ENDED]
        left = [trial for trial in left if not _orphaned(lab, trial, announced)]
        if left and not _round(lab, left, points, announced):
            return False
    return True


def _orphaned(lab: Lab, trial: Trial, announced: _Announced) -> bool:
    """A trial whose parent diverged has nothing to begin with: it diverged with it, without being run."""
    if trial.parent is None:
        return False
    parent = lab.ledger.trial(trial.parent.key)
    if parent is None or parent["state"] != "diverged":
        return False
    why = f"the arm it starts from diverged: {parent['result']['diverged']}"
    result = {"units": 0, "seconds": 0.0, "curve": [], "diverged": why, "start": None, "weights": None, "bytes": 0}
    lab.ledger.finish(trial.key, lab.ledger.start(trial.key), "diverged", result, {})
    announced(trial, "diverged", result)
    return True


def _round(lab: Lab, trials: Sequence[Trial], points: int, announced: _Announced) -> bool:
    """Run each trial once more; False when one broke."""
    jobs = [train_job(lab, trial, points) for trial in trials]
    by_key = {trial.key: trial for trial in trials}
    attempts = {trial.key: lab.ledger.start(trial.key) for trial in trials}
    ended: set[str] = set()
    try:
        for result in lab.executor.run(jobs):
            trial = by_key[result.job.id]
            if result.error is not None and result.error.type in STOPPING:
                raise reraise(result.error, "train", _title(trial), lab.folder)
            ended.add(trial.key)
            state = store(lab, result, attempts[trial.key], announced.may_retry(result))
            announced(trial, state, result.value or {})
            if state == "failed":
                lab.executor.cancel([job.id for job in jobs if job.id not in ended])
                return False
    finally:
        for key in attempts.keys() - ended:
            lab.ledger.release(key, "stopped before it ended")
    return True


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
    return Job(id=trial.key, kind="train", payload=payload)


def store(lab: Lab, result: Result, attempt: int, retry: bool = False) -> str:
    """Put one result into the ledger; returns "done", "diverged", "failed", or "lost" (to be tried again)."""
    key = result.job.id
    if result.error is not None:
        if retry:
            lab.ledger.release(key, result.error.message)
            lab.executor.acknowledge(key)
            return "lost"
        why = f"{result.error.type}: {result.error.message}"
        lab.ledger.finish(key, attempt, "failed", {"failed": why, "seconds": result.seconds}, {})
        lab.executor.acknowledge(key)
        return "failed"
    assert result.value is not None
    state = keep(lab.ledger, key, attempt, result.value)
    lab.executor.acknowledge(key)
    return state


def keep(ledger: Ledger, key: str, attempt: int, value: Mapping[str, Any]) -> str:
    """Write the value of a finished job into the ledger; returns "done" or "diverged"."""
    from novum.ledger import Score

    plain = {name: each for name, each in value.items() if name != "scores"}
    scores = {
        split: Score(each["metrics"], each["tables"], each["units"], plain["seconds"])
        for split, each in value["scores"].items()
    }
    state: Literal["done", "diverged"] = "done" if plain.get("diverged") is None else "diverged"
    if plain.get("weights"):  # noted first: a crash in between leaves no folder that the record does not know
        ledger.keep_weights(plain["weights"], plain["bytes"], key)
    ledger.finish(key, attempt, state, plain, scores)
    return state


def recover(ledger: Ledger, folder: Path) -> None:
    """At the start of work: take in results that a worker spooled before its caller died, and put what ran without
    a result back into the plan (design law 3).
    """
    from novum.executors import orphans, spool

    for key, outcome in orphans(folder):
        row = ledger.trial(key)
        if row is not None and row["state"] == "running" and "value" in outcome:
            keep(ledger, key, row["attempts"], outcome["value"])
        spool.remove(folder, key)
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

    able = [trial for trial in trials if (lab.ledger.trial(trial.key) or {}).get("state") == "done"]
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
            jobs.append(Job(id=f"{trial.key}-{split}", kind="score", payload=payload))
        attempts = {job.id: lab.ledger.start(job.id) for job in jobs}
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
