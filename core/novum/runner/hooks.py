"""The techniques of one trial: which hooks they have, the streams they draw from, and their state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.technique import Technique

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch, Loss
    from novum.seeds import Seed


class Stream:
    """A stream in torch's generators, of the CPU and of the device, while a block runs; it goes on in the next block.

    `novum.seeds.installed` does the same for every generator in 120 µs, most of it for numpy's: too long for what
    happens at every step. This takes 3.
    """

    def __init__(self, seed: Seed, device: torch.device) -> None:
        import torch

        self._gpu = device if device.type == "cuda" else None
        if self._gpu is not None:
            torch.cuda.init()  # type: ignore[no-untyped-call]  # before it torch has no list of the GPUs' generators
        devices = [torch.device("cpu"), *([] if self._gpu is None else [self._gpu])]
        self.states = [torch.Generator(each).manual_seed(seed.integer()).get_state() for each in devices]

    def __enter__(self) -> None:
        self._outer = self._swap(self.states)

    def __exit__(self, *error: object) -> None:
        self.states = self._swap(self._outer)

    def _swap(self, states: list[torch.Tensor]) -> list[torch.Tensor]:
        import torch

        generators = [torch.default_generator]
        if self._gpu is not None:
            generators.append(torch.cuda.default_generators[self._gpu.index or 0])
        before = [each.get_state() for each in generators]
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
        return before


class Hooks:
    """New techniques for one trial, as a recipe names them: {name: options}, applied in alphabetical order.

    Every technique draws from torch in a stream of its own below `seed`: all else is drawn alike with one and without
    (law 4), and one whose scale is 0 changes nothing, even though it draws.
    """

    def __init__(self, techniques: Mapping[str, Mapping[str, Any]], seed: Seed, device: torch.device) -> None:
        self._all: dict[str, Technique] = {
            name: plugins.create("technique", name, options) for name, options in sorted(techniques.items())
        }
        self._streams = {name: Stream(seed.child("technique", name), device) for name in self._all}
        self._losses = self._overriding("on_loss")
        self._steps = self._overriding("before_step")

    def _overriding(self, hook: str) -> list[tuple[str, Technique]]:
        base = getattr(Technique, hook)
        return [(name, each) for name, each in self._all.items() if getattr(type(each), hook) is not base]

    def on_build(self, net: nn.Module) -> None:
        """Let each change a new network in place."""
        for name, technique in self._overriding("on_build"):
            with self._streams[name]:
                technique.on_build(net)

    def on_loss(self, loss: Loss, batch: Batch) -> Loss:
        """The same loss, whose value passes through each technique when it is computed."""
        if not self._losses:
            return loss

        def function(net: nn.Module, *arguments: Any) -> torch.Tensor:
            value = loss.function(net, *arguments)
            for name, technique in self._losses:
                with self._streams[name]:
                    value = _scalar(technique.on_loss(value, net, batch), name)
            return value

        return dataclasses.replace(loss, function=function)

    def before_step(self, params: list[nn.Parameter]) -> None:
        """Let each change the gradients in place."""
        for name, technique in self._steps:
            with self._streams[name]:
                technique.before_step(params)

    def state(self) -> dict[str, Any]:
        """What the techniques and their streams depend on, for a checkpoint."""
        return {name: (technique.state_dict(), self._streams[name].states) for name, technique in self._all.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises KeyError where a technique has none."""
        for name, technique in self._all.items():
            own, states = state[name]
            technique.load_state_dict(own)
            self._streams[name].states = states


def full(techniques: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same techniques with every option, as JSON. Raises PluginError or ConfigError for what cannot be used."""
    return {
        name: plugins.create("technique", name, options).config.model_dump(mode="json")
        for name, options in sorted(techniques.items())
    }


def _scalar(value: Any, name: str) -> torch.Tensor:
    import torch

    if not isinstance(value, torch.Tensor) or value.ndim > 0:
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
        raise TypeError(
            f"on_loss of the technique {name!r} returned {type(value).__name__}{shape}; return the loss: a tensor "
            "without dimensions."
        )
    return value
