"""One step of training: a loss, its gradients, and what becomes of the parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.errors import MismatchError
from novum.runner import device as devices
from novum.runner.averaging import average
from novum.runner.clipping import clip
from novum.runner.resume import pieces, refill
from novum.runner.schedules import with_warmup
from novum.runner.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from novum.data import Batch, Loss
    from novum.runner.compiling import Compiler
    from novum.runner.hooks import Hooks
    from novum.runner.parts import Parts
    from novum.runner.ranks import Ranks


class Steps:
    """The steps of one network: optimisers by the prefix of their parameters, the schedule, clipping, averaging.

    micro divides the batch of every loss into that many pieces, computed one after the other: a step needs less
    memory, and follows the same gradient up to rounding where no layer looks at the batch as a whole.

    ranks: the processes among which the batch of every loss is divided first, see `novum.runner.ranks`.
    compiler: compiles the functions of losses; None leaves them as they are.
    """

    def __init__(
        self,
        parts: Parts,
        net: nn.Module,
        *,
        device_kind: str,
        precision: str,
        micro: int = 1,
        ranks: Ranks | None = None,
        compiler: Compiler | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._parts = parts
        self._net = net
        self._autocast = devices.autocast(precision, device_kind)
        self._micro = micro
        self._ranks = ranks
        self._compiler = compiler
        self._hooks = hooks
        self._optimizers: dict[str, tuple[torch.optim.Optimizer, list[nn.Parameter]]] = {}
        self._schedule = with_warmup(plugins.load("schedule", parts.recipe.schedule), parts.recipe.warmup)
        self._rate, self._clip = parts.recipe.learning_rate, parts.recipe.clip
        self.tally = Tally()
        self.average = average(net, parts.recipe)

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and kept: the average where the recipe asks for one and it has begun."""
        return self._net if self.average is None else self.average.net

    def take(self, loss: Loss, share: float, units: int, batch: Batch | None = None) -> None:
        """Compute one loss, differentiate it for the parameters that it names, and step. Waits for no device.

        share: of the budget, at the middle of the batch that the loss is of. units: used once that batch is done.
        batch: that batch, for techniques.
        """
        optimizer, params = self._optimizer(loss.prefix)
        rate = self._rate * self._schedule(share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self._hooks is not None:
            assert batch is not None
            loss = self._hooks.on_loss(loss, batch)
        value = self._differentiate(loss, params) if self._ranks is None else self._divided(self._ranks, loss, params)
        if self._hooks is not None:
            self._hooks.before_step(params)
        if self._clip > 0:
            clip(params, self._clip)
        optimizer.step()
        for param in params:  # as zero_grad does, without its record for a profiler
            param.grad = None
        if self.average is not None:
            self.average.update(share)
        self.tally.add(loss.name, value, units)

    def _divided(self, ranks: Ranks, loss: Loss, params: list[nn.Parameter]) -> torch.Tensor:
        """The same as `_differentiate` with all ranks at it, each at its share of the batch."""
        import torch

        share, arguments = ranks.share(loss.arguments)
        value = torch.zeros(())
        with ranks.own():
            if share > 0:
                value = self._differentiate(replace(loss, arguments=arguments), params, share)
        return ranks.sum(params, value)

    def _differentiate(self, loss: Loss, params: list[nn.Parameter], weight: float = 1.0) -> torch.Tensor:
        """The value of a loss times `weight`, with its gradients added to the parameters, at once or piece by piece."""
        import torch

        if self._micro == 1:
            return self._gradients(loss, loss.arguments, weight, params)
        value = torch.zeros(())
        for part, arguments in pieces(loss.arguments, self._micro):
            share = part * weight
            piece = self._gradients(loss, arguments, share, params)
            value = piece if share == 1 else value.to(piece) + piece
        return value

    def _gradients(
        self, loss: Loss, arguments: tuple[Any, ...], share: float, params: list[nn.Parameter]
    ) -> torch.Tensor:
        """The value of a loss over some of its batch, weighted by their share; adds its gradients."""
        if self._compiler is None:
            return self._piece(loss.function, arguments, share, params)
        function = self._compiler.of(loss.function, arguments)
        try:
            return self._piece(function, arguments, share, params)
        except Exception as error:
            if function is loss.function or not self._compiler.fails(error):
                raise
            return self._piece(loss.function, arguments, share, params)

    def _piece(
        self,
        function: Callable[..., torch.Tensor],
        arguments: tuple[Any, ...],
        share: float,
        params: list[nn.Parameter],
    ) -> torch.Tensor:
        import torch

        with torch.enable_grad():
            with self._autocast:
                value = function(self._net, *arguments)
            if share < 1:
                value = value * share
            torch.autograd.backward(value, inputs=params)
        return value.detach()

    def _optimizer(self, prefix: str) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
        if prefix not in self._optimizers:
            params = [
                param for name, param in self._net.named_parameters() if name.startswith(prefix) and param.requires_grad
            ]
            if not params:
                heads = sorted({name.split(".")[0] + "." for name, _ in self._net.named_parameters()})
                raise MismatchError(
                    f"a loss of the model names the parameters below {prefix!r}, but its network has none there that "
                    f"are trained; it has {', '.join(heads)}."
                )
            self._optimizers[prefix] = (make_optimizer(self._parts, params, self._net), params)
        return self._optimizers[prefix]

    def forward(self, net: nn.Module, batch: Batch) -> torch.Tensor:
        """The sum of the losses of a batch for a network of this kind, which trains nothing."""
        import torch

        total = torch.zeros(())
        for loss in self._parts.model.losses(net, batch):
            with self._autocast:
                value = loss.function(net, *loss.arguments)
            total = total.to(value) + value
        return total

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last call, by name."""
        return self.tally.means()

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on beside the network itself."""
        return {
            "average": None if self.average is None else self.average.state(),
            "optimizers": [(prefix, optimizer.state_dict()) for prefix, (optimizer, _) in self._optimizers.items()],
            "sums": self.tally.sums,
            "ranks": None if self._ranks is None else self._ranks.streams,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; raises what shows that it does not fit."""
        if self.average is not None:
            self.average.restore(state["average"])
        for prefix, saved in state["optimizers"]:
            refill(self._optimizer(prefix)[0], saved)
        self.tally.sums = state["sums"]
        if self._ranks is not None:
            self._ranks.restore(state["ranks"])


def make_optimizer(parts: Parts, params: list[nn.Parameter], net: nn.Module | None = None) -> Any:
    """The recipe's optimiser over some parameters; it receives those further recipe values that it names.

    net: what the parameters belong to, for an optimiser that treats kinds of layers differently.
    """
    import inspect

    recipe = parts.recipe
    make = plugins.load("optimizer", recipe.optimizer)
    named = set(inspect.signature(make).parameters) - {"learning_rate", "weight_decay"}
    extra = {name: value for name, value in recipe.model_dump().items() if name in named}
    if "net" in named:
        extra["net"] = net
    return make(params, recipe.learning_rate, recipe.weight_decay, **extra)
