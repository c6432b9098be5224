"""A model: what learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from novum import config as _config
from novum.errors import MismatchError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch, Loss, Prediction, Signature
    from novum.recipe import Recipe
    from novum.seeds import Seed
    from novum.task import Source


class Preparation:
    """What a model fits on `train` once per arm before it is built: a tokenizer, a vocabulary, a scale.

    This base class is the one for models that need none: arrays become tensors, lists are stacked.
    """

    def encode(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Turn raw units into what `collate` takes, one for one. Runs once per unit; the runner keeps the
        result by unit id. Overriding it is what switches the keeping on.
        """
        return inputs

    def collate(self, encoded: Sequence[Any]) -> Any:
        """Turn B encoded units into the tensors that the network takes: a tensor, or a tuple or dictionary of
        tensors (first dimension B where replicates or micro-batches are wanted).
        """
        import numpy as np
        import torch

        whole: Any = encoded
        return torch.as_tensor(whole if isinstance(whole, np.ndarray) else np.stack(list(whole)))

    def dump(self) -> dict[str, bytes]:
        """Its whole state as named files, stored with the weights; no pickle."""
        return {}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Preparation:
        """The inverse of `dump`."""
        del files
        return cls()


@dataclass
class Weights:
    """Trained tensors by name, from the arm that this one starts from.

    `copy_into` must be called by a model's `build` when `start` is given; it keeps the counts that are shown.
    """

    tensors: Mapping[str, torch.Tensor]
    loaded: tuple[str, ...] = field(default=(), init=False)
    skipped: tuple[str, ...] = field(default=(), init=False)

    def copy_into(self, net: nn.Module) -> None:
        """Copy every tensor whose name and shape match into `net`, and note which did and which did not.

        Raises MismatchError when nothing matches.
        """
        import torch

        own = net.state_dict()
        fits = {
            name: tensor
            for name, tensor in self.tensors.items()
            if name in own and own[name].shape == tensor.shape and own[name].dtype == tensor.dtype
        }
        if not fits:
            raise MismatchError(
                f"start_from: none of the parent's {len(self.tensors)} tensors fits this network of {len(own)} by "
                "name and shape; use the same model in both arms, or drop start_from."
            )
        with torch.no_grad():
            for name, tensor in fits.items():
                own[name].copy_(tensor)
        self.loaded = tuple(sorted(fits))
        self.skipped = tuple(sorted(set(own) - set(fits)))


class Model(ABC):
    """What learns. It holds its configuration only: all that training changes lives in `net` or in the source.

    `inputs` and `outputs` name the kinds of spaces that it fits (see `novum.data`), so that Novum can say which
    models fit a task without building any.
    """

    class Config(_config.Config):
        """No options."""

    preparation: ClassVar[type[Preparation]] = Preparation
    """What `prepare` gives, so that it can be loaded again."""
    inputs: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ()
    imports: ClassVar[tuple[str, ...]] = ()
    """Slow modules that its methods import: workers load them once, before the first trial."""

    def __init__(self, config: Any) -> None:  # one that the nested `Config` validated
        self.config = config

    @abstractmethod
    def recipe(self, signature: Signature) -> Recipe:
        """The defaults for training; a claim and each of its tasks override single values."""

    def fingerprint(self) -> str:
        """A hash of what decides the numbers beside options and code, such as the files of a local checkpoint; empty
        where there is nothing of the kind.
        """
        return ""

    def prepare(self, signature: Signature, train: Source) -> Preparation:
        """Fit a tokenizer, a vocabulary or a scale on `train`; once per arm and seed, stored with the weights."""
        del signature, train
        return self.preparation()

    @abstractmethod
    def build(self, signature: Signature, preparation: Any, seed: Seed, start: Weights | None) -> nn.Module:
        """A new network; when `start` is given, with `start.copy_into(net)` called."""

    def begin(self, net: nn.Module, signature: Signature, train: Source) -> None:  # noqa: B027 - few need it
        """What a network still needs of `train` before it learns, such as weights of its classes; nothing by default.

        Called once a trial, after `build` and on the CPU, also for an arm that starts from another, whose preparation
        knows the other's `train`. Not called where trained weights are read back: set only what `losses` needs, as
        buffers that are not persistent.
        """

    @abstractmethod
    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """Yield how to compute each loss; the runner computes, differentiates and steps between yields.

        The body runs without gradients, and no context manager may span a yield. Supervised models yield once.
        """

    @abstractmethod
    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """Answer B inputs, under `no_grad`; `explore` is True while experience is collected."""
