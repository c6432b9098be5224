"""Annealed gradient noise (Neelakantan et al. 2015, arXiv:1511.06807), an idea for every domain in one file."""

from typing import Annotated

import novum
import torch
from pydantic import Field


@novum.technique
class GradientNoise(novum.Technique):
    """Adds normal noise of variance scale / (1 + t)^decay to every gradient of step t = 0, 1, …"""

    class Config(novum.Config):
        scale: Annotated[float, Field(ge=0)] = 0.01
        """Variance of the noise at the first step; 0 adds none. The paper takes 0.01, 0.3 or 1."""
        decay: float = 0.55
        """How fast the variance falls with the steps."""

    step = 0

    def before_step(self, params):
        deviation = (self.config.scale / (1 + self.step) ** self.config.decay) ** 0.5
        for param in params:
            if param.grad is not None:
                param.grad.add_(torch.randn_like(param.grad), alpha=deviation)
        self.step += 1
