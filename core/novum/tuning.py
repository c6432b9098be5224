"""What of a network is trained that begins with weights from elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from novum.config import Config

if TYPE_CHECKING:
    from torch import nn


class Tuning(Config):
    """Options of a model that may begin with trained weights."""

    trained: Literal["all", "head", "biases"] = "all"
    """What is trained where training begins with weights from elsewhere: `all` of them; what is new alone, such as the
    `head`; or that and the `biases`, with the scales of norms (Ben Zaken et al. 2022). What is kept still has the
    statistics of its batch norms follow the data. Where nothing comes from elsewhere, all is trained."""

    def freeze(self, net: nn.Module, begun: Collection[str], head: Collection[str]) -> None:
        """Let a network be trained as asked. begun: names of the parameters that come from elsewhere; head: beginnings
        of the names of those that are trained in any case.
        """
        if self.trained == "all":
            return
        for name, parameter in net.named_parameters():
            own = name not in begun or name.startswith(tuple(head))
            if not own and not (self.trained == "biases" and parameter.ndim == 1):
                parameter.requires_grad_(False)
