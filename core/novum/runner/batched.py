"""One computation for the losses of many replicates and their gradients (`torch.func.vmap` over stacked parameters).

The function is traced once for each set of shapes into the plain tensor operations that it comes to, so that neither
vmap nor autograd is paid for at each step, and a linear layer of all replicates is one batched product. What cannot be
traced runs by vmap itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from novum.runner import device as devices

Gradients = tuple[torch.Tensor, list[torch.Tensor | None]]
"""Losses (S,), and the gradient of each stacked parameter (S, …); None for one that the loss does not reach."""


class UnsuitedError(Exception):
    """These losses cannot be computed as one; the text says why."""


class Batched:
    """The losses of S replicates of one network.

    net: a network of the same build; only its structure is used. parameters, buffers: by name, stacked (S, …).
    """

    def __init__(
        self,
        net: nn.Module,
        parameters: Mapping[str, torch.Tensor],
        buffers: Mapping[str, torch.Tensor],
        *,
        device_kind: str,
        precision: str,
    ) -> None:
        self._whole = _Whole(net)
        self._parameters = dict(parameters)
        self._buffers = dict(buffers)
        self._kind = device_kind
        self._precision = precision
        self._traced: dict[Any, Callable[..., Any] | None] = {}

    def gradients(self, function: Callable[..., Any], arguments: Sequence[Any], trained: Sequence[str]) -> Gradients:
        """Losses and gradients for the parameters that are `trained`, in that order.

        function: `(net, *arguments) -> scalar`. arguments: of each replicate. Raises UnsuitedError where they differ in
        more than the numbers in their tensors.
        """
        leaves, structure = stacked(arguments)
        key = (function, structure, tuple(trained), tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        inputs = ([self._parameters[name] for name in trained], list(self._buffers.values()), leaves)
        compute = self._function(function, structure, trained)
        if key not in self._traced:
            self._traced[key] = self._trace(compute, inputs)
        traced = self._traced[key]
        if traced is None:
            return compute(*inputs)
        with torch.no_grad():
            values, *found = traced(*inputs[0], *inputs[1], *inputs[2])
        return values, found

    def _function(
        self, function: Callable[..., Any], structure: Any, trained: Sequence[str]
    ) -> Callable[..., Gradients]:
        fixed = {name: each for name, each in self._parameters.items() if name not in trained}

        def one(own: Mapping[str, torch.Tensor], leaves: Sequence[torch.Tensor]) -> torch.Tensor:
            with devices.autocast(self._precision, self._kind):
                value: torch.Tensor = functional_call(
                    self._whole,
                    {f"net.{name}": each for name, each in own.items()},
                    (function, *rebuilt(structure, leaves)),
                )
            return value

        every = vmap(one, randomness="different")

        def compute(
            parameters: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor]
        ) -> Gradients:
            with torch.enable_grad():
                own = [each.detach().requires_grad_() for each in parameters]
                named = dict(zip(trained, own, strict=True)) | fixed | dict(zip(self._buffers, buffers, strict=True))
                values = every(named, list(leaves))
                found = torch.autograd.grad(values.sum(), own, allow_unused=True)
            # Fused optimisers take a gradient's memory in the order of its parameter's, as autograd itself leaves it.
            return values.detach(), [each if each is None else each.contiguous() for each in found]

        return compute

    def _trace(self, compute: Callable[..., Gradients], inputs: Any) -> Callable[..., Any] | None:
        """The computation as plain operations; None where it cannot be had. Leaves generators and buffers as they were.

        Raises UnsuitedError where the loss draws from a generator whose numbers would be frozen into it, and where it
        cannot be computed for many replicates at all.
        """
        import numpy as np
        from torch.fx.experimental.proxy_tensor import make_fx

        before = [each.clone() for each in self._buffers.values()]
        drawn = torch.get_rng_state()
        plain = random.getstate(), np.random.get_state()
        try:
            try:
                compute(*inputs)
            except Exception as error:  # of vmap, of the model: whatever it is, it is not for many at once
                raise UnsuitedError(f"its loss cannot be computed for many seeds at once ({_first(error)})") from error
            if random.getstate() != plain[0] or str(np.random.get_state()) != str(plain[1]):
                raise UnsuitedError("its loss draws from Python's or numpy's generator")
            try:
                graph: Any = make_fx(_flat_form(compute, inputs))(*inputs[0], *inputs[1], *inputs[2])
                simplify(graph)
            except Exception:  # data decide what is computed; vmap alone can do that where the shapes allow it
                return None
            return graph  # type: ignore[no-any-return]
        finally:
            torch.set_rng_state(drawn)
            for buffer, value in zip(self._buffers.values(), before, strict=True):
                buffer.copy_(value)


def _flat_form(compute: Callable[..., Gradients], inputs: Any) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """The same computation of tensors alone: nothing has to be sorted out at each step."""
    first, second = len(inputs[0]), len(inputs[0]) + len(inputs[1])

    def flat(*tensors: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, found = compute(tensors[:first], tensors[first:second], tensors[second:])
        return (values, *found)

    return flat


class _Whole(nn.Module):
    """Gives `functional_call` a module to call, whatever the loss does with the network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.net, *arguments)


# ------------------------------------------------------------------------------------------------------- arguments


def stacked(arguments: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
    """The tensors of S equally built arguments, stacked (S, …), and how they are put together again.

    Raises UnsuitedError where they are not equally built.
    """
    leaves: list[list[torch.Tensor]] = []
    structures = []
    for each in arguments:
        leaves.append([])
        structures.append(_flat(each, leaves[-1]))
    if any(structure != structures[0] for structure in structures[1:]):
        raise UnsuitedError("what a loss is computed from differs from seed to seed")
    return [torch.stack(column) for column in zip(*leaves, strict=True)], structures[0]


def _flat(value: Any, leaves: list[torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        leaves.append(value)
        return ("tensor", tuple(value.shape), value.dtype)
    if isinstance(value, tuple | list):
        return ("sequence", tuple(_flat(each, leaves) for each in value))
    if isinstance(value, Mapping):
        return ("mapping", tuple((name, _flat(each, leaves)) for name, each in value.items()))
    return ("value", value)


def rebuilt(structure: Any, leaves: Sequence[torch.Tensor]) -> Any:
    """The inverse of flattening."""
    left = iter(leaves)

    def build(part: Any) -> Any:
        kind = part[0]
        if kind == "tensor":
            return next(left)
        if kind == "sequence":
            return tuple(build(each) for each in part[1])
        if kind == "mapping":
            return {name: build(each) for name, each in part[1]}
        return part[1]

    return build(structure)


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"


# ------------------------------------------------------------------------------------------------------- the graph


def simplify(graph: Any) -> None:
    """Leave out what vmap's rules do in vain, and make a product with its bias one operation: the same numbers."""
    aten = torch.ops.aten
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and _vain(node, aten):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target is aten.add.Tensor and not node.kwargs:
            _fuse(graph.graph, node, aten)
        elif node.op == "call_function" and node.target is aten.transpose.int and node.args[1:] == (1, 2):
            _turn(graph.graph, node, aten)
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and _turned_back(node, aten):
            node.replace_all_uses_with(node.args[0].args[0])
            graph.graph.erase_node(node)
    for node in reversed(list(graph.graph.nodes)):
        if node.op == "call_function" and node.target is aten.transpose.int and not node.users:
            graph.graph.erase_node(node)
    graph.graph.lint()
    graph.recompile()


def _vain(node: Any, aten: Any) -> bool:
    if node.target is aten.alias.default:
        return True
    if node.target is aten.mul.Scalar and type(node.args[1]) is int and node.args[1] == 1:
        return True
    if node.target in (aten.expand.default, aten.view.default, aten._unsafe_view.default):
        old, new = node.args[0].meta["val"], node.meta["val"]
        return bool(old.shape == new.shape and old.stride() == new.stride())
    return False


def _turned_back(node: Any, aten: Any) -> bool:
    """Whether it transposes what was transposed."""
    inner: Any = node.args[0] if node.args else None
    turns = node.target is aten.transpose.int and getattr(inner, "target", None) is aten.transpose.int
    return bool(turns and node.args[1:] == inner.args[1:] == (1, 2))


def _fuse(graph: Any, node: Any, aten: Any) -> None:
    """X + bmm(a, b) → baddbmm(x, a, b), where nothing else uses the product."""
    for product, other in (node.args, node.args[::-1]):
        if getattr(product, "target", None) is aten.bmm.default and len(product.users) == 1 and hasattr(other, "meta"):
            if other.meta["val"].dtype != product.meta["val"].dtype:
                continue
            with graph.inserting_before(node):
                fused = graph.call_function(aten.baddbmm.default, (other, *product.args))
            fused.meta = dict(node.meta)
            node.replace_all_uses_with(fused)
            graph.erase_node(node)
            graph.erase_node(product)
            return


def _turn(graph: Any, node: Any, aten: Any) -> None:
    """bmm(a, b) transposed → bmm(b transposed, a transposed), which lies in memory as the next operation wants it."""
    product = node.args[0]
    if getattr(product, "target", None) is not aten.bmm.default or len(product.users) != 1:
        return
    with graph.inserting_before(node):
        first, second = (graph.call_function(aten.transpose.int, (each, 1, 2)) for each in reversed(product.args))
        turned = graph.call_function(aten.bmm.default, (first, second))
    turned.meta = dict(node.meta)
    node.replace_all_uses_with(turned)
    graph.erase_node(node)
    graph.erase_node(product)
