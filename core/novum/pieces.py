"""One piece of work each: a trial to train, or a trained one to score on a split. What a worker needs for it, how its
result enters the ledger, and the weights that it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from novum.errors import StudyError
from novum.lab import local_code
from novum.runner import artifacts, checkpoint

if TYPE_CHECKING:
    from novum.executors import Job
    from novum.experiment import Trial
    from novum.lab import Lab
    from novum.ledger import Ledger

POINTS = 5
"""Curve points of a trial that serves a claim."""
SLACK = 20.0
"""A trial may take so many times what its rehearsal lets expect."""
SHORTEST = 600.0
LONGEST = 86_400.0
"""Seconds that a trial may take at least, whatever its rehearsal said; and where nothing rehearsed it."""


@dataclass(frozen=True)
class Piece:
    """Work on one trial: training, or scoring on a split. It has a row of its own in the ledger."""

    trial: Trial
    split: str | None = None

    @property
    def key(self) -> str:
        """Of the row in the ledger; the job's id."""
        return self.trial.key if self.split is None else f"{self.trial.key}-{self.split}"

    @property
    def title(self) -> str:
        """For a person."""
        where = "" if self.split is None else f" on {self.split}"
        return f"{self.trial.task}, {self.trial.side}, seed {self.trial.index}{where}"

    def row(self) -> dict[str, Any]:
        """As it is planned in the ledger, and told beside the result."""
        row = self.trial.to_json()
        return row if self.split is None else {**row, "key": self.key, "kind": "score", "of": self.trial.key}

    def job(self, lab: Lab, points: int = POINTS, micro: int = 1, needs: Mapping[str, int] | None = None) -> Job:
        """For the executor. micro: pieces into which each batch is split, to fit into less memory. needs: the memory
        that it was measured to need (see `novum.needs`), for an executor that packs trials by it.
        """
        from novum.executors import Job

        trial = self.trial
        payload: dict[str, Any] = {
            "plan": trial.plan,
            "seed": {name: trial.seed[name] for name in ("root", "block", "index")},
            "local": local_code(trial.plan["arm"]),
            "resources": resources(trial.plan["arm"]["recipe"], needs, alone=self.split is not None),
        }
        if self.split is None:
            parent = None if trial.parent is None else weights(lab, trial.parent)
            payload |= {"key": trial.key, "points": points, "parent": parent, "tracker": lab.tracker, "micro": micro}
        else:
            payload |= {"weights": weights(lab, trial), "split": self.split}
        kind = "train" if self.split is None else "score"
        return Job(self.key, kind, payload, timeout=time_limit(lab, trial.plan, points), about=self.row())


def resources(
    recipe: Mapping[str, Any], needs: Mapping[str, int] | None = None, *, alone: bool = False
) -> dict[str, float]:
    """What a trial of a recipe takes: {"cpus", "gpus", "memory" in bytes}, which a cluster reserves, "devices" where it
    runs over several, and the memory that it was measured to need; without what is left open. alone: where this job of
    it runs on one device.
    """
    memory = recipe.get("memory_gb")
    devices = 1 if alone else recipe.get("devices", 1)
    asked = {
        "cpus": max(recipe.get("cpus", 1), devices),
        "gpus": recipe.get("gpus"),
        "memory": memory and memory * 1e9,
        "devices": devices if devices > 1 else None,
        **(needs or {}),
    }
    return {name: amount for name, amount in asked.items() if amount is not None}


def with_parents(trials: Iterable[Trial]) -> dict[str, Trial]:
    """By key, each after the one that it starts from."""
    found: dict[str, Trial] = {}
    for trial in trials:
        for each in reversed(list(trial.line())):
            found.setdefault(each.key, each)
    return found


# ----------------------------------------------------------------------------------------------------- how long


def speed_key(plan: Mapping[str, Any]) -> str:
    """Where the ledger keeps how fast an arm was in its rehearsal."""
    from novum.arm import fingerprint

    return f"speed/{fingerprint(_plain(plan))}"


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan without the choices that a rehearsal makes."""
    above = plan["start_from"]
    return {**plan, "how": None, "start_from": None if above is None else _plain(above)}


def time_limit(lab: Lab, plan: Mapping[str, Any], points: int) -> float:
    """Seconds after which a trial is stopped: what the recipe registers or the caller says, else far more than its
    rehearsal lets expect.
    """
    registered = plan["arm"]["recipe"].get("time_limit")
    if registered is not None:
        return float(registered)
    if lab.timeout is not None:
        return lab.timeout
    speed = lab.ledger.observation(speed_key(plan))
    if speed is None:
        return LONGEST
    expected: float = plan["units"] * speed["seconds_per_unit"] + points * speed["score_seconds"]
    return min(LONGEST, max(SHORTEST, SLACK * expected)) if expected < LONGEST else 2 * expected


# ------------------------------------------------------------------------------------------------- into the ledger


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


def fail(ledger: Ledger, key: str, attempt: int, why: str, seconds: float) -> str:
    """Write into the ledger that a trial broke for good; returns "failed" or "superseded"."""
    done = ledger.finish(key, attempt, "failed", {"failed": why, "seconds": seconds}, {})
    return "failed" if done else "superseded"


def diverge(ledger: Ledger, key: str, attempt: int, why: str, seconds: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Write into the ledger that a trial ended as an outcome without a score; returns its state and its result."""
    result: dict[str, Any] = {
        "units": 0,
        "seconds": seconds,
        "curve": [],
        "diverged": why,
        "start": None,
        "weights": None,
        "bytes": 0,
        "memory": {"undefined": "it was not run to an end"},
        "deviations": [],
    }
    done = ledger.finish(key, attempt, "diverged", result, {})
    return "diverged" if done else "superseded", result


# -------------------------------------------------------------------------------------------------------- weights


def weights(lab: Lab, trial: Trial) -> str:
    """The hash of a trained trial's weights, which are there. Lost ones are trained again, on the record.

    Raises StudyError when training again does not give the same weights.
    """
    row = lab.ledger.trial(trial.key)
    assert row is not None and row["result"] is not None, f"{trial.key} was asked for its weights before it was trained"
    digest = str(row["result"]["weights"])
    if not artifacts.present(lab.folder, digest) and not _fetched(lab, digest):
        lab.ledger.drop_weights(digest)  # they are gone: only so does the record tell that they came back
        again = _trained_again(lab, trial)
        lab.ledger.keep_weights(again["weights"], again["bytes"], trial.key)
        if again["weights"] != digest:
            raise StudyError(
                f"the weights of {Piece(trial).title} were lost, and training again gave "
                f"others ({again['weights'][:12]} instead of {digest[:12]}): this machine does not repeat its numbers."
            )
    return digest


def _trained_again(lab: Lab, trial: Trial) -> Mapping[str, Any]:
    """What training a trial once more gives, as it was trained before: alone, or together with others."""
    from novum import together

    alone = trial.seed["indices"] is None
    checkpoint.discard(lab.folder, trial.key if alone else together.identity(trial))
    if alone:
        return lab.one("train", Piece(trial).job(lab, points=1).payload, Piece(trial).title)
    block = [each for each in trial.together() if each.parent is None or _has_weights(lab, each.parent)]
    payload = together.job(lab, block, {}, points=1).payload
    told: Mapping[str, Any] = lab.one(together.KIND, payload, Piece(trial).title)["trials"][trial.key]
    return told


def _has_weights(lab: Lab, trial: Trial) -> bool:
    row = lab.ledger.trial(trial.key)
    return row is not None and row["state"] == "done"


def _fetched(lab: Lab, digest: str) -> bool:
    """Take weights that another machine put into the ledger. Whether they were there."""
    found = lab.ledger.get_files(digest) if lab.ledger.shared else None
    if found is None:
        return False
    artifacts.put(lab.folder, digest, found)
    return True


def publish(lab: Lab, digest: str) -> None:
    """Put weights into a ledger that several machines share, for those that go on with them."""
    if lab.ledger.shared and artifacts.present(lab.folder, digest):
        lab.ledger.put_files(digest, artifacts.files(lab.folder, digest))


def drop_weights(lab: Lab, digest: str) -> None:
    """Delete weights that nobody needs any more."""
    artifacts.drop(lab.folder, digest)
    if lab.ledger.shared:
        lab.ledger.drop_files(digest)
    lab.ledger.drop_weights(digest)
