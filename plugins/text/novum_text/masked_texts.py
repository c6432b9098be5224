"""The task `masked-language-modelling`: texts alone, of which some tokens are hidden and to be named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from novum import Examples, Signature, Split, Task, Text

from novum_text.corpus import Corpus, CorpusConfig, load
from novum_text.masked_tokens import Hidden

if TYPE_CHECKING:
    from novum import Observation, Recipe, Seed


class MaskedTexts(Task):
    """Name the tokens that are hidden in a text (Devlin et al. 2019). No label is seen.

    With the same data, columns, `split`, `clean` and `classes` as a `text-classification` it has the very same splits,
    so that what starts from it has seen no text of `dev` or `test`. That is what the column `label` is read for: it
    decides how the texts are divided, and reaches no model.
    """

    evaluator = "masked-tokens"

    class Config(CorpusConfig):
        """Which texts, and how they are divided."""

        label: str = "label"
        """Name of the column by which the texts are divided evenly (see `split.stratify`); empty: there is none. Where
        an arm with labels starts from this one, the same as there."""

    config: Config

    def signature(self) -> Signature:
        """Texts in, hidden tokens out."""
        return Signature(Text(), Hidden())

    def observe(self) -> Observation:
        """Size, lengths, words, duplicates and what cleaning dropped; chance is the share of the most frequent word or
        mark of train, the reference 1.
        """
        from novum_text.facts import observe_texts

        return observe_texts(self._corpus())

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Examples:
        """Texts in the data's own order, without targets; training shuffles them from `seed`."""
        part = self._corpus().parts[split]
        return Examples(part.texts, None, part.ids, seed=seed, batch_size=recipe.batch_size, hashes=part.hashes)

    def fingerprint(self) -> str:
        """SHA-256 over every split's texts and labels, and over the Python version for 'stdlib-docs'."""
        return self._corpus().fingerprint

    def _corpus(self) -> Corpus:
        return load(self.config)
