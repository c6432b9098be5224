"""The model `timm`: any image classifier of pytorch-image-models (Wightman 2019), from scratch or pretrained."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from novum import (
    Batch,
    ConfigError,
    DataError,
    Labels,
    Loss,
    MismatchError,
    Model,
    Prediction,
    Preparation,
    Recipe,
    Seed,
    Signature,
    Source,
    Tuning,
    Weights,
)
from pydantic import Field

from novum_vision.images import moments

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum_vision.network import Network

FITTED_ON = 5_000
"""At most about this many images are looked at to fit mean and deviation."""


@dataclass(frozen=True)
class Normalisation(Preparation):
    """Mean and standard deviation of each channel, on the scale 0 to 1; no deviation is zero."""

    mean: tuple[float, ...] = (0.5,)
    deviation: tuple[float, ...] = (0.5,)

    def dump(self) -> dict[str, bytes]:
        """One JSON file."""
        return {"normalisation.json": json.dumps({"mean": self.mean, "deviation": self.deviation}).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Normalisation:
        """The inverse of `dump`."""
        values = json.loads(files["normalisation.json"])
        return cls(tuple(values["mean"]), tuple(values["deviation"]))


class Timm(Model):
    """An image classifier of timm, trained by cross-entropy.

    Images go to the device as bytes; they are normalised and resized there. Mean and deviation are fitted on
    `train`; a pretrained network keeps those that it was trained with, where the channels agree. An arm that
    starts from another gets that arm's preparation from the runner, so its weights meet the scale they know.
    """

    class Config(Labels, Tuning):
        """Which network, and how it is trained."""

        name: str = "test_resnet"
        """A name of timm's list, such as "test_resnet", "resnet18" or "vit_tiny_patch16_224", with a tag for certain
        pretrained weights where wanted ("resnet18.a1_in1k")."""
        pretrained: bool = False
        """Begin with timm's pretrained weights, fetched on first use; the classifier's head starts anew."""
        size: Annotated[int, Field(ge=0, le=4096)] = 32
        """Height and width to which batches are resized; 0 keeps the task's own."""
        drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Dropout before the classifier; 0 leaves the architecture's default."""
        shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
        """In training each image is moved by up to this share of its height and width, drawn anew each time; what
        comes in from beyond its edges is black."""
        flip: bool = False
        """In training each image is mirrored, left for right, in half of the cases."""

    preparation = Normalisation
    inputs = ("image",)
    outputs = ("classes",)
    imports = ("timm",)
    config: Timm.Config

    def recipe(self, signature: Signature) -> Recipe:
        """Raises ConfigError when timm has no such name, or no pretrained weights where they are asked for."""
        self._check_name()
        return Recipe(budget="8 epochs", batch_size=64, learning_rate=2e-3, schedule="cosine", weight_decay=0.01)

    def prepare(self, signature: Signature, train: Source) -> Normalisation:
        """Fit mean and deviation on every k-th image of `train`, at most about 5,000 of them."""
        known = self._pretrained_scale()
        if known is not None and len(known.mean) == signature.inputs.channels:
            return known
        every = -(-(train.size or 1) // FITTED_ON)
        seen, kept = 0, []
        for batch in train.each(_unasked):
            images = np.asarray(batch.inputs)
            kept.append(images[-seen % every :: every])
            seen += len(images)
        mean, deviation = moments(np.concatenate(kept))
        return Normalisation(mean, tuple(max(value, 1 / 255) for value in deviation))  # a black set has none

    def build(self, signature: Signature, preparation: Normalisation, seed: Seed, start: Weights | None) -> nn.Module:
        """A `Network`; its parameters have timm's names below "body.". A head of the parent's shape is copied too.

        Raises MismatchError when the network cannot take such images, ConfigError for an unknown name, and
        DataError when pretrained weights cannot be fetched.
        """
        from novum_vision.network import Network

        image = signature.inputs
        if len(preparation.mean) != image.channels:
            raise MismatchError(
                f"model 'timm': the arm that this one starts from saw images of {len(preparation.mean)} channels, this "
                f"task has {image.channels}; read both in colour or both in grey (the task's option 'channels')."
            )
        shape = (self.config.size, self.config.size) if self.config.size else (image.height, image.width)
        body = self._body(image.channels, len(signature.outputs.names), shape)
        net = Network(body, preparation.mean, preparation.deviation, shape)
        self._check_fit(net, signature)
        begun = frozenset(name for name, _ in net.named_parameters() if self.config.pretrained)
        if start is not None:
            start.copy_into(net)
            begun |= set(start.loaded)
        if begun and self.config.trained != "all":
            self.config.freeze(net, begun, self._head(net))
        return net

    def begin(self, net: nn.Module, signature: Signature, train: Source) -> None:
        """The weights of classes, where they are asked for."""
        self.config.begin(net, len(signature.outputs.names), train)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """Mean cross-entropy of the images, moved and mirrored where that is asked for; nothing else."""
        yield Loss(self._cross_entropy, (batch.inputs, batch.targets))

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The most probable class, and all probabilities."""
        probabilities = net(inputs).float().softmax(dim=1)
        return Prediction(probabilities.argmax(dim=1), probabilities)

    def _cross_entropy(self, net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if net.training and (self.config.shift or self.config.flip):
            from novum_vision.network import varied

            images = varied(images, self.config.shift, self.config.flip)
        return self.config.loss(net, net(images).float(), targets)

    def _head(self, net: Network) -> tuple[str, ...]:
        """How the names of the classifier's parameters begin. Raises ConfigError where nobody knows."""
        found = net.body.get_classifier()  # type: ignore[operator]
        heads = found if isinstance(found, tuple | list) else (found,)
        names = tuple(f"{name}." for name, module in net.named_modules() if any(module is each for each in heads))
        if not any(each.startswith(names) for each, _ in net.named_parameters()):
            raise ConfigError(
                f"model 'timm': option 'trained' is {self.config.trained!r}, but timm does not tell which part of "
                f"{self.config.name!r} is its head; set it to 'all', or choose another name."
            )
        return names

    def _check_name(self) -> None:
        import timm

        name = self.config.name
        base, _, tag = name.partition(".")
        allowed = timm.list_models()
        if base not in allowed:
            near = difflib.get_close_matches(base, allowed, n=5, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}? " if near else ""
            raise ConfigError(
                f"model 'timm': option 'name' is {name!r}, which timm {timm.__version__} does not have; "
                f"{hint}timm.list_models() lists all {len(allowed)}."
            )
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        if tag and tag not in tags:
            raise ConfigError(
                f"model 'timm': option 'name' is {name!r}, but {base} has no weights tagged {tag!r}; allowed tags: "
                f"{', '.join(tags) or 'none'}."
            )
        if self.config.pretrained and not timm.is_model_pretrained(name):
            raise ConfigError(
                f"model 'timm': timm has no pretrained weights for {name!r}; set pretrained = false, or choose a name "
                "of timm.list_models(pretrained=True)."
            )

    def _pretrained_scale(self) -> Normalisation | None:
        if not self.config.pretrained:
            return None
        self._check_name()
        from timm.models import get_pretrained_cfg

        cfg = get_pretrained_cfg(self.config.name)
        return Normalisation(tuple(cfg.mean), tuple(cfg.std))

    def _body(self, channels: int, classes: int, shape: tuple[int, int]) -> Any:
        self._check_name()
        import timm
        from timm.models import get_pretrained_cfg

        name, options = self.config.name, dict[str, Any]()
        if self.config.drop_rate > 0:
            options["drop_rate"] = self.config.drop_rate
        cfg = get_pretrained_cfg(name)
        if cfg is not None and cfg.fixed_input_size:  # transformers are built for one size of image
            options["img_size"] = shape
        pretrained = self.config.pretrained
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=channels, **options)
        except Exception as error:  # timm, its hub and its architectures each raise their own
            told = f"{type(error).__name__}: {error}"
            if pretrained:
                raise DataError(
                    f"model 'timm': the pretrained weights of {name!r} could not be loaded ({told}). Run it once where "
                    "the model hub can be reached, so that they are in the cache that HF_HOME names; or set "
                    "pretrained = false."
                ) from error
            raise self._unfit(shape, channels, told) from error

    def _check_fit(self, net: Network, signature: Signature) -> None:
        """One pass without learning: better here than in the middle of an experiment."""
        import torch

        image = signature.inputs
        net.eval()
        try:
            with torch.no_grad():
                logits = net(torch.zeros(2, image.channels, image.height, image.width, dtype=torch.uint8))
        except Exception as error:  # each architecture has its own way to refuse an image
            raise self._unfit(net.shape, image.channels, f"{type(error).__name__}: {error}") from error
        classes = len(signature.outputs.names)
        if tuple(logits.shape) != (2, classes):
            raise self._unfit(net.shape, image.channels, f"it gives {tuple(logits.shape)} for 2 images")
        net.train()

    def _unfit(self, shape: tuple[int, int], channels: int, told: str) -> MismatchError:
        return MismatchError(
            f"model 'timm': {self.config.name!r} cannot take images of {channels} x {shape[0]} x {shape[1]} ({told}); "
            "set the option 'size' to what it was made for (often 224), or choose another name."
        )


def _unasked(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise MismatchError("model 'timm': it is fitted on images that lie ready, and this task's must be played for.")
