"""IDX files as data of the task `image-classification`."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from novum import DataError, Examples, Recipe, Seed, Split
from novum.config import parse
from novum_vision.classification import ImageClassification
from novum_vision.images import moments

DATA = os.environ.get("NOVUM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="NOVUM_DATA, the folder of real data sets, is not set")


def task(**options: Any) -> ImageClassification:
    return ImageClassification(parse(ImageClassification.Config, options, "task 'image-classification'"))


def opened(which: ImageClassification, part: Split = Split.TRAIN) -> Examples:
    source = which.source(part, Seed(0), Recipe(batch_size=8))
    assert isinstance(source, Examples)
    return source


def write_idx(folder: Path, count: int = 40, *, packed: bool = False) -> None:
    random = np.random.default_rng(count)
    for prefix, size in (("train", count), ("t10k", 10)):
        labels = (np.arange(size) % 4).astype(np.uint8)
        pixels = random.integers(0, 256, size=(size, 5, 3), dtype=np.uint8)
        head = np.array([size, 5, 3], dtype=">u4").tobytes()
        files = {
            f"{prefix}-images-idx3-ubyte": b"\0\0\x08\x03" + head + pixels.tobytes(),
            f"{prefix}-labels-idx1-ubyte": b"\0\0\x08\x01" + head[:4] + labels.tobytes(),
        }
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_give_dev_from_train_and_t10k_as_test(tmp_path: Path, packed: bool) -> None:
    write_idx(tmp_path, packed=packed)

    sources = {part: opened(task(data=str(tmp_path)), part) for part in Split}

    assert [source.size for source in sources.values()] == [36, 4, 10]
    assert all(source.inputs.shape[1:] == (1, 5, 3) for source in sources.values())
    assert set(sources[Split.TRAIN].ids).isdisjoint(sources[Split.DEV].ids)
    assert sources[Split.TEST].ids[0] == "t10k-000000"
    assert np.asarray(sources[Split.TEST].targets).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    random = np.random.default_rng(40)
    original = random.integers(0, 256, size=(40, 5, 3), dtype=np.uint8)
    first = sources[Split.TRAIN].ids[0]
    np.testing.assert_array_equal(sources[Split.TRAIN].inputs[0, 0], original[int(first.removeprefix("train-"))])


@needs_data
def test_fashion_mnist_has_its_published_mean_deviation_and_centroid_score() -> None:
    which = task(data=f"{DATA}/image_classification/fashion_mnist")

    sources = {part: opened(which, part) for part in Split}
    baseline = which.observe()["baseline.accuracy"].value

    assert [source.size for source in sources.values()] == [54_000, 6_000, 10_000]
    whole = np.concatenate([sources[Split.TRAIN].inputs, sources[Split.DEV].inputs])
    mean, deviation = moments(whole)
    assert (round(mean[0], 4), round(deviation[0], 4)) == (0.2860, 0.3530)
    assert isinstance(baseline, float)
    assert baseline == pytest.approx(0.6768, abs=0.02)  # published for t10k, here on a tenth of train


def _swap_magic(path: Path) -> None:
    path.write_bytes(b"\0\0\x0d\x03" + path.read_bytes()[4:])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _misnamed(path: Path) -> None:
    path.rename(path.with_suffix(".gz"))


def _other_count(path: Path) -> None:
    write_idx(path.parent / "other", count=44)
    shutil.copy(path.parent / "other" / path.name, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_swap_magic, "begins with 00000d03 instead of 00000803"),
        (_cut, "promises 40 × 5 × 3 = 600 values and holds 599"),
        (_misnamed, r"idx3-ubyte\.gz cannot be read \(BadGzipFile"),
        (_other_count, "44 images in train-images-idx3-ubyte, but 40 labels"),
        (Path.unlink, "neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"),
        (lambda path: path.write_bytes(b""), "begins with nothing"),
    ],
)
def test_a_damaged_idx_file_is_refused_and_named(tmp_path: Path, damage: Any, message: str) -> None:
    write_idx(tmp_path)
    damage(tmp_path / "train-images-idx3-ubyte")

    with pytest.raises(DataError, match=message):
        task(data=str(tmp_path)).signature()
