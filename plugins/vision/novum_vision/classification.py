"""The task `image-classification`: which of some classes an image shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from novum import (
    Classes,
    Config,
    DataError,
    Examples,
    Fact,
    Image,
    Observation,
    Recipe,
    Scale,
    Seed,
    Signature,
    Source,
    Split,
    Task,
    Undefined,
    majority,
    split,
)
from pydantic import Field, model_validator

from novum_vision.images import Dataset, Images, dataset, moments


class Shares(Config):
    """Shares of the data for splits that it does not bring itself; taken from `train`, class by class."""

    dev: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share for dev, of what train and the splits taken from it hold together."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share for test, counted likewise."""

    @model_validator(mode="after")
    def _leave_some(self) -> Shares:
        if self.dev + self.test >= 1:
            raise ValueError(f"dev={self.dev} and test={self.test} leave nothing for train; keep them below 1 together")
        return self


class ImageClassification(Task):
    """Classification of images: scikit-learn's digits, an image folder, or IDX files."""

    class Config(Config):
        """Where the images are, and how many of them are used."""

        data: Annotated[str, Field(min_length=1)] = "digits"
        """"digits" (scikit-learn's 1,797 images of 8 x 8 pixels); a folder with one folder of images per class, or
        with such folders under train/, dev/ (or val/) and test/; or a folder of MNIST-like IDX files."""
        split: Shares = Shares()
        """Shares for the splits that the data do not bring: {dev, test}."""
        size: Annotated[int, Field(ge=1)] | None = None
        """Height and width to which the images of a folder are resized on reading; left out: 32. Not for digits and
        IDX files, which keep their own."""
        channels: Literal[1, 3] | None = None
        """3 to read the images of a folder in colour, 1 in grey; left out: 3. Not for digits and IDX files, which
        are grey."""
        classes: tuple[str, ...] = ()
        """Names of the classes to keep; empty keeps all. Each image stays in the split that it has without this."""
        per_class: Annotated[int, Field(ge=0)] = 0
        """At most this many training images of each class, drawn anew for each trial; 0 takes all. Dev and test
        stay whole."""

    imports = ("PIL.Image",)
    config: ImageClassification.Config

    def signature(self) -> Signature:
        """Reads the data. Raises DataError or ConfigError when they cannot be used."""
        data = self._data()
        channels, height, width = data.splits["train"].pixels.shape[1:]
        return Signature(Image(channels, height, width), Classes(data.names))

    def fingerprint(self) -> str:
        """SHA-256 over class names, split, ids, labels and pixels."""
        return self._data().fingerprint

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        """Raw units: uint8 (C, H, W), targets int64. With `per_class`, `seed` also draws the training images."""
        images = self._images(split, seed)
        return Examples(images.pixels, images.labels, images.ids, seed=seed, batch_size=recipe.batch_size)

    def observe(self) -> Observation:
        """Facts about the training images: with `per_class`, about one draw of them."""
        seed = Seed(0, ("observe",))
        source = self.source(Split.TRAIN, seed, Recipe())
        images = self._images(Split.TRAIN, seed)
        names = self._data().names
        counts = np.bincount(images.labels, minlength=len(names))
        smallest = int(counts.argmin())
        chance = majority(images.labels.tolist())
        _, channels, height, width = images.pixels.shape
        mean, deviation = moments(images.pixels.reshape(len(images.ids), 1, -1, width))
        found = source.hashes() or ()
        facts = (
            Fact("train.size", len(images.ids), "images", "Images in train."),
            Fact("train.classes", len(names), "classes", "Classes to tell apart."),
            Fact("train.majority", chance, "share", "Share of the most frequent class in train."),
            Fact("train.smallest_class", int(counts[smallest]), "images", f"Images of the rarest, {names[smallest]}."),
            Fact("train.duplicates", len(found) - len(set(found)), "images", "Images that occur earlier in train."),
            Fact("image.height", height, "pixels", "Height of every image as the model gets it."),
            Fact("image.width", width, "pixels", "Width of every image as the model gets it."),
            Fact("image.channels", channels, "channels", "1 for grey, 3 for red, green and blue."),
            Fact("image.stored", _sizes(images.stored), "pixels", "Height x width in the files, smallest to largest."),
            Fact("pixel.mean", mean[0], "of 0 to 1", "Mean over all pixels and channels of train."),
            Fact("pixel.deviation", deviation[0], "of 0 to 1", "Standard deviation over the same."),
            Fact(
                "baseline.accuracy",
                _baseline(images),
                "share",
                "Accuracy of the nearest class mean, fitted on nine tenths of train and scored on the last.",
            ),
        )
        return Observation(facts, Scale("accuracy", chance=chance, reference=1.0))

    def _data(self) -> Dataset:
        config = self.config
        data = config.data if config.data == "digits" else str(Path(config.data).expanduser().resolve())
        read = dataset(data, config.size, config.channels, config.split.dev, config.split.test, config.classes)
        return read if config.classes else read.keep(())  # `keep` is what checks the classes

    def _images(self, part: Split, seed: Seed) -> Images:
        data = self._data()
        images = data.splits[part]
        if part is not Split.TRAIN or not self.config.per_class:
            return images
        draw = seed.child("per_class")
        chosen = []
        for label, name in enumerate(data.names):
            rows = np.flatnonzero(images.labels == label)
            # A stream for each class, so that what is drawn of one does not depend on which others are kept.
            chosen.append(draw.child(name).numpy().permutation(rows)[: self.config.per_class])
        return images.take(np.sort(np.concatenate(chosen)))


def _sizes(stored: np.ndarray) -> str:
    low, high = stored.min(axis=0).tolist(), stored.max(axis=0).tolist()
    return f"{low[0]} x {low[1]}" + ("" if low == high else f" to {high[0]} x {high[1]}")


def _baseline(images: Images) -> float | Undefined:
    """Accuracy, 0 to 1, of the class with the nearest mean image (Euclidean distance over pixels)."""
    try:
        rows = split(images.ids, dev=0.1, test=0.0, stratify=images.labels.tolist())
    except DataError:
        return Undefined(f"the {len(images.ids)} training images are too few to hold back a tenth of each class")
    fit, held = rows["train"], rows["dev"]
    classes = np.unique(images.labels[fit])
    flat = images.pixels.reshape(len(images.ids), -1)
    means = np.stack([flat[fit][images.labels[fit] == each].mean(axis=0, dtype=np.float64) for each in classes])
    distances = (means**2).sum(axis=1) - 2 * flat[held].astype(np.float64) @ means.T  # less a constant per image
    return float((classes[distances.argmin(axis=1)] == images.labels[held]).mean())
