"""How the parts of a training are saved and put back to the bit: networks, optimisers, generators."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from novum.data import Undefined

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Number
    from novum.model import Preparation


def tensors_of(net: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, also the buffers that weights leave out.

    Raises TypeError where the network keeps more than tensors.
    """
    import torch

    found = dict(net.named_buffers()) | dict(net.state_dict())
    other = [name for name, value in found.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise TypeError(f"the network's {other[0]} is no tensor")
    return found


def fill(net: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put saved tensors into a network. Raises ValueError where names, shapes or types differ."""
    import torch

    own = tensors_of(net)
    if own.keys() != tensors.keys():
        raise ValueError(f"the network has other tensors now: {sorted(own.keys() ^ tensors.keys())[0]}")
    with torch.no_grad():
        for name, tensor in own.items():
            if (tensor.shape, tensor.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise ValueError(f"the network's {name} has another shape or type now")
            tensor.copy_(tensors[name])


def refill(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put a saved state into an optimiser over the same parameters."""
    import torch

    optimizer.load_state_dict(state)
    if type(optimizer).load_state_dict is torch.optim.Optimizer.load_state_dict:
        # torch casts what it loads to the type and the device of the parameter; here all comes back as it was.
        params = [param for group in optimizer.param_groups for param in group["params"]]
        for at, values in state["state"].items():
            optimizer.state[params[at]].update(values)  # with their own strides, which a checkpoint keeps


def of_device(generators: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The generators' states with that of this trial's own GPU alone: it may go on at another one."""
    if "cuda" not in generators:
        return generators
    return generators | {"cuda": generators["cuda"][device.index or 0] if device.type == "cuda" else None}


def of_machine(generators: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `of_device`, on whatever GPUs are there."""
    import torch

    own = generators.pop("cuda", None)
    return generators if own is None else generators | {"cuda": [own] * torch.cuda.device_count()}


def position(generators: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where the generators stand, to be compared."""
    return (
        generators["python"],
        *(part.tobytes() if hasattr(part, "tobytes") else part for part in generators["numpy"]),
        generators["torch"].numpy().tobytes(),
        *(each.numpy().tobytes() for each in generators.get("cuda", ())),
    )


def content(preparation: Preparation) -> str:
    """A hash of what a preparation holds."""
    total = hashlib.sha256()
    for name, data in sorted(preparation.dump().items()):
        total.update(f"{name}\0".encode() + hashlib.sha256(data).digest())
    return total.hexdigest()


def plain(numbers: Mapping[str, Number]) -> dict[str, Any]:
    """Numbers that may be undefined, as a state takes them."""
    return {name: [each.because] if isinstance(each, Undefined) else each for name, each in numbers.items()}


def numbers(plain: Mapping[str, Any]) -> dict[str, Number]:
    """The inverse of `plain`."""
    return {name: Undefined(*each) if isinstance(each, list) else each for name, each in plain.items()}


def pieces(arguments: tuple[Any, ...], count: int) -> Iterator[tuple[float, tuple[Any, ...]]]:
    """A loss's arguments in up to `count` nearly equal pieces of the batch, each with its share of it.

    The batch is as long as the first dimension of the first tensor, in order of appearance also within tuples, lists
    and dictionaries. Tensors of that first dimension are divided; everything else goes whole into each piece.
    """
    size = next((len(tensor) for tensor in tensors_in(arguments)), 0)
    count = min(count, size)
    if count <= 1:
        yield 1.0, arguments
        return
    edges = [size * at // count for at in range(count + 1)]
    for low, high in itertools.pairwise(edges):
        yield (high - low) / size, _cut(arguments, size, low, high)


def share(arguments: tuple[Any, ...], at: int, count: int) -> tuple[float, tuple[Any, ...]]:
    """Part `at` (from 0) of `count` of a loss's arguments, with its share of the batch, 0.0 where it has none of it.

    The batch is that of `pieces`. What has none goes whole into every part.
    """
    size = next((len(tensor) for tensor in tensors_in(arguments)), 0)
    if size == 0:
        return 1 / count, arguments
    low, high = size * at // count, size * (at + 1) // count
    return (high - low) / size, _cut(arguments, size, low, high)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of a loss's arguments with a first dimension, in order of appearance."""
    import torch

    if isinstance(value, torch.Tensor) and value.ndim > 0:
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, Mapping):
        yield from tensors_in(tuple(value.values()))


def _cut(value: Any, size: int, low: int, high: int) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value[low:high] if value.ndim > 0 and len(value) == size else value
    if type(value) in (tuple, list):
        return type(value)(_cut(each, size, low, high) for each in value)
    if type(value) is dict:
        return {name: _cut(each, size, low, high) for name, each in value.items()}
    return value
