"""Data sets of the Hugging Face hub, through the package `datasets` (the extra `hub`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from novum import ConfigError, DataError, PluginError

from novum_text.tables import Table, table

PREFIX = "hf:"
_NAME = re.compile(r"(?P<path>[^:@]+)(?::(?P<config>[^:@]+))?(?:@(?P<revision>[^:@]+))?")
_SPLITS = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}


def read(data: str, text: str, label: str, group: str = "") -> dict[str, Table]:
    """Read "hf:NAME", "hf:NAME:CONFIGURATION" or either with "@REVISION" → tables of "train", "dev", "test".

    A split that the data set lacks, or whose labels are all hidden (-1), is absent from the answer. Numbered
    classes get their names.

    Raises ConfigError for a malformed name, PluginError when `datasets` is not installed, and DataError when the
    data set cannot be had, has no `train`, or lacks a column.
    """
    match = _NAME.fullmatch(data.removeprefix(PREFIX))
    if match is None:
        raise ConfigError(f"data: {data!r} is malformed; write 'hf:NAME', 'hf:NAME:CONFIGURATION' or '…@REVISION'.")
    try:
        import datasets
    except ImportError as error:
        raise PluginError(
            f"data: {data!r} needs the package `datasets`, which is not installed ({error}); "
            "install it with `pip install 'novum-text[hub]'`, or give a file."
        ) from None
    try:
        whole = datasets.load_dataset(match["path"], match["config"], revision=match["revision"])
    except Exception as error:  # its network layer and its readers raise many kinds; all mean that there is no data
        raise DataError(
            f"data: {data!r} could not be loaded ({type(error).__name__}: {error}); check the name and the network. "
            "Where there is none, fill the cache on another machine and set HF_HUB_OFFLINE=1, or give a file."
        ) from error
    found: dict[str, Table] = {}
    for split, names in _SPLITS.items():
        given = next((name for name in names if name in whole), None)
        if given is not None and not _hidden(whole[given], label):
            found[split] = table(f"{data} {given}", _rows(whole[given], label), text, label, group)
    if "train" not in found:
        raise DataError(f"data: {data!r} has no labelled split 'train'; it has: {', '.join(sorted(whole))}.")
    return found


def _hidden(part: Any, label: str) -> bool:
    numbered = label in part.features and hasattr(part.features[label], "int2str")
    return numbered and len(part) > 0 and set(part[label]) == {-1}


def _rows(part: Any, label: str) -> Iterator[dict[str, Any]]:
    feature = part.features.get(label)
    for row in part:
        number = row.get(label)
        if hasattr(feature, "int2str") and isinstance(number, int):
            # A single hidden label among known ones stays None, which `table` names with its row.
            row = {**row, label: feature.int2str(number) if number >= 0 else None}
        yield row
