"""The model `transformer`: a checkpoint for sequence classification, or a small BERT trained from nothing.

Shapes: B texts of a batch, L tokens of its longest text, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from novum import Batch, Loss, Model, Prediction, Recipe, Signature
from pydantic import Field

from novum_text import checkpoints
from novum_text.network import Network
from novum_text.tokens import Tokens

if TYPE_CHECKING:
    import torch
    from novum import Seed, Source, Weights
    from torch import nn


class Transformer(Model):
    """A Hugging Face transformer that classifies texts."""

    class Config(Network):
        """A checkpoint, or the size of a network of its own, and how its classes are learned."""

        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the target that is spread evenly over all classes."""

    preparation = Tokens
    imports = ("transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert")
    inputs = ("text",)
    outputs = ("classes",)

    config: Config

    def recipe(self, signature: Signature) -> Recipe:
        """For a checkpoint what BERT was fine-tuned with (Devlin et al. 2019, appendix A.3: 5e-5, batches of 16, 3
        epochs), for a network from nothing a higher rate and a longer budget.
        """
        if self.config.checkpoint:
            return Recipe(
                budget="3 epochs",
                batch_size=16,
                learning_rate=5e-5,
                schedule="linear",
                warmup=0.1,
                weight_decay=0.01,
                clip=1.0,
            )
        return Recipe(
            budget="10 epochs",
            batch_size=32,
            learning_rate=2e-3,
            schedule="linear",
            warmup=0.1,
            weight_decay=0.01,
            clip=1.0,
        )

    def fingerprint(self) -> str:
        """SHA-256 over the files of a local checkpoint; empty for a name on the hub (its `revision` says which) and
        for a network from nothing.
        """
        return checkpoints.fingerprint(self.config.checkpoint)

    def prepare(self, signature: Signature, train: Source) -> Tokens:
        """The checkpoint's own tokenizer, or one fitted on the texts of `train`.

        Raises DataError when the checkpoint cannot be loaded.
        """
        if self.config.checkpoint:
            return checkpoints.tokens(self.config.checkpoint, self.config.revision, self.config.max_length)
        return Tokens.fit(train, self.config.vocabulary, self.config.max_length)

    def build(self, signature: Signature, preparation: Tokens, seed: Seed, start: Weights | None) -> nn.Module:
        """A Hugging Face model: token ids and attention mask (B, L) → an output with logits (B, C).

        Raises DataError when the checkpoint cannot be loaded, MismatchError when nothing of `start` fits.
        """
        classes: tuple[str, ...] = signature.outputs.names
        if self.config.checkpoint:
            net = checkpoints.network(self.config.checkpoint, self.config.revision, classes, preparation.padding)
        else:
            from transformers import BertForSequenceClassification

            net = BertForSequenceClassification(
                checkpoints.small(preparation, self.config, **checkpoints.head(classes))
            )
        if start is not None:
            start.copy_into(net)
        return net

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """The cross-entropy, once."""
        inputs = batch.inputs
        yield Loss(self._cross_entropy, (inputs["input_ids"], inputs["attention_mask"], batch.targets))

    def _cross_entropy(
        self, net: nn.Module, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        logits = net(input_ids=ids, attention_mask=mask).logits
        return cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest class, with all probabilities."""
        probabilities = net(**inputs).logits.softmax(-1)
        return Prediction(value=probabilities.argmax(-1), probabilities=probabilities)
