"""The model `masked-transformer`: a BERT that learns to name hidden tokens, for other arms to start from.

Shapes: B texts of a batch, L tokens of its longest text, K places to be named, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from novum import Batch, DataError, Loss, Model, Prediction, Recipe, Signature
from pydantic import Field

from novum_text import checkpoints
from novum_text.masking import Masking
from novum_text.network import Network
from novum_text.tokens import Tokens

if TYPE_CHECKING:
    import torch
    from novum import Seed, Source, Weights
    from torch import nn

ABSENT = -1
"""Stands where a text has fewer places to be named than another of its batch."""


class MaskedTransformer(Model):
    """A Hugging Face transformer that names hidden tokens (Devlin et al. 2019). Below its head it is the network of
    `transformer` with the same options, which can start from it.
    """

    class Config(Network):
        """A checkpoint to go on from, or the size of a network of its own, and how much is hidden."""

        masked: Annotated[float, Field(gt=0, lt=1)] = 0.15
        """Share of a text's tokens that are to be named; at least one of each text."""

    preparation = Tokens
    imports = ("transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert")
    inputs = ("text",)
    outputs = ("masked-tokens",)

    config: Config

    def recipe(self, signature: Signature) -> Recipe:
        """For a checkpoint a low rate, as in fine-tuning; for a network from nothing what a small one learns in
        minutes on one core with.
        """
        return Recipe(
            budget="3 epochs" if self.config.checkpoint else "20 epochs",
            batch_size=32,
            learning_rate=5e-5 if self.config.checkpoint else 3e-3,
            schedule="linear",
            warmup=0.1,
            weight_decay=0.01,
            clip=1.0,
        )

    def fingerprint(self) -> str:
        """SHA-256 over the files of a local checkpoint; empty for a name on the hub and for a network from nothing."""
        return checkpoints.fingerprint(self.config.checkpoint)

    def prepare(self, signature: Signature, train: Source) -> Tokens:
        """The checkpoint's own tokenizer, or one fitted on the texts of `train`.

        Raises DataError when the checkpoint cannot be loaded, or has no token that hides others.
        """
        if not self.config.checkpoint:
            return Tokens.fit(train, self.config.vocabulary, self.config.max_length, masks=True)
        found = checkpoints.tokens(self.config.checkpoint, self.config.revision, self.config.max_length)
        if found.mask is None:
            raise DataError(
                f"checkpoint: the tokenizer of {self.config.checkpoint!r} has no mask token, so that no token can be "
                "hidden; choose a checkpoint that was trained on masked tokens, such as a BERT, or leave it out."
            )
        return found

    def build(self, signature: Signature, preparation: Tokens, seed: Seed, start: Weights | None) -> nn.Module:
        """A Hugging Face model with a head that names tokens, and what it hides them with as `net.masking`.

        Raises DataError when the checkpoint or the preparation (of a parent arm) cannot serve, MismatchError when
        nothing of `start` fits.
        """
        if preparation.mask is None:
            raise DataError(
                "start_from: the parent's tokenizer has no mask token, so that no token can be hidden; start from a "
                "'masked-transformer', or drop start_from."
            )
        net: Any
        if self.config.checkpoint:
            net = checkpoints.masked_network(self.config.checkpoint, self.config.revision)
        else:
            from transformers import BertForMaskedLM

            net = BertForMaskedLM(checkpoints.small(preparation, self.config))
        net.masking = Masking(preparation.mask, preparation.special, preparation.size, self.config.masked)
        if start is not None:
            start.copy_into(net)
        built: nn.Module = net
        return built

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """The cross-entropy of the hidden tokens, once: the mean over those of the whole batch. Which ones are hidden
        is drawn anew for every batch.
        """
        attention = batch.inputs["attention_mask"]
        masking: Any = net.masking
        masked = masking.drawn(batch.inputs["input_ids"], attention)
        yield Loss(_cross_entropy, (masked.ids, attention, masked.places, masked.targets, masked.weights()))

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest token of every hidden place, int64 (B, K); -1 where a text has fewer.

        extras: "targets", the tokens that stood there, int64 (B, K), -1 where there is none; "log_probabilities",
        the natural logarithm of their probability, float32 (B, K), 0 where there is none.
        """
        masking: Any = net.masking
        masked = masking.fixed(inputs["input_ids"], inputs["attention_mask"])
        logs = _logits(net, masked.ids, inputs["attention_mask"], masked.places).float().log_softmax(-1)
        right = logs.gather(2, masked.targets[:, :, None])[:, :, 0]
        return Prediction(
            value=logs.argmax(-1).masked_fill(~masked.named, ABSENT),
            extras={
                "targets": masked.targets.masked_fill(~masked.named, ABSENT),
                "log_probabilities": right.masked_fill(~masked.named, 0.0),
            },
        )


def _cross_entropy(
    net: nn.Module,
    ids: torch.Tensor,
    attention: torch.Tensor,
    places: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    logits = _logits(net, ids, attention, places)
    each = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return (each * weights).sum(1).mean()


def _logits(net: Any, ids: torch.Tensor, attention: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(B, K, V) at these places alone: naming every token would take most of the time of a small network."""
    if net.config.model_type != "bert":  # other heads are put together otherwise
        logits: torch.Tensor = net(input_ids=ids, attention_mask=attention).logits
        return _at(logits, places)
    hidden = net.bert(input_ids=ids, attention_mask=attention).last_hidden_state
    named: torch.Tensor = net.cls(_at(hidden, places))
    return named


def _at(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(B, L, D) → (B, K, D)."""
    return values.gather(1, places[:, :, None].expand(-1, -1, values.shape[-1]))
