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
