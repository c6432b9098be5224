"""The model `binned`: a perceptron that sees each number as its place within bins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import novum
import numpy as np
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn


class Bins(novum.Preparation):
    """Of each bin the share below the number: the piecewise linear encoding of Gorishniy et al. 2022."""

    def __init__(self, edges: Any) -> None:
        self.edges = edges  # float64 (columns, bins + 1), ascending

    def encode(self, inputs: Any) -> Any:
        """float32 (B, columns * bins), 0 to 1; a bin without width is 0."""
        width = np.diff(self.edges)
        above = np.asarray(inputs)[:, :, None] - self.edges[:, :-1]
        shares = np.divide(above, width, out=np.zeros_like(above), where=width > 0).clip(0, 1)
        return shares.astype(np.float32).reshape(len(above), -1)

    def dump(self) -> dict[str, bytes]:
        return {"edges.json": json.dumps(self.edges.tolist()).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Bins:
        return cls(np.array(json.loads(files["edges.json"])))


class Binned(novum.Model):
    """A linear layer over the bins, a hidden layer, and another linear layer."""

    class Config(novum.Config):
        bins: Annotated[int, Field(ge=1, le=256)] = 8
        """Bins of each number, equally full on train."""
        hidden: Annotated[int, Field(ge=1)] = 64
        """Units of the hidden layer."""

    preparation, inputs, outputs = Bins, ("vector",), ("classes",)

    def recipe(self, signature: novum.Signature) -> novum.Recipe:
        return novum.Recipe(budget="20 epochs", batch_size=32, learning_rate=3e-3, schedule="cosine")

    def prepare(self, signature: novum.Signature, train: novum.Source) -> Bins:
        rows = np.concatenate([batch.inputs for batch in train.each(None)])  # type: ignore[arg-type] # nobody asks it
        return Bins(np.quantile(rows, np.linspace(0, 1, self.config.bins + 1), axis=0).astype(np.float64).T)

    def build(self, signature: novum.Signature, preparation: Any, seed: novum.Seed, start: Any) -> nn.Module:
        from torch import nn

        width, hidden = preparation.edges[:, 1:].size, self.config.hidden
        net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, len(signature.outputs.names)))
        if start is not None:
            start.copy_into(net)
        return net

    def losses(self, net: nn.Module, batch: novum.Batch) -> Iterator[novum.Loss]:
        yield novum.Loss(self._cross_entropy, (batch.inputs, batch.targets))

    def _cross_entropy(self, net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(net(inputs), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> novum.Prediction:
        probabilities = net(inputs).softmax(-1)
        return novum.Prediction(probabilities.argmax(-1), probabilities)
