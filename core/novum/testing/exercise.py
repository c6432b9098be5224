"""What a trial does with a plugin, in small: so that what else the plugin does can be watched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from novum.seeds import Seed, installed, read
from novum.task import Split, only
from novum.testing.batches import acts, one_pass, still
from novum.testing.evaluators import bench
from novum.testing.laws import Inapplicable, expect, law
from novum.testing.training import Training
from novum.testing.watch import watched

if TYPE_CHECKING:
    from novum.testing.subject import Subject

USED = ("task", "model", "evaluator")
KNOWN = ("classes", "actions", "controls")
"""Kinds of outputs for which the kit itself can answer something."""
MOST_OUTPUT = 10_000
"""Bytes of output that a few steps may give; a log of millions of steps fills the disk else."""


def exercise(subject: Subject, seed: int = 0) -> None:
    """Open, learn from and score with the plugin, a few batches."""
    if subject.kind == "task":
        task, recipe = subject.make(), _recipe()
        signature = task.signature()
        with only(Split.TRAIN):
            task.observe()
        task.fingerprint()
        for split in Split:
            with only(split), installed(Seed(seed, (split,))):
                source = task.source(split, Seed(seed, ("data",)), recipe)
                if split is Split.TRAIN:
                    for _ in range(3):
                        source.next(still(signature))
                else:
                    one_pass(source, still(signature))
    elif subject.kind == "model":
        training = Training(subject, seed)
        training.steps(2)
        training.score()
    else:
        _scored(subject)


def _scored(subject: Subject) -> None:
    """One score: of right answers where the kit knows some, else of answers that follow from the inputs."""
    try:
        made = bench(subject)
    except Inapplicable:
        task = subject.task()
        signature = task.signature()
        source = task.source(Split.DEV, Seed(0, ("data",)), _recipe())
        if not acts(source) and signature.outputs.kind not in KNOWN:
            raise
        subject.make().score(still(signature), source, signature)
    else:
        made.score()


def _recipe() -> Any:
    from novum.recipe import Recipe

    return Recipe(batch_size=16)


@law("it leaves no thread and no process behind, and the process as it was", *USED)
def it_leaves_no_trace(subject: Subject) -> None:
    exercise(subject)  # once before, so that what libraries start once is not counted
    with watched(subject.folder / "traces") as traces:
        exercise(subject)
    expect(
        not traces.left,
        f"it leaves {', '.join(traces.left)} running; end what a method starts before it returns, or in the source's "
        "own "
        "end (`close`, `__del__`)",
    )
    expect(not traces.changed, f"it changes the process: {'; '.join(traces.changed)}; put back what was there")


@law("it writes nothing outside of the temporary folder and the caches of libraries", *USED)
def it_writes_only_where_it_may(subject: Subject) -> None:
    with watched(subject.folder / "writes") as traces:
        exercise(subject)
    expect(
        not traces.written,
        f"it writes {', '.join(traces.written[:3])}; use `tempfile`, or a folder below ~/.cache for what is fetched "
        "once",
    )


@law("it prints little", *USED)
def it_is_quiet(subject: Subject) -> None:
    with watched(subject.folder / "output") as traces:
        exercise(subject)
    expect(
        traces.output <= MOST_OUTPUT,
        f"a few steps print {traces.output:,} bytes, {MOST_OUTPUT:,} are allowed; they begin {traces.head[:80]!r}",
    )


@law("no generator is seeded by the plugin: what is drawn follows from the trial's seed", *USED)
def it_seeds_no_generator(subject: Subject) -> None:
    def positions(seed: int) -> dict[str, Any]:
        with installed(Seed(seed, ("positions",))):
            _draws(subject, seed)
            return read()

    first, second = positions(0), positions(1)
    for name in ("python", "numpy", "torch"):
        expect(
            _bytes(first[name]) != _bytes(second[name]),
            f"after it ran, the generator of {name} stands at the same place for two seeds: it was seeded with a "
            "constant, and all that is drawn from then on is alike in every trial; draw from the `seed` that methods "
            "get",
        )


def _draws(subject: Subject, seed: int) -> None:
    """Every method once, all in one stream of the generators."""
    task = subject.task()
    signature, recipe = task.signature(), _recipe()
    if subject.kind == "task":
        task.observe()
        task.fingerprint()
        source = task.source(Split.TRAIN, Seed(seed), recipe)
        for _ in range(2):
            source.next(still(signature))
        for _ in itertools.islice(task.source(Split.DEV, Seed(seed), recipe).each(still(signature)), 2):
            pass
    elif subject.kind == "evaluator":
        _scored(subject)
    else:
        model, train = subject.make(), task.source(Split.TRAIN, Seed(seed), recipe)
        model.recipe(signature)
        preparation = model.prepare(signature, train)
        model.build(signature, preparation, Seed(seed), None)


def _bytes(state: Any) -> bytes:
    if isinstance(state, Sequence) and not isinstance(state, str | bytes):
        return b"/".join(_bytes(each) for each in state)
    return bytes(state.numpy().tobytes() if hasattr(state, "numpy") else repr(state).encode())
