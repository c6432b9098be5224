"""The parts of one arm in a worker, built from its plan, and the way raw units reach its network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.config import parse
from novum.data import Batch, Prediction, Signature
from novum.errors import MismatchError
from novum.model import Preparation
from novum.recipe import Recipe, merged
from novum.task import Split, only

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.evaluator import Evaluator
    from novum.model import Model
    from novum.task import Task


@dataclass(frozen=True)
class Parts:
    """Task, model and evaluator of one arm, constructed, with the recipe in full."""

    task: Task
    model: Model
    evaluator: Evaluator
    recipe: Recipe
    signature: Signature

    @classmethod
    def of(cls, arm: Mapping[str, Any]) -> Parts:
        """Construct the parts of an arm given as JSON (as written, or resolved: both have the same shape).

        Raises PluginError, ConfigError, DataError, or MismatchError when they do not fit each other.
        """
        task: Task = _create("task", arm["task"])
        model: Model = _create("model", arm["model"])
        evaluator: Evaluator = _create("evaluator", arm.get("evaluator") or {"plugin": task.evaluator})
        with only(Split.TRAIN):
            signature = task.signature()
            _check_fit(arm, type(model), evaluator, signature)
            defaults = model.recipe(signature).model_dump()
        recipe = parse(Recipe, merged(defaults, arm["recipe"]), "recipe")
        return cls(task, model, evaluator, recipe, signature)


def _create(kind: str, data: Mapping[str, Any]) -> Any:
    return plugins.create(kind, data["plugin"], {name: value for name, value in data.items() if name != "plugin"})


def _check_fit(arm: Mapping[str, Any], model: type[Any], evaluator: Evaluator, signature: Signature) -> None:
    gives = f"{signature.inputs.kind} inputs and {signature.outputs.kind} outputs"
    if not plugins.fits(model, signature):
        fitting = ", ".join(plugins.fitting(signature)) or "none that is installed"
        raise MismatchError(
            f"the model {arm['model']['plugin']!r} does not fit the task {arm['task']['plugin']!r}, which has {gives}; "
            f"models that fit: {fitting}."
        )
    if signature.outputs.kind not in evaluator.outputs:
        raise MismatchError(
            f"the evaluator {(arm.get('evaluator') or {}).get('plugin')!r} judges {', '.join(evaluator.outputs)}, but "
            f"the task {arm['task']['plugin']!r} has {gives}; leave `evaluator` out to use the task's own."
        )


class Encoder:
    """Raw units of one split → tensors on the device. Each unit with an id is encoded once and kept.

    layout: "channels-last" gives inputs of four dimensions (a batch of images) the strides that such a network wants.
    """

    def __init__(self, preparation: Preparation, device: torch.device, layout: str = "contiguous") -> None:
        self._preparation = preparation
        self._layout = layout
        self.device = device
        self._keeps = type(preparation).encode is not Preparation.encode
        self._kept: dict[str, Any] = {}

    def __call__(self, inputs: Any, ids: Sequence[str]) -> Any:
        encoded = self._encode(inputs, ids) if self._keeps else inputs
        return place(self._preparation.collate(encoded), self.device, self._layout)

    def _encode(self, inputs: Any, ids: Sequence[str]) -> Sequence[Any]:
        if not ids:
            return self._preparation.encode(inputs)
        kept = self._kept
        if not kept.keys() >= set(ids):
            new = [at for at, unit in enumerate(ids) if unit not in kept]
            fresh = self._preparation.encode([inputs[at] for at in new])
            kept.update(zip((ids[at] for at in new), fresh, strict=True))
        return [kept[unit] for unit in ids]

    def batch(self, batch: Batch) -> Batch:
        """The batch as a model takes it: inputs encoded, collated and placed; targets and extras as tensors."""
        device, extras = self.device, batch.extras
        inputs = self(batch.inputs, batch.ids)
        targets = place(batch.targets, device)
        if extras:
            extras = {name: place(value, device) for name, value in extras.items()}
        if type(batch) is Batch:  # cheaper than a replacement, which asks for the fields' names
            return Batch(inputs, targets, batch.units, batch.ids, extras)
        return dataclasses.replace(batch, inputs=inputs, targets=targets, extras=extras)


def place(value: Any, device: torch.device, layout: str = "contiguous") -> Any:
    """Arrays and tensors, alone or in tuples and dictionaries, as tensors on the device; the rest as it is.

    layout: see `Encoder`. On "mps", which has no float64, such numbers become float32.
    """
    import torch

    if value is None:
        return None
    if not isinstance(value, torch.Tensor):
        import numpy as np

        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.as_tensor(value)
        elif isinstance(value, tuple):
            return tuple(place(each, device, layout) for each in value)
        elif isinstance(value, dict):
            return {name: place(each, device, layout) for name, each in value.items()}
        else:
            return value
    if device.type == "mps" and value.dtype == torch.float64:
        value = value.float()
    if layout == "channels-last" and value.ndim == 4:
        return value.to(device, non_blocking=True, memory_format=torch.channels_last)
    return value if value.device == device else value.to(device, non_blocking=True)


class Actor:
    """A model and its network as sources and evaluators see them (`novum.data.Act`)."""

    def __init__(self, model: Model, net: nn.Module, encoder: Encoder) -> None:
        self._model = model
        self._net = net
        self._encoder = encoder

    def __call__(self, inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
        import torch

        with torch.no_grad():
            answer = self._model.act(self._net, self._encoder(inputs, ids), explore)
        return Prediction(
            answer.value.cpu(),
            None if answer.probabilities is None else answer.probabilities.float().cpu(),
            {name: tensor.cpu() for name, tensor in answer.extras.items()},
        )
