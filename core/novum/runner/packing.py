"""The state of a training as JSON and tensors, and back to the bit.

A state is made of numbers, strings, bytes, None, tensors, numpy arrays and scalars, and of lists, tuples and
dictionaries of them. Anything else is refused: what could not come back exactly must not look as if it did.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def pack(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """A state as (JSON, tensors by name). The tensors are those of the state, not copies.

    Raises TypeError for what is none of the above, with its place.
    """
    tensors: dict[str, torch.Tensor] = {}
    return _pack(state, tensors, "state"), tensors


def _pack(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    import numpy as np
    import torch

    def keep(tensor: torch.Tensor) -> str:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in _names():
            raise TypeError(f"{where} is a tensor of layout {tensor.layout} and type {tensor.dtype}")
        tensors[str(len(tensors))] = tensor.detach()
        return str(len(tensors) - 1)

    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_pack(each, tensors, f"{where}[{at}]") for at, each in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_pack(each, tensors, f"{where}[{at}]") for at, each in enumerate(value)]}
    if type(value) in (dict, OrderedDict):
        return {
            "dict": [
                [_pack(key, tensors, where), _pack(each, tensors, f"{where}.{key}")] for key, each in value.items()
            ]
        }
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if isinstance(value, torch.Tensor):
        packed: dict[str, Any] = {"tensor": keep(value), "placed": value.device.type != "cpu"}
        return packed if value.is_contiguous() else packed | {"stride": list(value.stride())}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        array = np.asarray(value)
        kind = "scalar" if isinstance(value, np.generic) else "array"
        return {kind: keep(torch.from_numpy(array.copy(order="C")))}
    raise TypeError(f"{where} is a {type(value).__name__}, which has no place in a checkpoint")


def unpack(packed: Any, read: Callable[[str], torch.Tensor], device: torch.device) -> Any:
    """The state again; `read` gives tensors by name. Tensors that were not on a CPU are put on `device`.

    Raises TypeError, ValueError or what `read` raises where `packed` did not come from `pack`.
    """
    import torch

    if isinstance(packed, list):
        return [unpack(each, read, device) for each in packed]
    if not isinstance(packed, dict):
        return packed
    kind, value = next(iter(packed.items()))
    match kind:
        case "tuple":
            return tuple(unpack(each, read, device) for each in value)
        case "dict":
            return {unpack(key, read, device): unpack(each, read, device) for key, each in value}
        case "bytes":
            return bytes.fromhex(value)
        case "array":
            return read(value).clone().numpy()
        case "scalar":
            return read(value).clone().numpy()[()]
        case "tensor":
            stored = read(value)
            if "stride" in packed:
                laid = torch.empty_strided(stored.shape, packed["stride"], dtype=stored.dtype).copy_(stored)
            else:
                laid = stored.clone()  # in memory of its own, not in that of the file
            return laid.to(device) if packed["placed"] else laid
    raise ValueError(f"a state knows no {kind!r}")


def written(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    """Tensors as a safetensors file, part by part: never more than one of them is copied.

    The library's own writer copies all at once, which could end a trial that just fits its memory.
    """
    import torch

    names = _names()
    ordered = sorted(tensors.items(), key=lambda each: -each[1].element_size())  # keeps every tensor aligned
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in ordered:
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        flat = tensor.cpu().contiguous().reshape(-1)
        if flat.is_complex():
            flat = torch.view_as_real(flat).reshape(-1)
        yield flat.view(torch.uint8).numpy().data


def _names() -> dict[torch.dtype, str]:
    """What safetensors calls each type."""
    import torch

    return {
        torch.float64: "F64",
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.complex64: "C64",
        torch.int64: "I64",
        torch.int32: "I32",
        torch.int16: "I16",
        torch.int8: "I8",
        torch.uint64: "U64",
        torch.uint32: "U32",
        torch.uint16: "U16",
        torch.uint8: "U8",
        torch.bool: "BOOL",
    }
