"""Words of any script, and n-grams of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-cased words; each Chinese or Japanese character (these scripts put no spaces) and each punctuation
    mark is a word of its own.
    """
    return _WORD.findall(text.lower())


def ngrams(tokens: Sequence[str], low: int, high: int) -> set[str]:
    """The distinct runs of `low` to `high` words, joined by spaces; none where `high` is 0."""
    return {
        " ".join(tokens[at : at + length])
        for length in range(max(low, 1), high + 1)
        for at in range(len(tokens) - length + 1)
    }
