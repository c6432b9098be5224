"""A model and a task that treat their process badly. Loaded by path, so that they travel to workers. No test."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
from novum import Batch, Classes, Examples, Fact, Loss, Observation, Prediction, Recipe, Scale, Seed, Signature, Vector

SIZE = 40


class Cloud(novum.Task):
    """Points on either side of a plane."""

    class Config(novum.Config):
        loaders: str = ""
        """A file that says that a loading process was killed already; "" loads here."""

    def signature(self) -> Signature:
        return Signature(Vector((4,)), Classes(("left", "right")))

    def observe(self) -> Observation:
        return Observation((Fact("dev.size", SIZE),), Scale("accuracy", 0.5, 1.0))

    def source(self, split: Any, seed: Seed, recipe: Recipe) -> Any:
        x = Seed(0, ("cloud", split)).numpy().normal(size=(SIZE, 4)).astype("float32")
        y = (x.sum(1) > 0).astype("int64")
        ids = [f"{split}-{row}" for row in range(SIZE)]
        source = Examples(x, y, ids, seed=seed, batch_size=recipe.batch_size)
        return Loaded(source, Path(self.config.loaders)) if self.config.loaders else source

    def fingerprint(self) -> str:
        return "cloud"


class Loaded(novum.Source):
    """The same through two processes of a torch DataLoader; the first time, one of them is killed."""

    def __init__(self, source: Examples, mark: Path) -> None:
        self._source, self._mark = source, mark
        self._batches: Any = None

    @property
    def size(self) -> int | None:
        return self._source.size

    def next(self, act: Any) -> Batch:
        from torch.utils.data import DataLoader

        if self._batches is None:
            self._batches = iter(DataLoader(range(10_000), batch_size=1, num_workers=2, collate_fn=list))
            if not self._mark.exists() and os.environ.get("NOVUM_SLOT"):
                self._mark.touch()
                os.kill(self._batches._workers[0].pid, signal.SIGKILL)
                time.sleep(0.3)
        for _ in range(4):
            next(self._batches)
        return self._source.next(act)

    def each(self, act: Any) -> Iterator[Batch]:
        return self._source.each(act)


class Hostile(novum.Model):
    """A linear classifier that misbehaves in its first training step."""

    class Config(novum.Config):
        mode: str = ""
        """How."""
        inert: int = 0
        """Nothing reads it."""

    inputs = ("vector",)
    outputs = ("classes",)

    def recipe(self, signature: Signature) -> Recipe:
        return Recipe(budget="2 epochs", batch_size=10, optimizer="sgd", learning_rate=0.1)

    def build(self, signature: Any, preparation: Any, seed: Seed, start: Any) -> Any:
        from torch import nn

        return nn.Linear(4, 2)

    def losses(self, net: Any, batch: Batch) -> Iterator[Loss]:
        from torch.nn.functional import cross_entropy

        misbehave(self.config.mode)
        yield Loss(lambda net, x, y: cross_entropy(net(x), y), (batch.inputs, batch.targets))

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        shares = net(inputs).softmax(-1)
        return Prediction(shares.argmax(-1), shares)


def misbehave(mode: str) -> None:
    if mode == "exit":
        sys.exit("as if it were a script")
    if mode == "leave":
        os._exit(7)
    if mode == "crash":
        ctypes.string_at(0)
    if mode == "import":
        import a_package_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401
    if mode == "flood":
        for _ in range(400):
            print("x" * 65_535)
    if mode == "mute" and not sys.stdout.closed:
        sys.stdout.close()
        sys.stderr.close()
        os.close(1)
        os.close(2)
    if mode == "wander":
        os.chdir("/")
        os.environ.clear()
        random.seed(7)
    if mode == "threads":
        for _ in range(4):
            threading.Thread(target=time.sleep, args=(600,)).start()
