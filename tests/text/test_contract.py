"""The plugin keeps the contracts that every plugin keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from novum.testing import EvaluatorContract, ModelContract, TaskContract

WORDS = {"fruit": ("apple", "pear", "plum"), "metal": ("iron", "tin", "zinc")}
NETWORK = {"layers": 1, "width": 32, "heads": 2, "max_length": 16}


def table(path: Path, rows: int = 40) -> str:
    """A file of labelled texts, each of which stands in it twice."""
    lines = [
        f"the {word} of {number} and {number * 7 % 5},{label}"
        for label, words in WORDS.items()
        for word in words
        for number in range(rows // 2)
    ]
    path.write_text("text,label\n" + "\n".join([*lines, *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return table(tmp_path_factory.mktemp("texts") / "texts.csv")


class TestTextClassification(TaskContract):
    """Equal texts stay together, and a changed file has another fingerprint."""

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.options = {"data": texts}
        return "text-classification"


class TestDrawnTexts(TaskContract):
    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.options = {"data": texts, "per_class": 20}
        return "text-classification"


class TestMaskedTexts(TaskContract):
    model = {"plugin": "masked-transformer", **NETWORK}

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.options = {"data": texts}
        return "masked-language-modelling"


class TestBag(ModelContract):
    options = {"dropout": 0.2}

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.task = {"plugin": "text-classification", "data": texts}
        return "bag"


class TestTransformer(ModelContract):
    options = NETWORK

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.task = {"plugin": "text-classification", "data": texts}
        return "transformer"


class TestMaskedTransformer(ModelContract):
    options = NETWORK

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.task = {"plugin": "masked-language-modelling", "data": texts}
        return "masked-transformer"


class TestMaskedTokens(EvaluatorContract):
    def perfect(self, batch: novum.Batch) -> novum.Prediction:
        """Two tokens that follow from the text, each named with certainty."""
        tokens = torch.tensor([[len(text) % 7, sum(map(ord, text)) % 11] for text in batch.inputs])
        return novum.Prediction(tokens, extras={"targets": tokens, "log_probabilities": torch.zeros(tokens.shape)})

    @pytest.fixture
    def plugin(self, texts: str) -> Any:
        self.task = {"plugin": "masked-language-modelling", "data": texts}
        return "masked-tokens"
