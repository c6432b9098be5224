"""What the models `transformer` and `masked-transformer` share: which network they are about.

Arms that agree in these options have the same tensors below their heads, so that one can start from the other.
"""

from __future__ import annotations

from typing import Annotated

from novum import Config as Options
from pydantic import Field, model_validator


class Network(Options):
    """A checkpoint, or the size of a network of its own."""

    checkpoint: str = ""
    """A folder with a saved model and tokenizer, or a name on the Hugging Face hub; loaded from safetensors alone,
    never with code of its own. Empty: a small network from nothing, as the options below say."""
    revision: str = ""
    """Branch, tag or commit of a checkpoint on the hub; empty: its main branch. Name a commit where numbers must
    stay what they are."""
    max_length: Annotated[int, Field(ge=4)] = 128
    """Tokens that are read of a text; a checkpoint with fewer positions reads as many as it has."""
    vocabulary: Annotated[int, Field(ge=16)] = 4000
    """Tokens of the vocabulary that is fitted on `train`, without a checkpoint."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Layers, without a checkpoint."""
    width: Annotated[int, Field(ge=1)] = 64
    """Length of a token's vector, without a checkpoint; a multiple of `heads`."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of a layer, without a checkpoint."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout everywhere, without a checkpoint (one brings its own)."""

    @model_validator(mode="after")
    def _fits(self) -> Network:
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} is no multiple of heads = {self.heads}; change one of them")
        if self.revision and not self.checkpoint:
            raise ValueError(f"revision = {self.revision!r} needs a checkpoint; name one, or drop the revision")
        return self
