"""Clipping: the gradients of one loss are scaled down together where their norm is above a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def clip(params: Sequence[nn.Parameter], bound: float) -> None:
    """Scale the gradients in place so that their Euclidean norm together is at most `bound` (Pascanu et al. 2013).

    The numbers are those of `torch.nn.utils.clip_grad_norm_`, bit by bit. That function asks at every step which
    gradients can be computed together; here dense ones of one device and type, the ordinary case, are not grouped
    first, which halves its cost on a small network. Waits for no device. Gradients that are not finite stay so.
    """
    import torch

    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return
    first = grads[0]
    alike = first.dtype, first.device, torch.strided
    if any(type(grad) is not torch.Tensor or (grad.dtype, grad.device, grad.layout) != alike for grad in grads):
        torch.nn.utils.clip_grad_norm_(params, bound)
        return
    with torch.no_grad():
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        torch._foreach_mul_(grads, (bound / (norm + 1e-6)).clamp(max=1.0))
