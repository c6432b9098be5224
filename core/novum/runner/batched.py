"""One computation for the losses of many replicates and their gradients (`torch.func.vmap` over stacked parameters).

The function is traced once for each set of shapes into the plain tensor operations that it comes to, so that neither
vmap nor autograd is paid for at each step, and a linear layer of all replicates is one batched product. What cannot be
traced runs by vmap itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from novum.runner import device as devices
from novum.runner.resume import position
from novum.seeds import read, write

Gradients = tuple[torch.Tensor, list[torch.Tensor | None]]
"""Losses (S,), and the gradient of each stacked parameter (S, …); None for one that the loss does not reach."""


MOST = 64
"""Traces that are kept; what comes in still more shapes or values is computed by vmap alone."""


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
        self._refused: dict[Any, str] = {}

    def gradients(self, function: Callable[..., Any], arguments: Sequence[Any], trained: Sequence[str]) -> Gradients:
        """Losses and gradients for the parameters that are `trained`, in that order.

        function: `(net, *arguments) -> scalar`. arguments: of each replicate. Raises UnsuitedError where they differ in
        more than the numbers in their tensors.
        """
        leaves, structure = stacked(arguments)
        key = (function, structure, tuple(trained), tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        inputs = ([self._parameters[name] for name in trained], list(self._buffers.values()), leaves)
        compute = self._function(function, structure, trained)
        if key in self._refused:
            raise UnsuitedError(self._refused[key])
        if key not in self._traced and len(self._traced) < MOST:
            try:
                self._traced[key] = self._trace(compute, inputs)
            except UnsuitedError as error:
                self._refused[key] = str(error)
                raise
        traced = self._traced.get(key)
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
            given = {f"net.{name}": each for name, each in own.items()}
            after = dict(given)
            with devices.autocast(self._precision, self._kind):
                value: torch.Tensor = functional_call(self._whole, after, (function, *rebuilt(structure, leaves)))
            for name, each in given.items():
                if after[name] is not each:
                    raise UnsuitedError(f"its loss puts another tensor in the place of {name[4:]!r}")
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
            return values.detach(), _own(found)

        return compute

    def _trace(self, compute: Callable[..., Gradients], inputs: Any) -> Callable[..., Any] | None:
        """The computation as plain operations; None where it cannot be had. Leaves generators and buffers as they were.

        Raises UnsuitedError where the loss draws from a generator whose numbers would be frozen into it, and where it
        cannot be computed for many replicates at all.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        kept = [*inputs[0], *inputs[1]]
        before, generators, own = [each.detach().clone() for each in kept], read(), self._attributes()
        try:
            try:
                compute(*inputs)
            except Exception as error:  # of vmap, of the model: whatever it is, it is not for many at once
                raise UnsuitedError(f"its loss cannot be computed for many seeds at once ({_first(error)})") from error
            drawn, given = read(), position(generators)
            if position({**drawn, "torch": generators["torch"], "cuda": generators.get("cuda", ())}) != given:
                raise UnsuitedError("its loss draws from Python's or numpy's generator")
            if self._attributes() != own:
                raise UnsuitedError("its loss changes an attribute of its network that is no tensor")
            try:
                graph: Any = make_fx(_flat_form(compute, inputs))(*inputs[0], *inputs[1], *inputs[2])
                simplify(graph)
            except Exception:  # data decide what is computed; vmap alone can do that where the shapes allow it
                return None
            return graph  # type: ignore[no-any-return]
        finally:
            write(generators)
            with torch.no_grad():
                for tensor, value in zip(kept, before, strict=True):
                    tensor.copy_(value)

    def _attributes(self) -> list[str]:
        """What the network keeps beside tensors and modules, which a trace would freeze."""
        hidden = ("_parameters", "_buffers", "_modules")
        return [
            f"{name}.{key}={value!r}"
            for name, module in self._whole.net.named_modules()
            for key, value in vars(module).items()
            if key not in hidden and not key.endswith("_hooks") and isinstance(value, int | float | str | bool | None)
        ]


def _own(gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Gradients that lie in memory as autograd leaves them: in the order of their parameters, for fused optimisers take
    that for granted, and each in a place of its own, for clipping works in place.
    """
    places: set[int] = set()
    own: list[torch.Tensor | None] = []
    for each in gradients:
        if each is not None:
            each = each.contiguous()
            each = each.clone() if each.untyped_storage()._cdata in places else each
            places.add(each.untyped_storage()._cdata)
        own.append(each)
    return own


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
    try:
        hash(value)
    except TypeError:
        raise UnsuitedError(f"its loss is given a {type(value).__name__}") from None
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
    schemas = (getattr(node.target, "_schema", None) for node in graph.graph.nodes if node.op == "call_function")
    if any(schema is not None and schema.is_mutable for schema in schemas):
        return  # what is changed in place may be read by a product that would move past the change
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
            sum_, part = node.meta["val"], product.meta["val"]
            if other.meta["val"].dtype != part.dtype or sum_.shape != part.shape:
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
