"""Checkpoints of the library `transformers`: from a folder or the hub, from safetensors, without code of their own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import DataError

from novum_text.tokens import Tokens

if TYPE_CHECKING:
    from torch import nn

UNLIMITED = 1_000_000
"""A tokenizer that states no longest text says 1e30."""


def tokens(checkpoint: str, revision: str, max_length: int) -> Tokens:
    """The checkpoint's tokenizer, reading as many tokens as its positions allow, at most `max_length`.

    Raises DataError when it cannot be loaded or has no fast form (a tokenizer.json, or what one is made from).
    """
    from transformers import AutoConfig, AutoTokenizer

    where = _where(checkpoint, revision)
    with _quiet(), _named(checkpoint):
        tokenizer: Any = AutoTokenizer.from_pretrained(**where)
        config: Any = AutoConfig.from_pretrained(**where)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"checkpoint: {checkpoint!r} has a {type(tokenizer).__name__} without a fast form; choose a checkpoint "
            "with a tokenizer.json, or add one (`tokenizer.save_pretrained` of its fast class writes it)."
        )
    limit = int(min(tokenizer.model_max_length, UNLIMITED))
    positions = getattr(config, "max_position_embeddings", None)
    if limit == UNLIMITED and positions is not None:
        limit = positions - 2  # RoBERTa and its kin keep the first two positions for themselves
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    padding = next(int(each) for each in ids if each is not None)
    return Tokens(backend.to_str(), min(max_length, limit), padding, tokenizer.mask_token_id)


def fingerprint(checkpoint: str) -> str:
    """SHA-256 over names and contents of a local checkpoint's files; empty for anything that is no folder."""
    folder = Path(checkpoint)
    if not checkpoint or not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def network(checkpoint: str, revision: str, classes: Sequence[str], padding: int) -> nn.Module:
    """The checkpoint's network in float32 with a head for these classes; a head of another size is drawn anew.

    Raises DataError when it cannot be loaded, or has no safetensors.
    """
    from transformers import AutoModelForSequenceClassification

    net = _loaded(AutoModelForSequenceClassification, checkpoint, revision, **head(classes))
    if net.config.get_text_config().pad_token_id is None:
        net.config.get_text_config().pad_token_id = padding  # decoders read the last token before the padding
    whole: nn.Module = net
    return whole


def masked_network(checkpoint: str, revision: str) -> nn.Module:
    """The checkpoint's network in float32 with a head that names hidden tokens.

    Raises DataError when it cannot be loaded, has no safetensors, or is of a kind that never names hidden tokens.
    """
    from transformers import AutoModelForMaskedLM

    net: nn.Module = _loaded(AutoModelForMaskedLM, checkpoint, revision)
    return net


def _loaded(kind: Any, checkpoint: str, revision: str, **options: Any) -> Any:
    import torch

    with _quiet(), _named(checkpoint):
        return kind.from_pretrained(
            **_where(checkpoint, revision),
            **options,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )


def small(preparation: Tokens, network: Any, **options: Any) -> Any:
    """The configuration of a small BERT (Devlin et al. 2019) with this tokenizer. network: the options `layers`,
    `width`, `heads` and `dropout`. options: what its head needs.
    """
    from transformers import BertConfig

    return BertConfig(
        vocab_size=preparation.size,
        hidden_size=network.width,
        num_hidden_layers=network.layers,
        num_attention_heads=network.heads,
        intermediate_size=4 * network.width,
        hidden_dropout_prob=network.dropout,
        attention_probs_dropout_prob=network.dropout,
        max_position_embeddings=preparation.max_length,
        pad_token_id=preparation.padding,
        **options,
    )


def head(classes: Sequence[str]) -> dict[str, Any]:
    """What a Hugging Face configuration says of its classes."""
    names = dict(enumerate(classes))
    return {"num_labels": len(names), "id2label": names, "label2id": {name: at for at, name in names.items()}}


def _where(checkpoint: str, revision: str) -> dict[str, Any]:
    folder = Path(checkpoint).expanduser()
    if checkpoint.startswith((".", "/", "~")) and not folder.is_dir():
        raise DataError(
            f"checkpoint: there is no folder {checkpoint!r} (looked for {folder.absolute()}); give a folder that "
            "`save_pretrained` wrote, with its tokenizer, or a name on the Hugging Face hub."
        )
    local = folder.is_dir()
    place = {"pretrained_model_name_or_path": str(folder) if local else checkpoint, "trust_remote_code": False}
    return place | ({"revision": revision} if revision and not local else {})


@contextmanager
def _named(checkpoint: str) -> Iterator[None]:
    """What goes wrong inside → a DataError that says what to do."""
    try:
        yield
    except Exception as error:  # the hub, its cache and the readers raise many kinds; all mean: not to be had
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"checkpoint: {checkpoint!r} could not be loaded ({type(error).__name__}: {reason}). It must be a folder "
            "with config.json, *.safetensors and a tokenizer, or a name on the Hugging Face hub. Without a network, "
            "download it elsewhere (`hf download NAME --local-dir FOLDER`) and give the folder, or fill the cache and "
            "set HF_HUB_OFFLINE=1."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither progress bars nor advice from `transformers` in this block; its settings return afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
