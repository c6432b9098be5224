"""What a worker does: one function per kind of job. Plain JSON in, plain JSON out.

resolve     arms as written → plans, signatures, metrics
observe     a plan → facts and scale
preflight   a plan → proof that it trains, scores and saves; how long a unit takes, how much memory, and how it is
            computed best
train       a plan and a seed → weights, curve, scores on `dev`
together    a plan and several seeds, trained as one → the same for each of them
score       trained weights and a split → scores
recheck     registered plans → what differs from them here and now
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.arm import fingerprint
from novum.data import Batch, Scores, Undefined
from novum.errors import StudyError
from novum.model import Preparation, Weights
from novum.runner import artifacts, device, memory
from novum.runner.checkpoint import EVERY, Shelf
from novum.runner.choose import choose
from novum.runner.crew import crew
from novum.runner.hooks import Hooks
from novum.runner.parts import Encoder, Parts
from novum.runner.probe import convolves
from novum.runner.ranks import Together
from novum.runner.resolve import changed, differs, resolve
from novum.runner.train import Point, Trained, Trainer, score
from novum.seeds import Seed, installed, trial_seed
from novum.task import Source, Split, only

if TYPE_CHECKING:
    from novum.data import Act


PREFLIGHT: Mapping[str, Any] = {"root": 0, "block": "preflight", "index": 0}
"""The seed of a rehearsal."""


def perform(kind: str, payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do one job of the study in `folder`. Raises what the job raises; NovumErrors are the user's to mend."""
    receive(payload)
    return KINDS[kind](payload, folder)


def receive(payload: Mapping[str, Any]) -> None:
    """Make known what the payload's arms name that no distribution brings."""
    for which, local in payload.get("local", []):
        plugins.receive(which, local)


def trainer(payload: Mapping[str, Any], folder: Path, **more: Any) -> Trainer:
    """The trainer of a job at its beginning; it is equal in every process of a trial, up to `more`.

    payload: {"plan", "seed", "parent", "points"}, and "micro" where a batch is computed in pieces.
    """
    plan = payload["plan"]
    parts = Parts.of(plan["arm"])
    return Trainer(
        parts,
        trial_seed(**payload["seed"]),
        units=plan["units"],
        device_kind=plan["device"],
        precision=plan["precision"],
        how=plan["how"],
        points=payload["points"],
        start=None if payload["parent"] is None else stored(parts, folder, payload["parent"]),
        micro=payload.get("micro", 1),
        **more,
    )


# ------------------------------------------------------------------------------------------------ before training


def _resolve(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    found = {}
    for name, arm in payload["arms"].items():
        parts = Parts.of(arm)
        found[name] = {
            "plan": resolve(arm),
            "signature": describe(parts.signature),
            "metrics": [dataclasses.asdict(metric) for metric in parts.evaluator.metrics],
        }
    return {"arms": found}


def _observe(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    from novum.observe import observe

    parts = Parts.of(payload["plan"]["arm"])
    seen = observe(parts.task, parts.evaluator, parts.recipe)
    facts = [dataclasses.asdict(fact) | {"value": dump_number(fact.value)} for fact in seen.facts]
    return {"facts": facts, "scale": None if seen.scale is None else dataclasses.asdict(seen.scale)}


def _recheck(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"differs": {name: differs(plan) for name, plan in payload["plans"].items()}}


def _preflight(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Two steps on `train`, a score of 16 of its units, weights saved and loaded; nothing of it is kept."""
    plan = payload["plan"]
    began = time.perf_counter()
    scratch = Path(tempfile.mkdtemp(prefix="novum-preflight-"))
    try:
        line = [plan]
        while line[-1]["start_from"] is not None:
            line.append(line[-1]["start_from"])
        told: list[dict[str, Any]] = []
        weights = None
        for each in reversed(line):
            local = payload.get("local", [])
            rehearsal = {"plan": each, "seed": PREFLIGHT, "parent": weights, "points": 1, "local": local}
            found, weights = _rehearse(rehearsal, scratch)
            told.insert(0, found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    how = [
        dataclasses.asdict(choose(each, speed)) if asked else None
        for each, speed, asked in zip(line, told, payload["asked"], strict=True)
    ]
    return told[0] | {
        "above": told[1:],
        "how": how,
        "foreseen": _foreseen(line),
        "seconds": time.perf_counter() - began,
    }


def _foreseen(line: list[dict[str, Any]]) -> dict[str, int]:
    """What of an arm's `dev` and `test` the arms that it starts from learn from, as numbers alone."""
    if len(line) == 1:
        return {}
    from novum.observe import foreseen

    child, *starts = [Parts.of(each["arm"]) for each in line]
    return foreseen(child.task, child.recipe, [(each.task, each.recipe) for each in starts])


def _rehearse(payload: dict[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    """How fast it went, and the weights that it left in `folder`."""
    plan = payload["plan"]
    peak = memory.measure(plan["device"])
    with crew(payload, folder, "rehearse", trial_seed(**payload["seed"])) as others:
        rehearsed = trainer(payload, folder, ranks=None if others is None else others.ranks)
        if others is not None:
            others.begin()
        per_unit, why = paces(rehearsed)
    if why is not None:
        raise StudyError(
            f"preflight: {plan['arm']['model']['plugin']!r} on {plan['arm']['task']['plugin']!r}: {why}; "
            "lower recipe.learning_rate or look at the data."
        )
    if rehearsed.deviations:
        raise StudyError(
            f"preflight: {plan['arm']['model']['plugin']!r} with recipe.compile = 'on': {rehearsed.deviations[0]}; say "
            "'auto' or 'off'."
        )
    parts = rehearsed.parts
    before = time.perf_counter()
    with only(Split.TRAIN), installed(Seed(0, ("preflight", "score"))):
        head = Head(parts.task.source(Split.TRAIN, Seed(0, ("preflight",)), parts.recipe), 16)
        encoder = Encoder(rehearsed.preparation, rehearsed.device, rehearsed.how["layout"])
        rehearsed.net.eval()
        from novum.runner.parts import Actor

        rows = parts.evaluator.score(Actor(parts.model, rehearsed.net, encoder), head, parts.signature).units
    scored = time.perf_counter() - before
    used_memory = peak()  # before saving, which copies every tensor
    digest, size = artifacts.save(folder, rehearsed.net, rehearsed.preparation.dump())
    weights, preparation = stored(parts, folder, digest)
    restore(parts, preparation, weights)
    return (
        {
            "seconds_per_unit": per_unit,
            "score_seconds": scored,
            "scored": max((len(column) for column in rows.values()), default=0),
            "units": plan["units"],
            "bytes": size,
            "memory": used_memory,
            "convolves": convolves(rehearsed.net),
        },
        digest,
    )


def paces(trainer: Trainer) -> tuple[float, str | None]:
    """Take two batches of a training: seconds per unit, and why it diverged, if it did."""
    used, why = trainer.stretch(0, 1)
    before, first = time.perf_counter(), used
    if why is None and used < trainer.units:
        used, why = trainer.stretch(used, used + 1)
    device.synchronize(trainer.device.type)
    seconds = (time.perf_counter() - before) / max(used - first, 1)
    if trainer.ranks is not None:
        trainer.ranks.check(trainer.net)
    return seconds, why


class Head(Source):
    """The first units of a source, for a rehearsal of scoring."""

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        self._count = count

    @property
    def size(self) -> int | None:
        return None if self._source.size is None else min(self._source.size, self._count)

    def next(self, act: Act) -> Batch:
        return self._source.next(act)

    def each(self, act: Act) -> Iterator[Batch]:
        left = self._count
        for batch in self._source.each(act):
            if batch.inputs is None or len(batch.ids) <= left:
                yield batch
            else:
                targets = None if batch.targets is None else batch.targets[:left]
                yield dataclasses.replace(batch, inputs=batch.inputs[:left], targets=targets, ids=batch.ids[:left])
            left -= len(batch.ids)
            if left <= 0:
                return


# --------------------------------------------------------------------------------------------- training and scoring


def refuse_other_code(plan: dict[str, Any]) -> None:
    """Raise StudyError where the plan was registered with other code than this."""
    other = changed(plan)
    if other:
        raise StudyError(
            f"this plan was registered with other code: {'; '.join(other)} differ now, and numbers of both must not "
            "be mixed. Go back to that installation, or register the claim anew with --new."
        )


def _train(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    from novum.trackers import open_tracker

    plan = payload["plan"]
    refuse_other_code(plan)
    kept = shelf(payload, folder)
    micro = payload.get("micro", 1)
    peak = memory.measure(plan["device"])
    with (
        open_tracker(payload["tracker"], folder, payload["key"]) as tracker,
        crew(payload, folder, "train", trial_seed(**payload["seed"]), kept.due) as others,
    ):
        ranks = None if others is None else others.ranks
        place = kept if ranks is None else Together(ranks, kept)

        def make() -> Trainer:
            return trainer(
                payload, folder, watch=lambda point: tracker.point(dump_point(point)), shelf=place, ranks=ranks
            )

        made = kept.resume(make)
        if others is not None:
            others.begin(kept.number)
        if micro > 1:  # nothing else asks for it
            kept.tell(f"micro-batches of 1/{micro} after running out of memory")
        for point in made.curve:  # the tracker started anew
            tracker.point(dump_point(point))
        trained = made.run()
    used = peak()  # before saving, which copies every tensor
    digest, size = artifacts.save(folder, made.scored, trained.preparation.dump())
    told = {"resumed": kept.resumed, "deviations": kept.deviations}
    return trained_result(trained) | {"weights": digest, "bytes": size, "memory": used} | told


def _together(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    from novum.runner.together import train

    return train(payload, folder)


def shelf(payload: Mapping[str, Any], folder: Path) -> Shelf:
    """The checkpoints of a job's trial."""
    return Shelf(folder, payload["key"], identity(payload), payload.get("checkpoint_every", EVERY))


def identity(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree with: all that decides the numbers, and the points at which they are taken."""
    names = ("key", "seed", "seeds", "parent", "parents", "points")
    named = {name: payload[name] for name in names if name in payload}
    return named | {"plan": fingerprint(payload["plan"]), "micro": payload.get("micro", 1)}


def trained_result(trained: Trained) -> dict[str, Any]:
    """What the job `train` tells of a training, but for weights, memory and what went otherwise than planned."""
    scores = trained.scores if trained.diverged is None else None
    return {
        "units": trained.units,
        "seconds": trained.seconds,
        "curve": [dump_point(point) for point in trained.curve],
        "diverged": trained.diverged,
        "start": trained.start,
        "stopped": trained.stopped,
        "scores": {} if scores is None else {"dev": dump_scores(scores)},
    }


def _score(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    plan = payload["plan"]
    began = time.perf_counter()
    parts = Parts.of(plan["arm"])
    weights, preparation = stored(parts, folder, payload["weights"])
    where, layout = device.device(plan["device"]), plan["how"]["layout"]
    net = device.arrange(restore(parts, preparation, weights).to(where), layout)
    encoder = Encoder(preparation, where, layout)
    split = Split(payload["split"])
    scores = score(parts, net, encoder, split, trial_seed(**payload["seed"]))
    return {"seconds": time.perf_counter() - began, "scores": {str(split): dump_scores(scores)}}


def stored(parts: Parts, folder: Path, digest: str) -> tuple[Weights, Preparation]:
    """Trained weights and preparation from the study's folder. Raises StudyError when missing or damaged."""
    kept = artifacts.load(folder, digest)
    return Weights(kept.tensors), type(parts.model).preparation.load(kept.preparation)


def restore(parts: Parts, preparation: Preparation, weights: Weights) -> Any:
    """A network with exactly these weights. Raises StudyError when they do not fit the model's network."""
    with installed(Seed(0, ("restore",))):
        net = parts.model.build(parts.signature, preparation, Seed(0, ("restore",)), None)
        Hooks(parts.recipe.techniques, Seed(0, ("restore",)), device.device("cpu")).on_build(net)
    try:
        net.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise StudyError(f"the stored weights do not fit the network that the model builds now: {error}") from None
    return net


KINDS: Mapping[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {
    "resolve": _resolve,
    "observe": _observe,
    "preflight": _preflight,
    "train": _train,
    "together": _together,
    "score": _score,
    "recheck": _recheck,
}


# ----------------------------------------------------------------------------------------------------- plain JSON


def describe(signature: Any) -> dict[str, Any]:
    """A signature as JSON: each side its kind and fields."""
    return {
        side: {"kind": space.kind, **dataclasses.asdict(space)}
        for side, space in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }


def dump_number(value: Any) -> Any:
    """A number for JSON; what is undefined or not finite says so (design law 6). Text, as in a fact, stays."""
    if isinstance(value, Undefined):
        return {"undefined": value.because}
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"undefined": f"it came out as {value}"}
    return value


def dump_point(point: Point) -> dict[str, Any]:
    """A curve point for JSON."""
    return {
        "units": point.units,
        "share": point.share,
        "seconds": point.seconds,
        "losses": {name: dump_number(value) for name, value in point.losses.items()},
        "metrics": {name: dump_number(value) for name, value in point.metrics.items()},
    }


def dump_scores(scores: Scores) -> dict[str, Any]:
    """Scores for JSON."""
    return {
        "metrics": {name: dump_number(value) for name, value in scores.metrics.items()},
        "tables": {
            table: {row: {name: dump_number(value) for name, value in cells.items()} for row, cells in rows.items()}
            for table, rows in scores.tables.items()
        },
        "units": {name: [dump_number(value) for value in column] for name, column in scores.units.items()},
    }
