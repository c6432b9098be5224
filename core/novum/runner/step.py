"""One step of training: a loss, its gradients, and what becomes of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.errors import MismatchError
from novum.runner import device as devices
from novum.runner.resume import fill, pieces, refill, tensors_of
from novum.runner.schedules import with_warmup

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch, Loss
    from novum.runner.hooks import Hooks
    from novum.runner.parts import Parts


class Steps:
    """The steps of one network: optimisers by the prefix of their parameters, the schedule, clipping, averaging.

    micro divides the batch of every loss into that many pieces, computed one after the other: a step needs less
    memory, and follows the same gradient up to rounding where no layer looks at the batch as a whole.
    """

    def __init__(
        self,
        parts: Parts,
        net: nn.Module,
        *,
        device_kind: str,
        precision: str,
        micro: int = 1,
        hooks: Hooks | None = None,
    ) -> None:
        import torch

        self._parts = parts
        self._net = net
        self._kind = device_kind
        self._precision = precision
        self._micro = micro
        self._hooks = hooks
        self._optimizers: dict[str, tuple[torch.optim.Optimizer, list[nn.Parameter]]] = {}
        self._schedule = with_warmup(plugins.load("schedule", parts.recipe.schedule), parts.recipe.warmup)
        self._sums: dict[str, tuple[torch.Tensor | float, int]] = {}
        self._average: torch.optim.swa_utils.AveragedModel | None = None
        if parts.recipe.averaging == "ema":
            self._average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=_ema)

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and kept: the average where the recipe asks for one."""
        return self._net if self._average is None else self._average.module

    def take(self, loss: Loss, share: float, batch: Batch | None = None) -> torch.Tensor:
        """Compute one loss, differentiate it for the parameters that it names, and step. Returns whether finite.

        share: of the budget, at the middle of the batch that the loss is of. batch: that batch, for techniques.
        """
        import torch

        optimizer, params = self._optimizer(loss.prefix)
        rate = self._parts.recipe.learning_rate * self._schedule(share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self._hooks is not None:
            assert batch is not None
            loss = self._hooks.on_loss(loss, batch)
        value = self._differentiate(loss, params)
        if self._hooks is not None:
            self._hooks.before_step(params)
        if self._parts.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(params, self._parts.recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self._net)
        total, times = self._sums.get(loss.name, (0.0, 0))
        self._sums[loss.name] = (total + value, times + 1)
        return value.isfinite()

    def _differentiate(self, loss: Loss, params: list[nn.Parameter]) -> torch.Tensor:
        """The value of a loss, with its gradients added to the parameters: at once, or piece by piece."""
        import torch

        value = torch.zeros(())
        for share, arguments in pieces(loss.arguments, self._micro):
            with torch.enable_grad():
                with devices.autocast(self._precision, self._kind):
                    piece = loss.function(self._net, *arguments)
                if share < 1:
                    piece = piece * share
                torch.autograd.backward(piece, inputs=params)
            value = piece.detach() if share == 1 else value.to(piece) + piece.detach()
        return value

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
            self._optimizers[prefix] = (make_optimizer(self._parts, params), params)
        return self._optimizers[prefix]

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last call, by name."""
        means = {name: float(total) / times for name, (total, times) in self._sums.items()}
        self._sums.clear()
        return means

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on beside the network itself."""
        return {
            "average": None if self._average is None else tensors_of(self._average),
            "optimizers": [(prefix, optimizer.state_dict()) for prefix, (optimizer, _) in self._optimizers.items()],
            "sums": self._sums,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; raises what shows that it does not fit."""
        if self._average is not None:
            fill(self._average, state["average"])
        for prefix, saved in state["optimizers"]:
            refill(self._optimizer(prefix)[0], saved)
        self._sums = state["sums"]


def make_optimizer(parts: Parts, params: list[nn.Parameter]) -> Any:
    """The recipe's optimiser over some parameters; it receives those further recipe values that it names."""
    import inspect

    recipe = parts.recipe
    make = plugins.load("optimizer", recipe.optimizer)
    named = set(inspect.signature(make).parameters)
    extra = {name: value for name, value in recipe.model_dump().items() if name in named - {"learning_rate"}}
    extra.pop("weight_decay", None)
    return make(params, recipe.learning_rate, recipe.weight_decay, **extra)


def _ema(averaged: Any, current: Any, count: Any) -> None:
    """Exponential moving average with decay min(0.999, (1 + n) / (10 + n)) after n updates."""
    import torch

    decay = min(0.999, (1.0 + float(count)) / (10.0 + float(count)))
    torch._foreach_lerp_(averaged, current, 1.0 - decay)
