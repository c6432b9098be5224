"""The models `linear` and `mlp`: for vectors and small images, so that a new task trains before it has its own model.

Shapes: B units of a batch, D numbers of a unit, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from novum import config as _config
from novum.data import Loss, Prediction
from novum.errors import MismatchError
from novum.model import Model, Preparation
from novum.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from novum.data import Batch, Signature
    from novum.model import Weights
    from novum.seeds import Seed
    from novum.task import Source


class Standard(Preparation):
    """Each of a unit's D numbers with the mean 0 and the deviation 1 that it has over `train`, whatever its unit of
    measure; one that is constant over `train` is 0 everywhere, for no weight of it was ever trained.

    mean, deviation: float64 (D,); the deviation of a constant number is infinite.
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        self.mean = mean
        self.deviation = deviation

    @classmethod
    def fit(cls, train: Source) -> Standard:
        """Over one pass of a data set. Raises MismatchError for an environment, which has to be played for."""
        import numpy as np

        if train.acts:
            raise MismatchError("models 'linear' and 'mlp' are fitted on data that lie ready; an environment has none.")
        origin: Any = None
        count, total, squares = 0, np.float64(0), np.float64(0)
        for batch in train.each(_unasked):
            rows = _flat(batch.inputs)
            # Counted from the first unit: squares of numbers far from 0 would leave no digits for their deviation.
            origin = rows[0] if origin is None else origin
            rows = rows - origin
            count, total, squares = count + len(rows), total + rows.sum(0), squares + np.square(rows).sum(0)
        shift = np.asarray(total / count)
        mean = origin + shift
        deviation = np.sqrt(np.maximum(squares / count - np.square(shift), 0))
        varies = deviation > np.finfo(np.float32).eps * np.abs(mean)  # less is the rounding of float32 inputs
        return cls(mean, np.where(varies, deviation, np.inf))

    def encode(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """float32 (B, D)."""
        import numpy as np

        standard: Any = ((_flat(inputs) - self.mean) / self.deviation).astype(np.float32)
        return standard  # type: ignore[no-any-return]

    def dump(self) -> dict[str, bytes]:
        """Two arrays, as raw little-endian float64."""
        return {"mean.f64": self.mean.astype("<f8").tobytes(), "deviation.f64": self.deviation.astype("<f8").tobytes()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Standard:
        """The inverse of `dump`."""
        import numpy as np

        return cls(np.frombuffer(files["mean.f64"], "<f8"), np.frombuffer(files["deviation.f64"], "<f8"))


class Linear(Model):
    """Multinomial logistic regression on standardised inputs."""

    class Config(_config.Config):
        """What is beside the recipe."""

        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the target that is spread evenly over all classes."""

    preparation = Standard
    inputs: ClassVar[tuple[str, ...]] = ("vector", "image")
    outputs: ClassVar[tuple[str, ...]] = ("classes",)

    def recipe(self, signature: Signature) -> Recipe:
        """Seconds on a few thousand units."""
        return Recipe(budget="20 epochs", batch_size=32, learning_rate=1e-2, schedule="cosine")

    def prepare(self, signature: Signature, train: Source) -> Standard:
        """Mean and deviation of each number, over `train`."""
        return Standard.fit(train)

    def build(self, signature: Signature, preparation: Standard, seed: Seed, start: Weights | None) -> nn.Module:
        """float32 (B, D) → logits (B, C)."""
        net = self._network(len(preparation.mean), len(signature.outputs.names))
        if start is not None:
            start.copy_into(net)
        return net

    def _network(self, numbers: int, classes: int) -> nn.Module:
        from torch import nn

        return nn.Linear(numbers, classes)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """The cross-entropy, once."""
        yield Loss(self._cross_entropy, (batch.inputs, batch.targets))

    def _cross_entropy(self, net: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(net(inputs), targets, label_smoothing=self.config.label_smoothing)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest class, with all probabilities."""
        probabilities = net(inputs).softmax(-1)
        return Prediction(value=probabilities.argmax(-1), probabilities=probabilities)


class Mlp(Linear):
    """A multilayer perceptron on standardised inputs: linear layers with ReLU between them."""

    class Config(Linear.Config):
        """The size of the network."""

        layers: Annotated[int, Field(ge=1, le=64)] = 2
        """Hidden layers."""
        width: Annotated[int, Field(ge=1)] = 64
        """Units of a hidden layer."""
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of each hidden layer's outputs that are zeroed in training."""

    config: Config

    def recipe(self, signature: Signature) -> Recipe:
        """Seconds on a few thousand units."""
        return Recipe(budget="20 epochs", batch_size=32, learning_rate=2e-3, schedule="cosine", weight_decay=0.01)

    def _network(self, numbers: int, classes: int) -> nn.Module:
        from torch import nn

        stack: list[nn.Module] = []
        for _ in range(self.config.layers):
            stack += [nn.Linear(numbers, self.config.width), nn.ReLU()]
            stack += [nn.Dropout(self.config.dropout)] if self.config.dropout else []
            numbers = self.config.width
        return nn.Sequential(*stack, nn.Linear(numbers, classes))


def _flat(inputs: Any) -> np.ndarray:
    """float64 (B, D) from B units of any one shape."""
    import numpy as np

    rows = np.asarray(inputs, dtype=np.float64)
    return rows.reshape(len(rows), -1)


def _unasked(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise MismatchError("models 'linear' and 'mlp': a source of ready data asked the model to act.")
