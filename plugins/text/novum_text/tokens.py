"""Texts → token ids: what the model `transformer` prepares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum import Prediction, Preparation

if TYPE_CHECKING:
    import torch
    from novum import Source

PAD, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


class Tokens(Preparation):
    """A tokenizer of the library `tokenizers`, with the longest text that the network reads.

    padding: the id that fills a batch's shorter rows. max_length: tokens kept of a text, special ones included.
    """

    def __init__(self, tokenizer_json: str, max_length: int, padding: int) -> None:
        from tokenizers import Tokenizer

        self.max_length = max_length
        self.padding = padding
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.no_padding()

    @classmethod
    def fit(cls, train: Source, vocabulary: int, max_length: int) -> Tokens:
        """Byte-pair encoding (Sennrich et al. 2016) fitted on the texts of `train`; at least as many tokens as it
        has distinct characters.

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
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN, FIRST, LAST], show_progress=False
        )
        tokenizer.train_from_iterator(_texts(train), trainer)
        special = [(name, tokenizer.token_to_id(name)) for name in (FIRST, LAST)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{FIRST} $A {LAST}", special_tokens=special)
        return cls(tokenizer.to_str(), max_length, tokenizer.token_to_id(PAD))

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
        return {"tokenizer.json": self._tokenizer.to_str().encode(), "tokens.json": json.dumps(state).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Tokens:
        state = json.loads(files["tokens.json"])
        return cls(files["tokenizer.json"].decode(), state["max_length"], state["padding"])


def _texts(train: Source) -> Iterator[str]:
    for batch in train.each(_unasked):
        yield from batch.inputs


def _unasked(inputs: Any, ids: Sequence[str] = (), explore: bool = False) -> Prediction:
    raise AssertionError("a source of texts has no use for a model")
