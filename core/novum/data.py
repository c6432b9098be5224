"""What flows between a task, a model, an evaluator and the runner, with its shapes.

Shapes use B for a batch's units, C for classes, A for the size of an action. Sources speak numpy and plain
Python; models speak torch; the runner converts and places on the device in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch

EMPTY: Mapping[str, Any] = MappingProxyType({})


# ----------------------------------------------------------------------------- what a task asks for


@dataclass(frozen=True)
class Text:
    """Inputs are strings of any script."""

    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Image:
    """Inputs are uint8 images of shape (channels, height, width), values 0 to 255."""

    kind: ClassVar[str] = "image"
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Vector:
    """Inputs are float32 arrays of one shape (a table's row, an environment's observation)."""

    kind: ClassVar[str] = "vector"
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Classes:
    """Outputs are one of these classes; targets are int64 positions in `names`, shape (B,)."""

    kind: ClassVar[str] = "classes"
    names: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """Outputs are real numbers, one for each of these names (a regression); targets are float32 (B, len(names))."""

    kind: ClassVar[str] = "numbers"
    names: tuple[str, ...]


@dataclass(frozen=True)
class Actions:
    """Outputs are one of `count` actions, int64 from 0, shape (B,)."""

    kind: ClassVar[str] = "actions"
    count: int


@dataclass(frozen=True)
class Controls:
    """Outputs are real vectors of shape (B, A) within `low` and `high`, each of length A."""

    kind: ClassVar[str] = "controls"
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs that a model must fit. Plugins may bring spaces of their own with a `kind`."""

    inputs: Any
    outputs: Any


# ----------------------------------------------------------------------------- what flows


@dataclass(frozen=True)
class Batch:
    """Some units of experience.

    inputs: B raw units as the source gives them (a list of str, a numpy array (B, …)); for the model they come
        encoded, collated and on the device.
    targets: numpy array (B, …), or None where there is nothing to imitate (an environment).
    units: how much of the budget this batch uses: samples or environment steps, at least 1.
    ids: B stable unit ids, or empty (an environment's training steps have none).
    extras: further arrays by name; numeric ones are moved to the device with the rest.
    """

    inputs: Any
    targets: Any
    units: int
    ids: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True)
class Prediction:
    """What a model answers for B inputs.

    value: the answer: class or action positions, int64 (B,), or real vectors (B, A)
        or, of a regression, one number for each name (B, len(names)).
    probabilities: float (B, C), rows summing to 1; None where the model gives none.
    extras: further tensors by name, each with first dimension B (a log-probability, a value estimate); a
        source that collects experience returns them in `Batch.extras` under the same names.
    """

    value: torch.Tensor
    probabilities: torch.Tensor | None = None
    extras: Mapping[str, torch.Tensor] = field(default_factory=lambda: EMPTY)


class Act(Protocol):
    """The model as a source or an evaluator sees it: raw inputs in, a Prediction on the CPU out.

    `ids` are the inputs' unit ids where they have some, so that their encoding is done once and kept.
    """

    def __call__(self, inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction: ...


@dataclass(frozen=True)
class Loss:
    """How to compute a loss, and whom it trains. The runner calls the function.

    function: `(net, *arguments) -> scalar tensor`, the mean over the arguments' first dimension.
    prefix: the name prefix of the parameters that it trains, such as "actor."; empty means all of them. Each
        prefix has an optimiser of its own.
    name: what curves call it.
    """

    function: Callable[..., torch.Tensor]
    arguments: tuple[Any, ...]
    prefix: str = ""
    name: str = "loss"


# ----------------------------------------------------------------------------- what counts as good


@dataclass(frozen=True)
class Undefined:
    """A number that could not be measured, and why (design law 6). Never zero, never null."""

    because: str

    def __str__(self) -> str:
        return f"undefined, because {self.because}"


Number = float | Undefined


@dataclass(frozen=True)
class Metric:
    """A number that an evaluator gives.

    low, high: the range; None where unbounded. worst: finite, counted for a diverged trial.
    per_unit: True where the metric is a mean over units of a per-unit score that is 0 or 1, so that it moves in
        steps of one over the number of units.
    kind: what the number is made of. It decides, when a claim is registered and so before any data, which test
        judges the claim's paired differences.
        "score": an average over many units, roughly normal from seed to seed (an accuracy, an F1): a t-test.
        "success": a success rate of few trials, which takes few values: a sign-flip test.
        "episodes": a return or a length of episodes, often of two modes (learned it or not): a sign-flip test.
    """

    name: str
    direction: Literal["max", "min"]
    worst: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    per_unit: bool = False
    kind: Literal["score", "success", "episodes"] = "score"

    @property
    def best(self) -> float | None:
        """The best value that the range allows; None where it is unbounded on that side."""
        return self.high if self.direction == "max" else self.low


@dataclass(frozen=True)
class Scores:
    """What an evaluator says of one pass over a split.

    units: columns of equal length, one row per unit; always "id"; for a classification "target", "prediction",
        "confidence", "accuracy"; for episodes "return", "length". A column with the name of a metric holds that
        metric's per-unit scores, and their mean is the metric: from them the noise of the evaluation items can be
        told from that of the training seeds. A metric that is no mean over units (an F1, a minimum) has no column.
        Kept as one compressed block.
    metrics: by name, at least those that the evaluator declares.
    tables: more detail, such as one row per class: table name → row name → column name → number.
    """

    units: Mapping[str, Sequence[Any]]
    metrics: Mapping[str, Number]
    tables: Mapping[str, Mapping[str, Mapping[str, Number]]] = field(default_factory=lambda: EMPTY)
