"""The plugin keeps the contracts that every plugin keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from novum.testing import ModelContract, TaskContract
from novum_vision.classification import ImageClassification
from novum_vision.timm import Timm

SMALL = {"plugin": ImageClassification, "data": "digits", "classes": ("0", "1", "2"), "per_class": 20}


class TestImageClassification(TaskContract):
    options = {"classes": ("0", "1", "2")}
    changed = {"classes": ("0", "1", "3")}

    @pytest.fixture
    def plugin(self) -> Any:
        return "image-classification"


class TestDrawnDigits(TaskContract):
    """Each trial sees other training images."""

    options = {"classes": ("0", "1", "2"), "per_class": 20}
    changed = {"classes": ("0", "1", "3")}

    @pytest.fixture
    def plugin(self) -> Any:
        return ImageClassification


class TestAFolderOfImages(TaskContract):
    """Of which some are the same: Novum's division keeps them together."""

    @pytest.fixture
    def plugin(self, tmp_path: Path) -> Any:
        from PIL import Image

        draw = np.random.default_rng(0)
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True)
            for number in range(30):
                pixels = draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
                Image.fromarray(pixels).save(folder / f"copy-of-{number}.png")
        self.options = {"data": str(tmp_path / "data"), "size": 8}
        return ImageClassification


class TestTimm(ModelContract):
    options = {"size": 8}
    task = SMALL

    @pytest.fixture
    def plugin(self) -> Any:
        return "timm"


class TestTimmWithDropout(ModelContract):
    options = {"size": 8, "drop_rate": 0.3, "label_smoothing": 0.1}
    task = SMALL

    @pytest.fixture
    def plugin(self) -> Any:
        return Timm
