"""What flows: batches held against a signature, bytes compared, and models that are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.data import Batch, Prediction, Signature
from novum.testing.laws import Broken

if TYPE_CHECKING:
    import numpy as np

    from novum.data import Act
    from novum.task import Source

MOST = 200_000
"""Units of one scoring pass after which it counts as endless where the source states no size."""


def digest(value: Any) -> str:
    """A hash of arrays, tensors, text, numbers, and lists, tuples and mappings of them, by their exact content."""
    total = hashlib.sha256()
    for part in _parts(value):
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:32]


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, Batch):
        yield from _parts([value.inputs, value.targets, value.units, value.ids, value.extras])
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for each in value:
            yield from _parts(each)
    elif isinstance(value, bytes):
        yield value
    elif hasattr(value, "detach"):  # a tensor
        yield from _parts(value.detach().cpu().contiguous().view(-1).numpy())
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
        yield f"{value.dtype}{value.shape}".encode()
        yield repr(value.tolist()).encode() if value.dtype.kind == "O" else value.tobytes()
    else:
        yield repr(value).encode()


def still(signature: Signature) -> Act:
    """A model that is none: its answers follow from the inputs alone, and are of the signature's kind."""

    def act(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        import numpy as np
        import torch

        count, outputs = len(inputs), signature.outputs
        marks = np.array([int(digest(each)[:8], 16) for each in inputs], dtype=np.int64)
        if outputs.kind == "controls":
            low, high = np.array(outputs.low), np.array(outputs.high)
            low, high = np.where(np.isfinite(low), low, -1.0), np.where(np.isfinite(high), high, 1.0)
            value: Any = low + (high - low) * (marks[:, None] % 97) / 96
            return Prediction(torch.as_tensor(value.astype(np.float32)))
        many = len(outputs.names) if outputs.kind == "classes" else getattr(outputs, "count", 1)
        return Prediction(torch.as_tensor(marks % many).reshape(count))

    return act


def acts(source: Source) -> bool:
    """Whether this is an environment: experience comes from playing, and units have no fixed content."""
    return source.acts or source.size is None


def one_pass(source: Source, act: Act) -> list[Batch]:
    """Every batch of one scoring pass. Raises Broken where it holds more units than the source says."""
    most = MOST if source.size is None else source.size
    found: list[Batch] = []
    count = 0
    for batch in source.each(act):
        if not isinstance(batch, Batch):
            raise Broken(f"`each` gave {type(batch).__name__}; give novum.Batch")
        found.append(batch)
        count += len(batch.ids)
        if count > most or len(found) > most:
            raise Broken(
                f"`each` gave {count} units and goes on, while `size` is {source.size}; one pass must give every unit "
                "once and then end"
            )
    return found


def rows(batches: Sequence[Batch]) -> list[tuple[str, str, str]]:
    """(id, hash of the input, hash of the target) of every unit, in order."""
    found = []
    for batch in batches:
        for at, unit in enumerate(batch.ids):
            target = None if batch.targets is None else batch.targets[at]
            found.append((unit, digest(batch.inputs[at]), digest(target)))
    return found


# ------------------------------------------------------------------------------------------ batch and signature


def problem(batch: Any, signature: Signature, *, plays: bool) -> str | None:
    """What of a batch does not agree with the signature, in words; None where all does.

    plays: it is one rollout of an environment, of (T, N, …) arrays.
    """
    if not isinstance(batch, Batch):
        return f"a batch is {type(batch).__name__}; give novum.Batch"
    if type(batch.units) is not int or batch.units < 1:
        return f"Batch.units is {batch.units!r}; it counts the budget: a whole number, at least 1"
    if plays:
        return _rollout(batch, signature)
    count = len(batch.inputs)
    if batch.units != count:
        return f"Batch.units is {batch.units} with {count} inputs; a sample counts once"
    if len(batch.ids) != count or not all(isinstance(each, str) for each in batch.ids):
        return f"Batch.ids are {len(batch.ids)} ({_first(batch.ids)}) with {count} inputs; give a text per unit"
    if batch.targets is not None and len(batch.targets) != count:
        return f"Batch.targets are {len(batch.targets)} with {count} inputs; give one per unit"
    return _inputs(batch.inputs, signature) or _targets(batch.targets, signature)


def _inputs(inputs: Any, signature: Signature) -> str | None:
    space = signature.inputs
    if space.kind == "text":
        wrong = [each for each in inputs if not isinstance(each, str)]
        return f"the signature says texts, but an input is {type(wrong[0]).__name__}; give str" if wrong else None
    if space.kind not in ("image", "vector"):
        return None
    shape = tuple(space.shape) if space.kind == "vector" else (space.channels, space.height, space.width)
    kind = "float32" if space.kind == "vector" else "uint8"
    array = _array(inputs)
    if array is None or array.shape[1:] != shape:
        seen = "of different shapes" if array is None else f"of shape {array.shape[1:]}"
        return f"the signature says {space.kind} inputs of shape {shape}, but the inputs are {seen}"
    if array.dtype != kind:
        return f"the inputs are {array.dtype}; {space.kind} inputs are {kind}"
    return None if _finite(array) else "an input is not finite; a source gives finite numbers"


def _targets(targets: Any, signature: Signature) -> str | None:
    space = signature.outputs
    if targets is None:
        return (
            None
            if space.kind not in ("classes", "controls")
            else f"there are no targets, though outputs are {space.kind}"
        )
    array = _array(targets)
    if array is None:
        return "the targets are of different shapes"
    if space.kind == "classes":
        if array.dtype != "int64" or array.ndim != 1:
            return f"the targets are {array.dtype} of shape {array.shape}; classes are int64 positions, shape (B,)"
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= len(space.names):
            return (
                f"a target is {low if low < 0 else high}, but there are {len(space.names)} classes, whose positions "
                "are "
                f"0 to {len(space.names) - 1}"
            )
    if space.kind == "controls" and array.shape[1:] != (len(space.low),):
        return f"the targets are of shape {array.shape}; controls are (B, {len(space.low)})"
    return None if _finite(array) else "a target is not finite; a source gives finite numbers"


def _rollout(batch: Batch, signature: Signature) -> str | None:
    inputs, space = _array(batch.inputs), signature.inputs
    if inputs is None or inputs.ndim < 2:
        return "a rollout's inputs are no array (T, N, …): steps, environments, observation"
    if space.kind == "vector" and inputs.shape[2:] != tuple(space.shape):
        return f"the signature says vectors of shape {tuple(space.shape)}, but observations are {inputs.shape[2:]}"
    if batch.units != inputs.shape[0] * inputs.shape[1]:
        return f"Batch.units is {batch.units} with {inputs.shape[0]} steps of {inputs.shape[1]}; every step counts once"
    actions = batch.extras.get("actions")
    if actions is not None and signature.outputs.kind == "actions":
        array = _array(actions)
        if array is None or array.min() < 0 or array.max() >= signature.outputs.count:
            return f"an action lies outside of 0 to {signature.outputs.count - 1}"
    wrong = [name for name, each in batch.extras.items() if (array := _array(each)) is not None and not _finite(array)]
    return f"Batch.extras[{wrong[0]!r}] is not finite" if wrong else None


def _array(value: Any) -> np.ndarray | None:
    import numpy as np

    try:
        return value if isinstance(value, np.ndarray) else np.stack([np.asarray(each) for each in value])
    except ValueError:
        return None


def _finite(array: np.ndarray) -> bool:
    import numpy as np

    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _first(values: Sequence[Any]) -> str:
    return f"the first {values[0]!r}" if len(values) else "none"
