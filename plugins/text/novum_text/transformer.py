"""The model `transformer`: a checkpoint for sequence classification, or a small BERT trained from nothing.

Shapes: B texts of a batch, L tokens of its longest text, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from novum import Batch, Labels, Loss, Model, Prediction, Recipe, Signature, Tuning

from novum_text import checkpoints
from novum_text.network import Network
from novum_text.tokens import Tokens

if TYPE_CHECKING:
    import torch
    from novum import Seed, Source, Weights
    from torch import nn


class Transformer(Model):
    """A Hugging Face transformer that classifies texts."""

    class Config(Labels, Tuning, Network):
        """A checkpoint, or the size of a network of its own, and how its classes are learned."""

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
        below = [name for name, _ in net.named_parameters() if name.startswith(f"{net.base_model_prefix}.")]
        below = [name for name in below if ".pooler." not in name]  # what a head reads, and often new
        if start is not None:
            start.copy_into(net)
            below = below if self.config.checkpoint else [name for name in below if name in start.loaded]
        if start is not None or self.config.checkpoint:
            self.config.freeze(net, frozenset(below), ())
        return net

    def begin(self, net: nn.Module, signature: Signature, train: Source) -> None:
        """The weights of classes, where they are asked for."""
        self.config.begin(net, len(signature.outputs.names), train)

    def losses(self, net: nn.Module, batch: Batch) -> Iterator[Loss]:
        """The cross-entropy, once."""
        inputs = batch.inputs
        yield Loss(self._cross_entropy, (inputs["input_ids"], inputs["attention_mask"], batch.targets))

    def _cross_entropy(
        self, net: nn.Module, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        return self.config.loss(net, net(input_ids=ids, attention_mask=mask).logits, targets)

    def act(self, net: nn.Module, inputs: Any, explore: bool) -> Prediction:
        """The likeliest class, with all probabilities."""
        probabilities = net(**inputs).logits.softmax(-1)
        return Prediction(value=probabilities.argmax(-1), probabilities=probabilities)
