"""Running trials: from planned rows to results in the ledger, through one exactly-once door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from novum import together
from novum.arm import canonical
from novum.feed import ENDED, Feed
from novum.pieces import POINTS, Piece, drop_weights, keep, publish, with_parents
from novum.runner import artifacts, checkpoint

if TYPE_CHECKING:
    from novum.experiment import Trial
    from novum.lab import Lab
    from novum.ledger import Ledger

Wanted = Callable[[], Sequence["Trial"]]


def train(lab: Lab, wanted: Wanted | Sequence[Trial], *, total: int | None = None, points: int = POINTS) -> bool:
    """Train what is wanted and not trained yet, parents before those that start from them. Returns whether nothing
    broke.

    wanted: trials in the order in which they are needed, or a function that names those that are still needed; it is
    asked again after each result, and what runs and is wanted no more is cancelled. total: how many trials that may
    come to, for progress. A list of trials is given up as soon as one breaks (a plugin's exception, or a process lost
    too often). Interrupting is safe: running trials return to the plan.
    """
    fixed = wanted if not callable(wanted) else None

    def asked() -> dict[str, Piece]:
        trials = fixed if fixed is not None else wanted()  # type: ignore[operator]
        whole = (each for trial in trials for each in trial.together())
        return {key: Piece(trial) for key, trial in with_parents(whole).items()}

    feed = Feed(lab, asked, points=points, halt=fixed is not None)
    if feed.queue:
        lab.listener.planned(total or len(feed.everything), feed.done, lab.executor.describe()["workers"])
        try:
            _run(lab, feed)
        finally:
            lab.listener.ended()
    return not feed.broken


def score(lab: Lab, trials: Sequence[Trial], split: str) -> None:
    """Score trained trials on another split; each score is a keyed job with a row of its own."""
    distinct = {trial.key: trial for trial in trials}  # arms may share a trial
    states = {row["key"]: row["state"] for row in lab.ledger.trials(keys=list(distinct))}
    able = [Piece(trial, split) for key, trial in distinct.items() if states.get(key) == "done"]
    wanted = {piece.key: piece for piece in able}
    lab.ledger.plan_trials([piece.row() for piece in able])
    feed = Feed(lab, lambda: wanted, points=POINTS, halt=False)
    if feed.queue:
        _run(lab, feed)


def _run(lab: Lab, feed: Feed) -> None:
    try:
        for result in lab.executor.run(feed.jobs()):
            feed.take_in(result)
    finally:
        feed.stop()


def recover(lab: Lab) -> None:
    """At the start of work: end what an earlier, killed run left running; take in results that a worker spooled before
    its caller died; and put what ran without a result back into the plan (design law 3).
    """
    from novum.executors import orphans, spool

    lab.executor.clear()
    together.recover(lab.folder)
    for found in orphans(lab.folder):
        # an error is met again by whoever runs the trial, and told then
        known = found.value is not None and lab.ledger.trial(found.id) is not None
        if known and (found.value or {}).get("weights"):
            publish(lab, (found.value or {})["weights"])
        if known and keep(lab.ledger, found.id, found.attempt, found.value or {}) != "superseded":
            spool.keep(lab.folder, found.id, found.attempt)
        else:
            spool.remove(lab.folder, found.id, found.attempt)
    if lab.session is not None:
        lab.session.take_over()
    else:
        lab.ledger.release_running("the process that ran it ended")
    ended, named = lab.ledger.finished(), {path.name for path in (lab.folder / "checkpoints").glob("*")}
    blocks = {name for name in named if name.endswith(f"-{together.KIND}")}
    stale = (named & ended) | (blocks - together.unfinished(lab.ledger) if blocks else set())
    for name in stale:  # a late worker may have written one after its trials had ended
        checkpoint.discard(lab.folder, name)


def forget(lab: Lab, trials: Sequence[Trial], keep: str, deciding: str | None = None) -> None:
    """After a verdict: drop the weights that its `keep` does not name ("none", "first" seed of each arm, "all").

    Weights that another trial of the study also gave, or that a registered hypothesis other than `deciding` still
    waits for, stay.
    """
    if keep == "all":
        return
    everything = with_parents(trials)
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
            drop_weights(lab, digest)
    if lab.ledger.shared:  # what another machine dropped, or fetched and needs no more
        kept = {row["hash"] for row in lab.ledger.weights() if row["state"] == "kept"}
        for digest in artifacts.held(lab.folder):
            if digest not in kept:
                artifacts.drop(lab.folder, digest)


def _awaited(ledger: Ledger, deciding: str | None) -> set[str]:
    """Keys of the trials that other registered hypotheses without a verdict still count on."""
    from novum.experiment import Experiment

    waiting = [row["id"] for row in ledger.hypotheses() if ledger.verdict(row["id"]) is None and row["id"] != deciding]
    plans = [Experiment(canonical(ledger.experiment(name)["plan"])) for name in waiting]
    return {key for plan in plans for key in with_parents(list(plan.trials()))}


__all__ = ["ENDED", "POINTS", "forget", "recover", "score", "train"]
