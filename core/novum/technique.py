"""A technique: an idea that is code and serves every domain, as hooks into the one training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from novum import config as _config

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch


class Technique:
    """Override any of the three hooks; what is not overridden costs nothing.

    A recipe names techniques with their options: `recipe.techniques.NAME = { … }`. Several apply in the alphabetical
    order of their names. A new object serves each trial, so attributes may change as it trains.

    Draw from torch's ordinary generators: while a hook runs, they hold a stream of the technique's own, so that what it
    draws moves nothing else, such as dropout, and an arm with it stays paired with one without. Numpy's and Python's
    generators, and whatever runs later with the network (torch's own forward hooks), draw from the training's stream.

    Parameters are shared with the network: change gradients and parameters in place, and keep no references to them.
    """

    class Config(_config.Config):
        """No options."""

    imports: ClassVar[tuple[str, ...]] = ()
    """Slow modules that its methods import: workers load them once, before the first trial."""

    def __init__(self, config: Any) -> None:  # one that the nested `Config` validated
        self.config = config

    def on_build(self, net: nn.Module) -> None:
        """Change a new network in place: right after the model built it, on the CPU, with the weights that it starts
        from. Called too where trained weights are read back, which then fill it; the names and shapes of its tensors
        must therefore follow from the options alone.
        """

    def on_loss(self, loss: torch.Tensor, net: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss to differentiate in place of `loss`, a scalar; called with gradients on, in the loss's precision.

        batch: as the model's `losses` got it, encoded and on the device; whole, also where the loss is of a part of it
        (a minibatch of PPO). Where a batch is computed in pieces to fit into memory, this is called once a piece, and
        the pieces are weighted by their share: a term that looks at `net` alone still counts once.
        """
        return loss

    def before_step(self, params: list[nn.Parameter]) -> None:
        """Change gradients (`param.grad`, None where there is none) in place; called without gradients of its own.

        params: those that the loss at hand trains. It comes before clipping, so that the recipe's `clip` bounds what
        reaches the optimiser, whatever a technique does.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the training depends on, for an exact resume: numbers, text, tensors, arrays, and lists,
        tuples and dictionaries of these. By default every attribute but `config`.
        """
        return {name: value for name, value in vars(self).items() if name != "config"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        vars(self).update(state)
