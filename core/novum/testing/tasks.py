"""What a task promises: batches that agree with its signature, disjoint splits, an order that follows from the seed."""

from __future__ import annotations

import itertools
import json
import math
import os
from typing import TYPE_CHECKING, Any

from novum.data import Batch, Signature, Undefined
from novum.errors import SplitClosed
from novum.observe import SPLITS, Observation
from novum.recipe import Recipe
from novum.seeds import Seed, installed
from novum.task import Source, Split, only
from novum.testing.batches import acts, digest, one_pass, problem, rows, still
from novum.testing.every import alone, interpreter
from novum.testing.laws import DATA, Broken, Inapplicable, expect, law
from novum.testing.subject import made

if TYPE_CHECKING:
    from novum.task import Task
    from novum.testing.subject import Subject

DRAWS = 4
"""Training batches that are compared."""
PASSES = 2.5
"""Passes over `train` after which a source counts as endless."""


def opened(task: Task, split: Split = Split.TRAIN, seed: int = 0, batch_size: int = 16) -> Source:
    """A split as a trial opens it."""
    source = task.source(split, Seed(seed, ("data",)), Recipe(batch_size=batch_size))
    expect(isinstance(source, Source), f"`source` gives {type(source).__name__}; give a novum.Source")
    return source


def drawn(task: Task, seed: int, count: int = DRAWS) -> list[Batch]:
    """The first training batches of a seed, in the generators' own stream of that seed."""
    act = still(task.signature())
    with installed(Seed(seed, ("train",))):
        source = opened(task, seed=seed)
        return [source.next(act) for _ in range(count)]


def scored(task: Task, split: Split, seed: int = 0) -> list[Batch]:
    """The batches of one scoring pass, in the generators' own stream of that seed."""
    with installed(Seed(seed, ("score",))):
        return one_pass(opened(task, split, seed), still(task.signature()))


def _data_set(task: Task) -> None:
    if acts(opened(task)):
        raise Inapplicable("its splits are seeds of an environment, whose units have no fixed content")


# -------------------------------------------------------------------------------------------- what it says of itself


@law("the signature is a novum.Signature of two spaces with a `kind`, the same whenever asked", "task")
def signature_is_stable(subject: Subject) -> None:
    found = subject.make().signature()

    expect(
        isinstance(found, Signature), f"`signature` gives {type(found).__name__}; give novum.Signature(inputs, outputs)"
    )
    for name in ("inputs", "outputs"):
        kind = getattr(getattr(found, name), "kind", None)
        expect(isinstance(kind, str) and kind, f"the {name} of the signature have no `kind` (it is {kind!r})")
    again = subject.make().signature()
    expect(found == again, f"two tasks of the same options give other signatures: {found} and {again}")


@law("what training and scoring batches hold agrees with the signature", "task")
def batches_agree_with_the_signature(subject: Subject) -> None:
    task = subject.make()
    signature, plays = task.signature(), acts(opened(task))
    batches = [(Split.TRAIN, each, plays) for each in drawn(task, 0)]
    if not plays:
        batches += [(split, each, False) for split in Split for each in scored(task, split)]

    for split, batch, rollout in batches:
        wrong = problem(batch, signature, plays=rollout)
        expect(wrong is None, f"in {split}, {wrong}")


@law("observe tells facts of `train`, and a scale whose reference is better than chance", "task")
def observation_is_sound(subject: Subject) -> None:
    task = subject.make()
    with only(Split.TRAIN):
        found, again = task.observe(), subject.make().observe()
    expect(isinstance(found, Observation), f"`observe` gives {type(found).__name__}; give a novum.Observation")
    for fact in found.facts:
        value = fact.value
        expect(
            isinstance(value, Undefined | int | float | str)
            and not (isinstance(value, float) and not math.isfinite(value)),
            f"the fact {fact.id!r} is {value!r}; a fact is a finite number, a text, or novum.Undefined with a reason",
        )
    expect(found == again, "two observations of the same data differ; draw from a fixed novum.Seed, never the clock")
    if found.scale is not None:
        scale, evaluator = found.scale, made("evaluator", task.evaluator)
        metric = next((each for each in evaluator.metrics if each.name == scale.metric), None)
        expect(
            metric is not None,
            f"the scale is of {scale.metric!r}, but the evaluator {task.evaluator!r} has "
            f"{', '.join(each.name for each in evaluator.metrics)}",
        )
        assert metric is not None
        better = scale.reference > scale.chance if metric.direction == "max" else scale.reference < scale.chance
        expect(
            better and math.isfinite(scale.reference) and math.isfinite(scale.chance),
            f"chance is {scale.chance!r} and the reference {scale.reference!r} for a metric whose direction is "
            f"{metric.direction!r}; the reference must be the better one",
        )


# -------------------------------------------------------------------------------------------------------- its splits


@law("while training, `train` alone can be opened", "task")
def training_sees_train_alone(subject: Subject) -> None:
    task = subject.make()
    with only(Split.TRAIN):
        try:
            opened(task).next(still(task.signature()))
        except SplitClosed as error:
            raise Broken(f"opening `train` opens another split: {error}") from error
        for split in (Split.DEV, Split.TEST):
            try:
                opened(task, split)
            except SplitClosed:
                continue
            raise Broken(
                f"{split} could be opened while only train may be seen; give `source` as a method of the class"
            )


@law("no unit stands in two splits, by its id", "task", on=DATA)
def splits_share_no_unit(subject: Subject) -> None:
    task = subject.make()
    _data_set(task)
    ids = {split: {unit for batch in scored(task, split) for unit in batch.ids} for split in Split}
    for first, second in itertools.combinations(Split, 2):
        both = sorted(ids[first] & ids[second])
        expect(
            not both,
            f"{len(both)} units stand in {first} and in {second}, such as {both[:1]}; divide with novum.split, by ids",
        )


@law(
    "no unit's content stands in two splits; where the data bring their division, it is a reported fact",
    "task",
    on=DATA,
)
def splits_share_no_content(subject: Subject) -> None:
    task = subject.make()
    _data_set(task)
    held = {split: [row[1] for row in rows(scored(task, split))] for split in Split}
    shared = {
        f"{first}-{second}": sum(each in set(held[first]) for each in held[second])
        for first, second in itertools.combinations(Split, 2)
    }
    if subject.own_splits:
        hashes = {split: opened(task, Split(split)).hashes() for split in SPLITS}
        expect(None not in hashes.values(), "its source gives no `hashes`, so that no duplicate is counted; give them")
        from novum.observe import observe

        facts = {each.id: each.value for each in observe(task, made("evaluator", task.evaluator), Recipe()).facts}
        for pair, count in shared.items():
            told = facts.get(f"{pair}.duplicates")
            expect(told == count, f"{count} units of {pair} are the same, but the fact {pair}.duplicates says {told!r}")
        return
    for pair, count in shared.items():
        expect(
            not count,
            f"{count} units of {pair.split('-')[1]} also stand, with their exact content, in {pair.split('-')[0]}; "
            "divide with novum.split(…, content=…), or say `own_splits = True` in the test where the data bring "
            "their division (on the command line --own-splits)",
        )


@law("scoring is finite, in one order, and the same whatever the seed and however often", "task")
def scoring_is_finite_ordered_and_stable(subject: Subject) -> None:
    task = subject.make()
    act = still(task.signature())
    for split in (Split.DEV, Split.TEST):
        first = scored(task, split)
        ids = [unit for batch in first for unit in batch.ids]
        expect(ids and len(set(ids)) == len(ids), f"{split} gives {len(ids)} ids, {len(set(ids))} of them different")
        with installed(Seed(1, ("score",))):
            source = opened(task, split, seed=1, batch_size=3)
            again, third = one_pass(source, act), one_pass(source, act)
        for what, other in (("another seed and batch size", again), ("a second pass of one source", third)):
            names = [unit for batch in other for unit in batch.ids]
            at = next((at for at, pair in enumerate(itertools.zip_longest(ids, names)) if pair[0] != pair[1]), None)
            expect(
                at is None,
                f"{split} gives other units, or another order, with {what}: unit {at} is "
                f"{names[at] if at is not None and at < len(names) else None!r} in place of "
                f"{ids[at] if at is not None and at < len(ids) else None!r}",
            )
            expect(_same(first, other), f"the units of {split} have another content with {what}")
        size = opened(task, split).size
        expect(size is None or size == len(ids), f"{split} says its size is {size}, and gives {len(ids)} units")


def _same(first: list[Batch], other: list[Batch]) -> bool:
    if first[0].inputs is None:  # episodes: what was played
        return [digest(each.extras) for each in first] == [digest(each.extras) for each in other]
    return rows(first) == rows(other)


# ------------------------------------------------------------------------------------------------------ its training


@law("a training source never ends", "task")
def training_never_ends(subject: Subject) -> None:
    task = subject.make()
    act, size = still(task.signature()), opened(task).size
    count = 6 if size is None else max(16, math.ceil(size / 4))
    with installed(Seed(0, ("train",))):
        source, seen = opened(task, batch_size=count), 0
        for number in range(6 if size is None else math.ceil(PASSES * (size or 0) / count)):
            try:
                batch = source.next(act)
            except Exception as error:
                raise Broken(
                    f"`next` raised {type(error).__name__} ({error}) after {number} batches, {seen} units; begin the "
                    "next pass there, as novum.Examples does"
                ) from error
            expect(
                isinstance(batch, Batch), f"`next` gave {batch!r} after {seen} units; give a novum.Batch, without end"
            )
            seen += batch.units


@law("the same seed gives the same training batches, byte for byte", "task")
def same_seed_gives_the_same_batches(subject: Subject) -> None:
    first = [digest(each) for each in drawn(subject.make(), 0)]
    again = [digest(each) for each in drawn(subject.make(), 0)]
    at = next((at for at, (one, other) in enumerate(zip(first, again, strict=True)) if one != other), None)
    expect(
        at is None, f"training batch {at} differs between two sources of one seed; draw from the `seed` that is given"
    )


@law("another seed gives other training batches", "task")
def another_seed_gives_other_batches(subject: Subject) -> None:
    first, other = (digest(drawn(subject.make(), seed)) for seed in (0, 1))
    expect(
        first != other,
        f"the first {DRAWS} training batches are the same for two seeds; order and draws must follow from the `seed` "
        "that `source` gets, not from a constant",
    )


@law("another process gives the same bytes: nothing follows from a hash, a set's order or the clock", "task")
def another_process_gives_the_same_bytes(subject: Subject) -> None:
    plugin = alone(subject)
    folder = subject.folder / "another"
    folder.mkdir(parents=True, exist_ok=True)
    options = json.dumps(subject.config().model_dump(mode="json"))
    salt = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    told = interpreter(ANOTHER, folder, plugin, PYTHONHASHSEED=salt, NOVUM_KIT_OPTIONS=options, OMP_NUM_THREADS="1")
    first, other = sums(subject.make()), json.loads(told.strip().splitlines()[-1])
    for name in first:
        expect(
            first[name] == other[name],
            f"{name} differs between two processes; a set, `hash()`, the clock or a file's order decides it: sort, "
            "and use hashlib or novum.content_hash",
        )


ANOTHER = """
import functools, importlib, json, os, sys
sys.path[:] = json.loads(os.environ["NOVUM_KIT_PATH"])
kind, name, locals_ = json.loads(os.environ["NOVUM_KIT_PLUGIN"])
from novum import plugins
for which, code in locals_:
    plugins.receive(which, code)
module, _, path = name.partition(":")
cls = plugins.load(kind, name) if kind else functools.reduce(getattr, path.split("."), importlib.import_module(module))
from novum.testing.tasks import sums
task = cls(cls.Config.model_validate(json.loads(os.environ["NOVUM_KIT_OPTIONS"])))
print("\\n" + json.dumps(sums(task)), file=sys.stderr)
"""
"""Tells, from an interpreter of its own, what a task gives."""


def sums(task: Task) -> dict[str, str]:
    """Hashes of what a task gives: its fingerprint, each split, the first training batches."""
    found = {"the signature": repr(task.signature()), "the fingerprint": task.fingerprint()}
    found["the first training batches"] = digest(drawn(task, 0))
    for split in Split:
        if split is not Split.TRAIN or not acts(opened(task)):
            found[f"the units of {split}"] = digest(scored(task, split))
    return found


@law("a source that gives its state goes on from it with the very batches that it would have given", "task")
def a_source_resumes_exactly(subject: Subject) -> None:
    task = subject.make()
    act = still(task.signature())
    with installed(Seed(0, ("train",))):
        source = opened(task)
        for _ in range(DRAWS - 1):
            source.next(act)
        state = source.state_dict()
        if state is None:
            raise Inapplicable("its source gives no state, and so promises no exact resume")
        kept = stored(state)
        expected = [digest(source.next(act)) for _ in range(DRAWS)]
    with installed(Seed(0, ("train",))):
        fresh = opened(subject.make())
        fresh.load_state_dict(kept)
        found = [digest(fresh.next(act)) for _ in range(DRAWS)]
    at = next((at for at, (one, other) in enumerate(zip(expected, found, strict=True)) if one != other), None)
    expect(at is None, f"batch {at} after resuming is another one; keep in the state all that decides what comes next")


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes back from a checkpoint. Raises Broken for what has no place in one."""
    import torch

    from novum.runner.packing import pack, unpack

    try:
        packed, tensors = pack(state)
    except TypeError as error:
        raise Broken(f"its state cannot be kept: {error}; use numbers, text, lists, dictionaries and arrays") from error
    copies = {name: each.clone() for name, each in tensors.items()}
    text = json.dumps(packed)
    return dict(unpack(json.loads(text), copies.__getitem__, torch.device("cpu")))
