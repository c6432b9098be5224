"""A transformer of which only a part is trained, where it begins with weights from elsewhere."""

from __future__ import annotations

from typing import Any

import novum
import pytest
import torch
from novum import Weights
from novum.runner.parts import Parts
from novum.runner.train import Trainer
from novum.seeds import trial_seed
from torch import nn

TINY = {"layers": 1, "width": 32, "heads": 2, "max_length": 24, "vocabulary": 500}


def trainer(plugin: str, task: str, start: Any = None, **options: Any) -> Trainer:
    data = novum.task(task, data="stdlib-docs", classes=["email", "asyncio"])
    arm = novum.arm(data, novum.model(plugin, **TINY, **options), batch_size=8, budget="64 samples")
    parts = Parts.of(arm.to_json())
    where = trial_seed(0, "b", 0)
    return Trainer(parts, where, units=64, device_kind="cpu", precision="fp32", start=start)


def moved(made: Trainer) -> set[str]:
    before = {name: own.detach().clone() for name, own in made.net.named_parameters()}
    made.run()
    return {name for name, own in made.net.named_parameters() if not torch.equal(before[name], own)}


@pytest.fixture(scope="module")
def parent() -> tuple[dict[str, torch.Tensor], Any]:
    """A language model of the same size, after a few steps."""
    made = trainer("masked-transformer", "masked-language-modelling")
    made.run()
    net: nn.Module = made.net
    return net.state_dict(), made.preparation


def test_with_the_head_alone_the_pooler_that_it_reads_is_trained_with_it(parent: Any) -> None:
    found = moved(trainer("transformer", "text-classification", (Weights(parent[0]), parent[1]), trained="head"))

    assert found == {
        *("classifier.weight", "classifier.bias"),
        *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
    }


def test_with_biases_what_came_from_the_language_model_moves_in_one_dimension(parent: Any) -> None:
    found = moved(trainer("transformer", "text-classification", (Weights(parent[0]), parent[1]), trained="biases"))

    below = {name for name in found if name.startswith("bert.") and ".pooler." not in name}
    assert below
    assert all(name.endswith(("bias", "LayerNorm.weight")) for name in below)


def test_without_a_start_all_is_trained() -> None:
    found = moved(trainer("transformer", "text-classification", trained="head"))

    assert "bert.embeddings.word_embeddings.weight" in found
