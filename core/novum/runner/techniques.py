"""Techniques by name (entry points `novum.techniques`): ideas that serve every domain. See `novum.Technique`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from novum.config import Config as Options
from novum.technique import Technique

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch


class GradientCentralization(Technique):
    """Each gradient of a weight with two dimensions or more loses its mean over all but the first, the outputs.

    Yong et al. 2020, "Gradient Centralization: A New Optimization Technique for Deep Neural Networks",
    arXiv:2004.01461; equation 1. Biases and scales are left alone.
    """

    def before_step(self, params: list[nn.Parameter]) -> None:
        for param in params:
            if param.grad is not None and param.grad.ndim > 1:
                param.grad.sub_(param.grad.mean(dim=tuple(range(1, param.grad.ndim)), keepdim=True))


class Flooding(Technique):
    """The training loss hovers around a level instead of going to zero: |loss - level| + level.

    Ishida et al. 2020, "Do We Need Zero Training Loss After Achieving Zero Training Error?", arXiv:2002.08709;
    equation 1. It makes sense where zero is the least that the loss can be.
    """

    class Config(Options):
        """How deep the flood is."""

        level: Annotated[float, Field(ge=0)] = 0.02
        """Loss below which the gradient turns round; 0 changes nothing of a loss that is never negative."""

    config: Config

    def on_loss(self, loss: torch.Tensor, net: nn.Module, batch: Batch) -> torch.Tensor:
        level = self.config.level
        return (loss - level).abs() + level if level > 0 else loss
