"""Muon for the matrices of a network, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from novum.runner.resume import refill


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` (Jordan 2024, kellerjordan.github.io/posts/muon) and `torch.optim.AdamW` in one object.

    Muon steps matrices of shape (out, in) and kernels of convolutions, taken as (out, in · height · width). AdamW steps
    the rest: biases, norms, embeddings, depthwise kernels, and whatever has one row or one column. The update of a
    matrix is scaled to the root mean square of an AdamW step (Liu et al. 2025, arXiv 2502.16982), so that one learning
    rate serves both.

    net: the network that the parameters belong to; without it no embedding and no kernel is known, so that embeddings
    count as matrices and kernels do not.
    """

    def __init__(
        self,
        params: list[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        fused: bool,
        net: nn.Module | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr})
        kernels, embeddings = _kinds(net)
        self._views: list[tuple[nn.Parameter, nn.Parameter, bool]] = []  # a kernel, itself as a matrix, channels last
        matrices, rest = [], []
        for param in params:
            if id(param) in embeddings or param.ndim < 2 or 1 in param.shape[:2]:
                rest.append(param)
            elif param.ndim == 2:
                matrices.append(param)
            elif id(param) in kernels:
                last = not param.is_contiguous()
                view = nn.Parameter(_flat(param.detach(), last))
                self._views.append((param, view, last))
                matrices.append(view)
            else:
                rest.append(param)
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(
                torch.optim.Muon(
                    matrices, lr=lr, weight_decay=weight_decay, momentum=momentum, adjust_lr_fn="match_rms_adamw"
                )
            )
        if rest:
            self._parts.append(torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay, fused=fused))
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step both parts; `closure` is not supported."""
        assert closure is None, "the runner computes its losses itself"
        for param, view, last in self._views:
            view.grad = None if param.grad is None else _flat(param.grad, last)
        for part in self._parts:
            part.step()
        for _, view, _ in self._views:
            view.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state of each part."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave, of the same parameters. Raises ValueError where the parts differ."""
        for part, saved in zip(self._parts, state_dict["parts"], strict=True):
            refill(part, saved)
        self._gather()  # loading makes new groups


def _kinds(net: nn.Module | None) -> tuple[set[int], set[int]]:
    """The ids of the kernels of convolutions and of the embeddings of a network."""
    modules = [] if net is None else list(net.modules())
    kernels = {id(each.weight) for each in modules if isinstance(each, nn.Conv1d | nn.Conv2d | nn.Conv3d)}
    embeddings = {id(each.weight) for each in modules if isinstance(each, nn.Embedding | nn.EmbeddingBag)}
    return kernels, embeddings


def _flat(kernel: torch.Tensor, last: bool) -> torch.Tensor:
    """A kernel (out, in, …) as a matrix (out, in · …) in the same memory; the order of columns changes no update."""
    return (kernel.movedim(1, -1) if last else kernel).flatten(1)
