"""What `observe` says of a corpus, from `train` alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from novum import DataError, Fact, Observation, Scale, Split, Undefined, majority, split

from novum_text.corpus import Corpus, Part
from novum_text.words import ngrams, words

BASELINE_TEXTS = 20_000
"""At most so many texts are used by the baseline, so that observing takes seconds."""


def observe(corpus: Corpus, per_class: int) -> Observation:
    """Facts and scale. per_class: the most training texts of a class that a trial draws, or 0."""
    train = corpus.parts[Split.TRAIN]
    counts = np.bincount(train.targets, minlength=len(corpus.names))
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    chance = majority(train.targets.tolist())
    used = int(np.minimum(counts, per_class).sum()) if per_class else len(train.texts)
    facts = [
        Fact("train.size", used, "texts", "Texts that one trial trains on."),
        Fact("train.classes", len(corpus.names), "classes", "Classes in train."),
        Fact("train.majority", chance, "share", f"Share of the largest class, {corpus.names[largest]!r}."),
        Fact(
            "train.smallest",
            int(counts[smallest]),
            "texts",
            f"Texts of the smallest class, {corpus.names[smallest]!r}.",
        ),
        *_lengths(train),
        Fact(
            "baseline.accuracy",
            baseline(train, len(corpus.names), per_class),
            "share",
            "Naive Bayes over words and pairs of words, fitted on nine tenths of train, scored on the last tenth.",
        ),
    ]
    if per_class:
        facts.append(Fact("train.pool", len(train.texts), "texts", f"Texts from which {per_class} a class are drawn."))
    facts += _origin(corpus)
    return Observation(tuple(facts), Scale("accuracy", chance=chance, reference=1.0))


def observe_texts(corpus: Corpus) -> Observation:
    """Facts and scale where no label is seen. Words are those of `novum_text.words`, marks included: what a model's own
    tokenizer makes of them is near, and another one.
    """
    train = corpus.parts[Split.TRAIN]
    found = Counter(word for text in train.texts for word in words(text))
    if not found:
        raise DataError(
            f"data: none of the {len(train.texts)} texts of train has a word, so that none can be hidden; look at "
            "the option `text`."
        )
    (commonest, count), total = found.most_common(1)[0], found.total()
    facts = [
        Fact("train.size", len(train.texts), "texts", "Texts that one trial trains on."),
        Fact("train.words", total, "words", "Words and marks in train."),
        Fact("train.distinct", len(found), "words", "Distinct words and marks in train, in lower case."),
        Fact("train.majority", count / total, "share", f"Share of the most frequent of them, {commonest!r}."),
        *_lengths(train),
        *_origin(corpus),
    ]
    return Observation(tuple(facts), Scale("accuracy", chance=count / total, reference=1.0))


def _lengths(train: Part) -> list[Fact]:
    lengths = np.array([len(text) for text in train.texts])
    middle, long = (float(value) for value in np.percentile(lengths, [50, 95]))
    read = float(np.percentile([len(words(text)) for text in train.texts], 95))
    twice = len(train.hashes) - len(set(train.hashes))
    blank = sum(not text.strip() for text in train.texts)
    return [
        Fact("train.length.median", middle, "characters", "Median length of a text."),
        Fact("train.length.p95", long, "characters", "95th percentile of the lengths."),
        Fact("train.length.words.p95", read, "words", "95th percentile of the words and marks of a text."),
        Fact("train.length.max", int(lengths.max()), "characters", "Length of the longest text."),
        Fact("train.duplicates", twice, "texts", "Texts of train that occur earlier in train."),
        Fact("train.empty", blank, "texts", "Texts without a visible character."),
    ]


def _origin(corpus: Corpus) -> list[Fact]:
    """Where the texts come from, and what cleaning took away."""
    facts = []
    if corpus.python:
        facts.append(Fact("data.python", corpus.python, "", "The Python whose standard library was read."))
    abouts = {
        "clean.empty": "Texts without a visible character that were dropped, in all splits.",
        "clean.duplicates": "Texts that occur earlier in their split and were dropped.",
        "clean.leaked": "Texts dropped from train or dev since they also stand in a later split.",
    }
    facts += [Fact(name, count, "texts", abouts[name]) for name, count in corpus.dropped.items()]
    return facts


def baseline(train: Part, classes: int, per_class: int) -> float | Undefined:
    """Accuracy (0 to 1) on a held back tenth of `train` of a multinomial naive Bayes over the presence of words
    and pairs of words with add-one smoothing (Wang & Manning 2012, "Baselines and Bigrams"); undefined when
    `train` is too small to hold any back.

    per_class: the most texts of one class that it is fitted on, or 0. Which texts are used follows from their
    content hashes, so nothing is drawn.
    """
    rows = sorted(range(len(train.texts)), key=lambda row: train.hashes[row])[:BASELINE_TEXTS]
    try:
        halves = split(
            [train.hashes[row] for row in rows],
            dev=0.1,
            test=0.0,
            stratify=[int(train.targets[row]) for row in rows],
            group=None if train.groups is None else [train.groups[row] for row in rows],
        )
    except DataError:
        return Undefined(f"train has {len(rows)} texts, too few to hold a tenth back")
    fit, held = ([rows[at] for at in halves[part]] for part in ("train", "dev"))
    if per_class:
        seen: Counter[int] = Counter()
        few = []
        for row in fit:
            seen[int(train.targets[row])] += 1
            if seen[int(train.targets[row])] <= per_class:
                few.append(row)
        fit = few
    bayes = NaiveBayes([train.texts[row] for row in fit], [int(train.targets[row]) for row in fit], classes)
    return sum(bayes.predict(train.texts[row]) == int(train.targets[row]) for row in held) / len(held)


class NaiveBayes:
    """Multinomial naive Bayes over the presence of words and pairs of words, add-one smoothing.

    Only counts above zero are kept, so memory grows with the texts, never with vocabulary times classes.
    """

    def __init__(self, texts: Sequence[str], targets: Sequence[int], classes: int) -> None:
        """targets: class positions, 0 to classes - 1, one per text."""
        self._counts: dict[str, Counter[int]] = defaultdict(Counter)
        totals = np.zeros(classes)
        for text, target in zip(texts, targets, strict=True):
            grams = ngrams(words(text), 1, 2)
            totals[target] += len(grams)
            for gram in grams:
                self._counts[gram][target] += 1
        sizes = np.bincount(np.asarray(targets, dtype=np.int64), minlength=classes)
        self._prior = np.log((sizes + 1) / (len(targets) + classes))
        self._floor = -np.log(totals + len(self._counts) + 1)  # log of the smoothed chance of a gram never seen there

    def predict(self, text: str) -> int:
        """Position of the likeliest class; grams that training never saw count for nothing."""
        score = self._prior.copy()
        for gram in sorted(ngrams(words(text), 1, 2)):  # sorted: sums of floats must not depend on a set's order
            if gram in self._counts:
                score += self._floor
                for target, count in self._counts[gram].items():
                    score[target] += math.log(count + 1)
        return int(score.argmax())
