"""Texts → token ids: what the models `transformer` and `masked-transformer` prepare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum import Prediction, Preparation

if TYPE_CHECKING:
    import torch
    from novum import Source

PAD, UNKNOWN, FIRST, LAST, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


class Tokens(Preparation):
    """A tokenizer of the library `tokenizers`, with the longest text that the network reads.

    padding: the id that fills a batch's shorter rows. max_length: tokens kept of a text, special ones included.
    mask: the id that hides a token; None where nothing is to be hidden.
    """

    def __init__(self, tokenizer_json: str, max_length: int, padding: int, mask: int | None = None) -> None:
        from tokenizers import Tokenizer

        self.max_length = max_length
        self.padding = padding
        self.mask = mask
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.no_padding()

    @classmethod
    def fit(cls, train: Source, vocabulary: int, max_length: int, *, masks: bool = False) -> Tokens:
        """Byte-pair encoding (Sennrich et al. 2016) fitted on the texts of `train`; at least as many tokens as it
        has distinct characters. masks: with a token that hides others.

        Text is split as BERT does: at spaces, at punctuation, around each Chinese character; case and accents go.
        "▁" marks the start of a word. Not WordPiece: its trainer numbers tokens in the order of a hash table, which
        differs from one process to the next, so that arms would no longer pair.
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

        tokenizer: Any = Tokenizer(models.BPE(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="always")]
        )
        marks = [PAD, UNKNOWN, FIRST, LAST, *([MASK] if masks else [])]
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=marks, show_progress=False)
        tokenizer.train_from_iterator(_texts(train), trainer)
        special = [(name, tokenizer.token_to_id(name)) for name in (FIRST, LAST)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{FIRST} $A {LAST}", special_tokens=special)
        return cls(tokenizer.to_str(), max_length, tokenizer.token_to_id(PAD), tokenizer.token_to_id(MASK))

    @property
    def special(self) -> tuple[int, ...]:
        """Ids that stand for no piece of a text, ascending: padding, ends, unknown, mask."""
        added = self._tokenizer.get_added_tokens_decoder()
        return tuple(sorted({self.padding, *(number for number, token in added.items() if token.special)}))

    @property
    def size(self) -> int:
        """Tokens in the vocabulary, special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, inputs: Sequence[str]) -> list[list[int]]:
        """1 to `max_length` token ids per text; a text without any token gets one of padding."""
        return [self._tokenizer.encode(text).ids or [self.padding] for text in inputs]

    def collate(self, encoded: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Two int64 tensors (B, L): "input_ids", and "attention_mask", 1 for a token and 0 for padding."""
        import torch

        longest = max(len(ids) for ids in encoded)
        ids = [[*row, *[self.padding] * (longest - len(row))] for row in encoded]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in encoded]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    def dump(self) -> dict[str, bytes]:
        """`tokenizer.json` as the library writes it, and `tokens.json`."""
        state = {"max_length": self.max_length, "padding": self.padding}
        state |= {} if self.mask is None else {"mask": self.mask}
        return {"tokenizer.json": self._tokenizer.to_str().encode(), "tokens.json": json.dumps(state).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Tokens:
        state = json.loads(files["tokens.json"])
        return cls(files["tokenizer.json"].decode(), state["max_length"], state["padding"], state.get("mask"))


def _texts(train: Source) -> Iterator[str]:
    for batch in train.each(_unasked):
        yield from batch.inputs


def _unasked(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise AssertionError("a source of texts has no use for a model")
