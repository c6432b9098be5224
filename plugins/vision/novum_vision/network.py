"""The network of the model `timm`: a timm model that takes raw images. Importing this file imports torch."""

from __future__ import annotations

import torch
from torch import nn


class Network(nn.Module):
    """Raw images in, logits out: scale to 0 to 1, normalise, resize, then `body`.

    `state_dict` holds timm's own names below "body." and nothing else: mean and deviation are kept with the
    model's preparation.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, body: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...], shape: tuple[int, int]
    ) -> None:
        """mean, deviation: per channel, on the scale 0 to 1. shape: height and width that `body` gets."""
        super().__init__()
        self.body = body
        self.shape = shape
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: uint8 (B, C, H, W). Returns logits (B, classes)."""
        scaled = (images.to(self.mean.dtype) / 255 - self.mean) / self.deviation
        height, width = scaled.shape[-2:]
        if (height, width) != self.shape:
            # Antialiasing changes nothing where an image grows.
            shrinks = height > self.shape[0] or width > self.shape[1]
            scaled = nn.functional.interpolate(scaled, size=self.shape, mode="bilinear", antialias=shrinks)
        logits: torch.Tensor = self.body(scaled)
        return logits


def varied(images: torch.Tensor, shift: float, flip: bool) -> torch.Tensor:
    """Images (B, C, H, W) as they are not in the data: each moved by up to `shift` of its height and width, at least a
    pixel, and with `flip` mirrored in half of the cases. Draws from torch's ordinary generator.
    """
    if shift:
        for axis in (2, 3):
            images = _moved(images, axis, max(1, round(shift * images.shape[axis])))
    if flip:
        mirrored = torch.rand(len(images), device=images.device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def _moved(images: torch.Tensor, axis: int, most: int) -> torch.Tensor:
    """Each image moved along an axis by -most to most pixels; by indices, so that many replicates are moved as one."""
    length = images.shape[axis]
    by = torch.randint(-most, most + 1, (len(images), 1), device=images.device)
    places = torch.arange(length, device=images.device) - by  # (B, length): where each row or column comes from
    shape = (len(images), 1, length, 1) if axis == 2 else (len(images), 1, 1, length)
    found = images.gather(axis, places.clamp(0, length - 1).reshape(shape).expand_as(images))
    inside = ((places >= 0) & (places < length)).reshape(shape)
    return torch.where(inside, found, torch.zeros_like(found))
