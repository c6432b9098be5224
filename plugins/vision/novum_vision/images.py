"""Labelled images in memory, and how a data set is divided, limited to some classes and fingerprinted.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from novum import ConfigError, DataError, content_hash, split

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Images:
    """Some labelled images.

    pixels: uint8 (N, C, H, W), values 0 to 255, read only. labels: int64 (N,), positions in `Dataset.names`.
    ids: N unique names. stored: int64 (N, 2), height and width in the file, before any resizing.
    """

    pixels: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    stored: np.ndarray

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)  # the arrays outlive a trial, so no trial may change them

    def take(self, rows: np.ndarray) -> Images:
        """These images, in this order."""
        return Images(self.pixels[rows], self.labels[rows], tuple(self.ids[row] for row in rows), self.stored[rows])


@dataclass(frozen=True)
class Dataset:
    """All splits of a data set: "train", "dev" and "test". Some of its classes may have no image."""

    names: tuple[str, ...]
    splits: Mapping[str, Images]

    def keep(self, classes: tuple[str, ...]) -> Dataset:
        """Only these classes, in the data set's order; none given means all.

        Raises ConfigError for a class that does not exist, and DataError when fewer than two are left or one
        has no training image.
        """
        unknown = [name for name in classes if name not in self.names]
        if unknown:
            raise ConfigError(
                f"task 'image-classification': option 'classes' names {unknown[0]!r}, which the data do not have; "
                f"allowed: {', '.join(self.names)}."
            )
        kept = [at for at, name in enumerate(self.names) if not classes or name in classes]
        names = tuple(self.names[at] for at in kept)
        if len(names) < 2:
            raise DataError(
                f"the data have {len(names)} class ({', '.join(names)}), and a classification needs at least two; "
                "give the folder that holds one folder per class, or name more in the option 'classes'."
            )
        position = np.full(len(self.names), -1, dtype=np.int64)
        position[kept] = np.arange(len(kept))
        found = self.splits
        if len(kept) < len(self.names):
            found = {part: each.take(np.flatnonzero(position[each.labels] >= 0)) for part, each in found.items()}
            found = {
                part: Images(each.pixels, position[each.labels], each.ids, each.stored) for part, each in found.items()
            }
        absent = sorted(set(range(len(names))) - set(found["train"].labels.tolist()))
        if absent:
            raise DataError(
                f"the class {names[absent[0]]!r} has no training image ({len(absent)} of {len(names)} classes have "
                "none); add images of it, or leave it out with the option 'classes'."
            )
        return Dataset(names, found)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over class names and, split by split, ids, labels and pixels."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        for part in SPLITS:
            images = self.splits[part]
            digest.update(json.dumps([part, images.pixels.shape, images.ids]).encode())
            digest.update(images.labels.astype("<i8").tobytes())
            digest.update(np.ascontiguousarray(images.pixels).data)
        return digest.hexdigest()


def divide(names: tuple[str, ...], given: Mapping[str, Images], dev: float, test: float) -> Dataset:
    """Complete the splits: what is not given is taken from "train" by these shares, class by class.

    A unit's split follows from its id, so it stays the same whatever classes are kept afterwards. Equal images are
    never parted.
    Raises DataError when a split would stay empty.
    """
    shares = {"dev": 0.0 if "dev" in given else dev, "test": 0.0 if "test" in given else test}
    if not any(shares.values()):
        return Dataset(names, dict(given))
    whole = given["train"]
    content = [content_hash(pixels) for pixels in whole.pixels]
    rows = split(whole.ids, **shares, stratify=whole.labels.tolist(), content=content)
    taken = {part: whole.take(rows[part]) for part in SPLITS if part == "train" or shares[part] > 0}
    return Dataset(names, {**given, **taken})


@functools.lru_cache(maxsize=8)
def dataset(
    data: str, size: int | None, channels: int | None, dev: float, test: float, classes: tuple[str, ...]
) -> Dataset:
    """Read a data set once per process; files changed meanwhile are seen by the next process.

    data: "digits" or a resolved path. size, channels: of an image folder alone; None means 32 and 3.
    Raises DataError (see the readers) and ConfigError.
    """
    if classes:
        return dataset(data, size, channels, dev, test, ()).keep(classes)
    from novum_vision import folders, idx

    path = Path(data)
    if data != "digits" and not path.is_dir():
        raise DataError(
            f"task 'image-classification': option 'data' is {data!r}, which is no folder; allowed: 'digits', a folder "
            "with one folder of images per class (or with such folders under train/, dev/ and test/), or a folder of "
            "IDX files."
        )
    if data == "digits" or idx.holds(path):
        if size is not None or channels is not None:
            raise ConfigError(
                f"task 'image-classification': options 'size' and 'channels' are for image folders; {data!r} holds "
                f"grey images of one size (received size={size}, channels={channels}). Leave them out; models resize "
                "by their own option."
            )
        return divide(*(_digits() if data == "digits" else idx.read(path)), dev, test)
    return divide(*folders.read(path, 32 if size is None else size, 3 if channels is None else channels), dev, test)


def _digits() -> tuple[tuple[str, ...], dict[str, Images]]:
    """1,797 handwritten digits of 8 × 8 pixels that come with scikit-learn (Alpaydin & Kaynak 1998).

    Read from its file: importing scikit-learn takes a second in every trial, and starts threads where pyarrow is
    installed, so that workers could not share the import.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("the data 'digits' come with scikit-learn, which is not installed; pip install scikit-learn.")
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)  # a row an image: 64 pixels, then the digit
    except (OSError, ValueError) as error:
        raise DataError(f"the data 'digits' cannot be read from {file} ({error}); install scikit-learn anew.") from None
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[:, None]  # stored as 0 to 16
    ids = tuple(f"digits-{row:04}" for row in range(len(pixels)))
    stored = np.full((len(pixels), 2), 8, dtype=np.int64)
    return tuple("0123456789"), {"train": Images(pixels, table[:, -1], ids, stored)}


def moments(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all images and positions, on the scale 0 to 1.

    pixels: uint8 (N, C, H, W), N at least 1. Sums are of integers, so the numbers are equal on every machine.
    """
    values = np.arange(256)
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(pixels), 1000):  # bincount widens its input to 64 bits
            counts += np.bincount(pixels[start : start + 1000, channel].ravel(), minlength=256)
        total, first, second = int(counts.sum()), int(counts @ values), int(counts @ values**2)
        means.append(first / total / 255)
        deviations.append(((total * second - first**2) / total**2) ** 0.5 / 255)
    return tuple(means), tuple(deviations)
