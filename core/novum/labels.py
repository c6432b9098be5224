"""How classes are learned: what every in-tree classifier can do about labels, and one loss that does it.

Shapes: B units of a batch, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from novum.config import Config
from novum.errors import MismatchError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Prediction
    from novum.task import Source

WEIGHTS = "class_weights"
"""Buffer of a network that holds the weights of its classes, float32 (C,); not stored, for only losses read it."""


class Labels(Config):
    """Options of a classifier: how the cross-entropy of its classes is computed."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced"] = "none"
    """What a unit counts in the loss: `none`, all the same; `balanced`, n / (k · n_c) for one of the n_c units of its
    class, with n units of k classes in `train`: each class then counts the same, and the mean over `train` is 1."""
    focal: Annotated[float, Field(ge=0, le=10)] = 0.0
    """The exponent γ of the factor (1 - p)^γ on the loss of a unit whose class was given the probability p: the higher,
    the less easy units count (Lin et al. 2017); 0 is the plain cross-entropy."""

    def begin(self, net: nn.Module, classes: int, train: Source) -> None:
        """Let a new network hold the weights of its classes, counted over `train`, where they are asked for. A class
        that does not occur there has the weight 1. For `Model.begin`.

        Raises MismatchError for a source without targets.
        """
        if self.class_weights == "none":
            return
        import numpy as np
        import torch

        counts = np.zeros(classes, dtype=np.int64)
        for batch in train.each(_unasked):
            if batch.targets is None:
                raise MismatchError("option 'class_weights': these data have no targets to count; set it to 'none'.")
            counts += np.bincount(batch.targets, minlength=classes)
        weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        net.register_buffer(WEIGHTS, torch.from_numpy(np.where(counts, weights, 1.0)).float(), persistent=False)

    def loss(self, net: nn.Module, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of B units, a scalar. logits: (B, C); targets: int64 (B,). net: what `begin` saw.

        The mean is over units, whatever they weigh, so that a batch may be computed in pieces.
        """
        from torch.nn.functional import cross_entropy

        if self.class_weights == "none" and not self.focal:
            return cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        losses = cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
        if self.focal:
            losses = losses * self._hardness(logits, targets)
        if self.class_weights != "none":
            losses = losses * getattr(net, WEIGHTS)[targets]
        return losses.mean()

    def _hardness(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(1 - p)^γ of each unit, (B,); 1 - p is kept from 0, where the slope of a power below 1 has no end."""
        import torch
        from torch.nn.functional import cross_entropy

        missed = -torch.expm1(-cross_entropy(logits, targets, reduction="none"))
        return missed.clamp(min=torch.finfo(missed.dtype).eps) ** self.focal


def _unasked(inputs: Any, ids: Any = (), explore: bool = False) -> Prediction:
    raise MismatchError("option 'class_weights': classes are counted in data that lie ready; an environment has none.")
