"""The model `bag`: the mean of hashed n-gram embeddings, and a linear layer; learns in seconds on one core.

After fastText (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification"), with n-grams of characters
besides those of words, and the hashing trick in place of a vocabulary (Weinberger et al. 2009).

Shapes: B texts of a batch, L n-grams of its longest text, C classes, D dimensions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from novum import Batch, Labels, Loss, Model, Prediction, Preparation, Recipe, Signature
from pydantic import Field, model_validator

from novum_text.words import ngrams, words

if TYPE_CHECKING:
    import torch
    from novum import Seed, Source, Weights
    from torch import nn

PADDING = 0
"""The bucket that stands for no n-gram; hashing gives 1 and above."""


class Buckets(Preparation):
    """Texts → the hash buckets of their n-grams. Nothing is fitted: the hash is CRC-32, the same everywhere."""

    def __init__(self, buckets: int, words: tuple[int, int], characters: tuple[int, int]) -> None:
        self.buckets = buckets
        self.words = words
        self.characters = characters

    def encode(self, inputs: Sequence[str]) -> list[np.ndarray]:
        """One ascending int32 array of distinct buckets (1 to buckets - 1) per text; empty for a blank text."""
        return [self._encode(text) for text in inputs]

    def _encode(self, text: str) -> np.ndarray:
        tokens = words(text)
        low, high = self.characters
        grams = {f"w{gram}" for gram in ngrams(tokens, *self.words)}
        for token in set(tokens) if high else ():
            edged = f"<{token}>"
            grams |= {f"c{edged[at : at + n]}" for n in range(low, high + 1) for at in range(len(edged) - n + 1)}
        found = {1 + zlib.crc32(gram.encode()) % (self.buckets - 1) for gram in grams}
        return np.array(sorted(found), dtype=np.int32)

    def collate(self, encoded: Sequence[np.ndarray]) -> torch.Tensor:
        """int64 (B, L), padded with bucket 0. One row per text, unlike flat ids with offsets, so that a batch can
        be cut into micro-batches.
        """
        import torch

        longest = max(1, max(len(row) for row in encoded))
        table = np.full((len(encoded), longest), PADDING, dtype=np.int64)
        for at, row in enumerate(encoded):
            table[at, : len(row)] = row
        return torch.from_numpy(table)

    def dump(self) -> dict[str, bytes]:
        """One file, `buckets.json`."""
        state = {"buckets": self.buckets, "words": self.words, "characters": self.characters}
        return {"buckets.json": json.dumps(state).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Buckets:
        state = json.loads(files["buckets.json"])
        return cls(state["buckets"], tuple(state["words"]), tuple(state["characters"]))


class Bag(Model):
    """A linear classifier over the mean embedding of a text's distinct n-grams."""

    class Config(Labels):
        """Which n-grams, and how large the network is."""

        buckets: Annotated[int, Field(ge=2)] = 2**15
        """Rows of the embedding; n-grams whose hashes collide share one."""
        dimension: Annotated[int, Field(ge=1)] = 64
        """Length of an embedding."""
        words: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]] = (1, 2)
        """Shortest and longest run of words; a Chinese or Japanese character is a word. A longest of 0 takes none."""
        characters: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]] = (3, 5)
        """Shortest and longest run of characters within a word, its boundaries included. A longest of 0 takes none."""
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the text vector's entries that are zeroed in training."""

        @model_validator(mode="after")
        def _in_order(self) -> Bag.Config:
            for name, (low, high) in (("words", self.words), ("characters", self.characters)):
                if high and low > high:
                    raise ValueError(f"{name} = ({low}, {high}): the shortest must not exceed the longest")
            if not (self.words[1] or self.characters[1]):
                raise ValueError("words and characters are both switched off (a longest of 0); a bag needs one of them")
            return self

    preparation = Buckets
    inputs = ("text",)
    outputs = ("classes",)

    config: Config

    def recipe(self, signature: Signature) -> Recipe:
        """Seconds on `stdlib-docs`: 0.85 of its `dev`."""
        return Recipe(budget="6 epochs", batch_size=32, learning_rate=2e-2, schedule="linear")

    def prepare(self, signature: Signature, train: Source) -> Buckets:
        """Opens nothing: hashing needs no vocabulary."""
        return Buckets(self.config.buckets, self.config.words, self.config.characters)

    def build(self, signature: Signature, preparation: Buckets, seed: Seed, start: Weights | None) -> nn.Module:
        """Embedding (buckets, D), dropout, linear layer (D → C): buckets (B, L) → logits (B, C)."""
        from torch import nn

        embedding = nn.EmbeddingBag(preparation.buckets, self.config.dimension, mode="mean", padding_idx=PADDING)
        nn.init.normal_(embedding.weight, std=self.config.dimension**-0.5)  # torch's own std of 1 memorises noise
        net = nn.Sequential(
            embedding, nn.Dropout(self.config.dropout), nn.Linear(self.config.dimension, len(signature.outputs.names))
        )
        if start is not None:
            start.copy_into(net)
        return net

    def begin(self, net: nn.Module, signature: Signature, train: Source) -> None:
        """The weights of classes, where they are asked for."""
        self.config.begin(net, len(signature.outputs.names), train)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """The cross-entropy, once."""
        yield Loss(self._cross_entropy, (batch.inputs, batch.targets))

    def _cross_entropy(self, net: nn.Module, buckets: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.config.loss(net, net(buckets), targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest class, with all probabilities."""
        probabilities = net(inputs).softmax(-1)
        return Prediction(value=probabilities.argmax(-1), probabilities=probabilities)
