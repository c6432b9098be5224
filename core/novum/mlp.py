"""The models `linear` and `mlp`: for vectors and small images, so that a new task trains before it has its own model.

Shapes: B units of a batch, D numbers of a unit, C classes, or C numbers of a regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from novum.data import Loss, Prediction
from novum.errors import ConfigError, MismatchError
from novum.labels import Labels
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

    mean, deviation: float64 (D,); the deviation of a constant number is infinite. targets: the same two of the targets
    of a regression; None for classes.
    """

    def __init__(
        self, mean: np.ndarray, deviation: np.ndarray, targets: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        self.mean = mean
        self.deviation = deviation
        self.targets = targets

    @classmethod
    def fit(cls, train: Source, targets: bool = False) -> Standard:
        """Over one pass of a data set, also of its targets where these are numbers.

        Raises MismatchError for an environment, which has to be played for.
        """
        if train.acts:
            raise MismatchError("models 'linear' and 'mlp' are fitted on data that lie ready; an environment has none.")
        inputs, wanted = _Moments(), _Moments()
        for batch in train.each(_unasked):
            inputs.add(_flat(batch.inputs))
            if targets:
                wanted.add(_flat(batch.targets))
        return cls(*inputs.found(), wanted.found() if targets else None)

    def encode(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """float32 (B, D)."""
        import numpy as np

        standard: Any = ((_flat(inputs) - self.mean) / self.deviation).astype(np.float32)
        return standard  # type: ignore[no-any-return]

    def dump(self) -> dict[str, bytes]:
        """Two arrays, or four, as raw little-endian float64."""
        arrays = dict(zip(_FILES, (self.mean, self.deviation, *(self.targets or ())), strict=False))
        return {name: array.astype("<f8").tobytes() for name, array in arrays.items()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Standard:
        """The inverse of `dump`."""
        import numpy as np

        mean, deviation, *targets = (np.frombuffer(files[name], "<f8") for name in _FILES if name in files)
        return cls(mean, deviation, (targets[0], targets[1]) if targets else None)


_FILES = ("mean.f64", "deviation.f64", "target_mean.f64", "target_deviation.f64")


class _Moments:
    """Mean and deviation of each of D numbers over rows that come in batches."""

    def __init__(self) -> None:
        self._origin: Any = None
        self._count = 0
        self._total: Any = 0
        self._squares: Any = 0

    def add(self, rows: np.ndarray) -> None:
        """Count some rows, float64 (B, D)."""
        import numpy as np

        # Counted from the first row: squares of numbers far from 0 would leave no digits for their deviation.
        self._origin = rows[0] if self._origin is None else self._origin
        rows = rows - self._origin
        self._count += len(rows)
        self._total = self._total + rows.sum(0)
        self._squares = self._squares + np.square(rows).sum(0)

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, float64 (D,); infinite where what varies is no more than the rounding of float32."""
        import numpy as np

        shift = np.asarray(self._total / self._count)
        mean = self._origin + shift
        deviation = np.sqrt(np.maximum(self._squares / self._count - np.square(shift), 0))
        return mean, np.where(deviation > np.finfo(np.float32).eps * np.abs(mean), deviation, np.inf)


class Linear(Model):
    """One layer on standardised inputs: multinomial logistic regression for classes, linear regression for numbers."""

    class Config(Labels):
        """What is beside the recipe; of classes alone."""

    config: Config
    preparation = Standard
    inputs: ClassVar[tuple[str, ...]] = ("vector", "image")
    outputs: ClassVar[tuple[str, ...]] = ("classes", "numbers")

    def recipe(self, signature: Signature) -> Recipe:
        """Seconds on a few thousand units."""
        return Recipe(budget="20 epochs", batch_size=32, learning_rate=1e-2, schedule="cosine")

    def prepare(self, signature: Signature, train: Source) -> Standard:
        """Mean and deviation of each number, over `train`; also of the targets, where these are numbers."""
        return Standard.fit(train, targets=signature.outputs.kind == "numbers")

    def build(self, signature: Signature, preparation: Standard, seed: Seed, start: Weights | None) -> nn.Module:
        """float32 (B, D) → logits (B, C); or numbers (B, C) in the targets' deviations from their mean, which the
        network holds as the buffers "target_mean" and "target_deviation".

        Raises ConfigError where an option is about labels and the targets are numbers.
        """
        net = self._network(len(preparation.mean), len(signature.outputs.names))
        if preparation.targets is not None:
            for name, field in Labels.model_fields.items():
                if getattr(self.config, name) != field.default:
                    raise ConfigError(
                        f"option {name!r} received {getattr(self.config, name)}, but this task's targets are numbers, "
                        "which are no labels; leave it out."
                    )
            _measure(net, *preparation.targets)
        if start is not None:
            start.copy_into(net)
        return net

    def _network(self, numbers: int, classes: int) -> nn.Module:
        from torch import nn

        return nn.Linear(numbers, classes)

    def begin(self, net: nn.Module, signature: Signature, train: Source) -> None:
        """The weights of classes, where they are asked for."""
        self.config.begin(net, len(signature.outputs.names), train)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """Once: the cross-entropy of classes; of numbers the squared error, in the targets' variances."""
        function = _squared_error if _measured(net) else self._cross_entropy
        yield Loss(function, (batch.inputs, batch.targets))

    def _cross_entropy(self, net: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.config.loss(net, net(inputs), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest class, with all probabilities; or the numbers, in the targets' own unit."""
        if _measured(net):
            return Prediction(value=net(inputs) * net.target_deviation + net.target_mean)
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


def _measure(net: nn.Module, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Let a network hold the targets' unit of measure; a constant target is its own mean."""
    import numpy as np
    import torch

    net.register_buffer("target_mean", torch.from_numpy(mean.astype(np.float32)))
    spread = np.where(np.isfinite(deviation), deviation, 1)
    net.register_buffer("target_deviation", torch.from_numpy(spread.astype(np.float32)))


def _measured(net: nn.Module) -> bool:
    return hasattr(net, "target_mean")


def _squared_error(net: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    answers: torch.Tensor = net(inputs)
    wanted = (targets.reshape(answers.shape) - net.target_mean) / net.target_deviation
    error: torch.Tensor = answers - wanted
    return error.square().mean()


def _flat(inputs: Any) -> np.ndarray:
    """float64 (B, D) from B units of any one shape."""
    import numpy as np

    rows = np.asarray(inputs, dtype=np.float64)
    return rows.reshape(len(rows), -1)


def _unasked(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise MismatchError("models 'linear' and 'mlp': a source of ready data asked the model to act.")
