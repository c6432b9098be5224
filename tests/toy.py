"""A task and models small enough to train in milliseconds. The tests load this file by path (see conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import novum
import numpy as np
from novum import (
    Batch,
    Classes,
    Examples,
    Fact,
    Loss,
    Model,
    Observation,
    Prediction,
    Preparation,
    Recipe,
    Scale,
    Seed,
    Signature,
    Source,
    Split,
    Task,
    Vector,
    Weights,
)

if TYPE_CHECKING:
    from torch import nn

SEEN: list[tuple[str, ...]] = []
"""Ids of every batch that a model was given to learn from, for tests that clear it first."""


class Blobs(Task):
    """Two noisy clouds of points in four dimensions."""

    class Config(novum.Config):
        size: int = 40
        """Examples in each split."""
        noise: float = 0.5
        """Standard deviation of the noise on the label."""

    def signature(self) -> Signature:
        return Signature(Vector((4,)), Classes(("left", "right")))

    def data(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        draw = Seed(0, ("blobs", split)).numpy()
        x = draw.normal(size=(self.config.size, 4)).astype("float32")
        y = (x[:, 0] + self.config.noise * draw.normal(size=self.config.size) > 0).astype("int64")
        return x, y

    def observe(self) -> Observation:
        x, _ = self.data("train")
        return Observation((Fact("train.mean", float(x.mean())),), Scale("accuracy", 0.5, 1.0))

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        x, y = self.data(split)
        ids = [f"{split}-{row}" for row in range(len(y))]
        return Examples(x, y, ids, seed=seed, batch_size=recipe.batch_size)

    def fingerprint(self) -> str:
        return f"blobs-{self.config.size}-{self.config.noise}"


class Centre(Preparation):
    """The mean of the training inputs."""

    def __init__(self, mean: np.ndarray) -> None:
        self.mean = mean

    def encode(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [np.asarray(each - self.mean, dtype=np.float32) for each in inputs]

    def dump(self) -> dict[str, bytes]:
        return {"mean.bin": self.mean.astype("float64").tobytes()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Centre:
        return cls(np.frombuffer(files["mean.bin"], dtype="float64"))


Mode = Literal[
    "",
    "nan",
    "nan-now",
    "raise",
    "recipe-test",
    "prepare-dev",
    "build-dev",
    "build-test",
    "losses-dev",
    "losses-test",
]


class Linear(Model):
    """A linear classifier with dropout on its inputs, so that training draws."""

    class Config(novum.Config):
        note: str = ""
        """Inert: nothing reads it."""
        spread: float = 1.0
        """Factor on the random initial weights; 0 starts every seed at the same point."""
        dropout: float = 0.2
        """Share of the inputs that are dropped in training."""
        silent: bool = False
        """Answer without probabilities, so that the calibration error is undefined."""
        blind: bool = False
        """See nothing of the inputs, so that only the share of the classes can be learned."""
        mode: Mode = ""
        """How to misbehave."""

    preparation = Centre
    inputs = ("vector",)
    outputs = ("classes",)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._batches = 0  # a rehearsal takes two, so that it does not see the third go wrong

    def recipe(self, signature: Signature) -> Recipe:
        self._misbehave("recipe")
        return Recipe(budget="2 epochs", batch_size=10, optimizer="sgd", learning_rate=0.1)

    def prepare(self, signature: Signature, train: Source) -> Preparation:
        self._misbehave("prepare")
        rows = [batch.inputs for batch in train.each(_nobody)]
        return Centre(np.concatenate(rows).mean(0, dtype="float64"))

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Weights | None) -> nn.Module:
        import torch
        from torch import nn

        self._misbehave("build")
        net = nn.Sequential(nn.Dropout(self.config.dropout), nn.Linear(4, 2))
        with torch.no_grad():
            for param in net.parameters():
                param.mul_(self.config.spread)
        if start is not None:
            start.copy_into(net)
        return net

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        from torch.nn.functional import cross_entropy

        self._misbehave("losses")
        if self.config.mode == "raise":
            raise ValueError("this model is broken")
        SEEN.append(batch.ids)
        self._batches += 1
        bad = self.config.mode == "nan-now" or (self.config.mode == "nan" and self._batches > 2)
        factor = float("nan") if bad else 1.0
        yield Loss(lambda net, x, y: factor * cross_entropy(net(self._see(x)), y), (batch.inputs, batch.targets))

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        shares = net(self._see(inputs)).softmax(-1)
        return Prediction(shares.argmax(-1), None if self.config.silent else shares)

    def _see(self, inputs: Any) -> Any:
        return 0 * inputs if self.config.blind else inputs

    def _misbehave(self, where: str) -> None:
        """Open a split that is closed to training."""
        at, _, split = self.config.mode.partition("-")
        if at == where:
            Blobs(Blobs.Config()).source(Split(split), Seed(0), Recipe())


def _nobody(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise AssertionError("a data set never asks the model")


class Slope(Model):
    """Two scalar parameters whose losses are their values: plain SGD moves each by minus the learning rate."""

    class Config(novum.Config):
        losses: tuple[str, ...] = ("",)
        """The prefixes that losses name, in order: "", "one." or "two."."""
        frozen: bool = False
        """Whether the parameter `two` takes no gradient."""
        height: float = 1.0
        """Factor on every loss."""

    inputs = ("vector",)
    outputs = ("classes",)

    def recipe(self, signature: Signature) -> Recipe:
        return Recipe(budget="40 samples", batch_size=4, optimizer="sgd", learning_rate=1.0, momentum=0.0)

    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Weights | None) -> nn.Module:
        import torch
        from torch import nn

        net = nn.Module()
        for name in ("one", "two"):
            part = nn.Module()
            part.register_parameter("value", nn.Parameter(torch.zeros(()), name == "one" or not self.config.frozen))
            net.register_module(name, part)
        return net

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        for prefix in self.config.losses:
            yield Loss(self._sum, (batch.inputs,), prefix, prefix.rstrip(".") or "loss")

    def _sum(self, net: Any, x: Any) -> Any:
        return self.config.height * (net.one.value + net.two.value) + 0.0 * x.mean()

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        import torch

        return Prediction(torch.zeros(len(inputs), dtype=torch.int64))
