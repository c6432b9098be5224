"""The task `text-classification`: texts of any script, each of one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from novum import Classes, DataError, Examples, Signature, Split, Task, Text
from pydantic import Field

from novum_text.corpus import Corpus, CorpusConfig, Part, load

if TYPE_CHECKING:
    from novum import Observation, Recipe, Seed


class TextClassification(Task):
    """Name the class of a text. Splits are fixed by the texts themselves, whatever the seed."""

    evaluator = "classification"

    class Config(CorpusConfig):
        """Which texts, how they are divided, and how many of them a trial sees."""

        label: Annotated[str, Field(min_length=1)] = "label"
        """Name of the column that holds the classes."""
        per_class: Annotated[int, Field(ge=0)] = 0
        """At most so many training texts of each class, drawn anew for every seed; 0 means all. dev and test stay
        whole."""

    config: Config

    def signature(self) -> Signature:
        """Texts in, class names out, sorted. Reads the data."""
        return Signature(Text(), Classes(self._corpus().names))

    def observe(self) -> Observation:
        """Size, balance, lengths, duplicates, a naive Bayes baseline and what cleaning dropped; chance is the
        share of the largest class in train, the reference 1.
        """
        from novum_text.facts import observe

        return observe(self._corpus(), self.config.per_class)

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Examples:
        """Texts in the data's own order; training shuffles them, and draws `per_class` of them, from `seed`."""
        corpus = self._corpus()
        part = corpus.parts[split]
        rows = list(range(len(part.texts)))
        if split is Split.TRAIN and self.config.per_class:
            rows = _draw(part, corpus.names, self.config.per_class, seed)
        return Examples(
            [part.texts[row] for row in rows],
            part.targets[rows],
            [part.ids[row] for row in rows],
            seed=seed,
            batch_size=recipe.batch_size,
            hashes=[part.hashes[row] for row in rows],
        )

    def fingerprint(self) -> str:
        """SHA-256 over every split's texts and labels, and over the Python version for 'stdlib-docs'."""
        return self._corpus().fingerprint

    def _corpus(self) -> Corpus:
        corpus, data = load(self.config), self.config.data
        if len(corpus.names) < 2:
            raise DataError(
                f"data: train of {str(data if isinstance(data, str) else data.train)!r} has {len(corpus.names)} class "
                f"({', '.join(corpus.names)}); a classification needs at least two: check the options `label` and "
                "`classes`."
            )
        return corpus


def _draw(part: Part, names: tuple[str, ...], count: int, seed: Seed) -> list[int]:
    """At most `count` rows of each class, ascending. With one seed, a smaller draw is part of every larger one."""
    import numpy as np

    found: list[int] = []
    for position, name in enumerate(names):
        rows = np.flatnonzero(part.targets == position)
        found += seed.child("per_class", name).numpy().permutation(rows)[:count].tolist()
    return sorted(found)
