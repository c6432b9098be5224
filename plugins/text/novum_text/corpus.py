"""A corpus: labelled texts, cleaned, divided into train, dev and test, with their fingerprint."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from novum import Config, ConfigError, DataError, Split, content_hash, split
from pydantic import Field, model_validator

from novum_text import hub, stdlib_docs
from novum_text.tables import Table, nearest, read


class Files(Config):
    """A data set's own division."""

    train: str
    """Path of the training file."""
    dev: str = ""
    """Path of the file that experiments score on; empty: the share `split.dev` is taken out of `train`."""
    test: str = ""
    """Path of the file that confirms claims; empty: the share `split.test` is taken out of `train`."""


class Division(Config):
    """How one file is divided. Equal texts are never parted."""

    dev: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the texts for `dev`; with `test` it must stay below 1."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the texts for `test`."""
    stratify: bool = True
    """Divide every class by the same shares."""
    group: str = ""
    """A column (a document, an author) whose equal values are never parted; empty: none."""

    @model_validator(mode="after")
    def _leave_some(self) -> Division:
        if self.dev + self.test >= 1:
            raise ValueError(f"dev={self.dev} and test={self.test} leave nothing for train; keep their sum below 1")
        return self


class Clean(Config):
    """What is dropped before anything else sees it; the counts are facts of `observe`."""

    drop_empty: bool = False
    """Drop texts without any visible character."""
    drop_duplicates: bool = False
    """Drop texts that occur earlier in their split."""
    drop_leaked: bool = False
    """Drop from `train` what also stands in `dev` or `test`, and from `dev` what also stands in `test`."""


class CorpusConfig(Config):
    """Which texts, and how they are divided."""

    data: str | Files = stdlib_docs.NAME
    """'stdlib-docs' (built in: docstring paragraphs of this Python's standard library, by module); the path of a
    .csv, .tsv or .jsonl file; a table { train = …, dev = …, test = … } of such paths; or 'hf:NAME',
    'hf:NAME:CONFIGURATION', '…@REVISION' for a Hugging Face data set (needs novum-text[hub])."""
    text: str = "text"
    """Name of the column that holds the texts."""
    label: str = "label"
    """Name of the column that holds the classes."""
    split: Division = Division()
    """How to divide data that brings no dev or test of its own."""
    clean: Clean = Clean()
    """What to drop."""
    classes: tuple[str, ...] = ()
    """Names of the classes to keep; empty keeps all."""

    @model_validator(mode="after")
    def _no_idle_options(self) -> CorpusConfig:
        if self.data == "":
            raise ValueError("data is empty; give 'stdlib-docs', a file, a table of files, or 'hf:NAME'")
        if self.data == stdlib_docs.NAME:
            for name, value, default in (
                ("text", self.text, "text"),
                ("label", self.label, "label"),
                ("split.group", self.split.group, ""),
            ):
                if value != default:
                    raise ValueError(f"{name} = {value!r} names a column, but 'stdlib-docs' has none; drop it")
        return self


@dataclass(frozen=True)
class Part:
    """One split. targets: int64 positions in `Corpus.names`, read-only. ids: unique; equal ids mean equal texts."""

    texts: tuple[str, ...]
    targets: np.ndarray
    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    groups: tuple[str, ...] | None


@dataclass(frozen=True)
class Corpus:
    """names: the classes, sorted. dropped: rows that cleaning took away, by fact id. python: the version whose
    library was read, else "".
    """

    names: tuple[str, ...]
    parts: Mapping[Split, Part]
    dropped: Mapping[str, int]
    fingerprint: str
    python: str


def load(config: CorpusConfig) -> Corpus:
    """Read, check and divide; once per process as long as the files stay as they are.

    Raises ConfigError for classes that do not exist, PluginError when `datasets` is needed and missing, and
    DataError for everything that is wrong with the data.
    """
    asked = {name: getattr(config, name) for name in CorpusConfig.model_fields}
    text = json.dumps({name: _plain(value) for name, value in asked.items()}, sort_keys=True)
    return _load(text, tuple(_stamp(path) for path in _paths(config.data)))


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, Config) else value


def _paths(data: str | Files) -> list[str]:
    if isinstance(data, Files):
        return [path for path in (data.train, data.dev, data.test) if path]
    return [] if data == stdlib_docs.NAME or data.startswith(hub.PREFIX) else [data]


def _stamp(file: str) -> tuple[str, int, int]:
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        return str(path), 0, 0  # the reader names what is wrong
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4)
def _load(text: str, stamps: tuple[tuple[str, int, int], ...]) -> Corpus:
    del stamps  # only part of the key: a file that changed is read again
    config = CorpusConfig.model_validate_json(text)
    tables = _divide(_chosen(_tables(config), config.classes), config.split)
    tables, dropped = _cleaned(tables, config.clean)
    names = tuple(sorted(set(tables["train"].labels)))
    _check(tables, names)
    python = platform.python_version() if config.data == stdlib_docs.NAME else ""
    parts = {Split(split): _part(table, names) for split, table in tables.items()}
    return Corpus(names, parts, dropped, _fingerprint(tables, python), python)


def _tables(config: CorpusConfig) -> dict[str, Table]:
    data, columns = config.data, (config.text, config.label, config.split.group)
    if isinstance(data, Files):
        files = {"train": data.train, "dev": data.dev, "test": data.test}
        return {split: read(file, *columns) for split, file in files.items() if file or split == "train"}
    if data == stdlib_docs.NAME:
        return {"train": stdlib_docs.read()}
    if data.startswith(hub.PREFIX):
        return hub.read(data, *columns)
    return {"train": read(data, *columns)}


def _chosen(tables: Mapping[str, Table], classes: Sequence[str]) -> dict[str, Table]:
    if not classes:
        return dict(tables)
    known = {label for table in tables.values() for label in table.labels}
    for name in classes:
        if name not in known:
            raise ConfigError(f"classes: the data have no class {name!r}; {nearest(name, known)}.")
    return {
        split: table.keep(row for row, label in enumerate(table.labels) if label in classes)
        for split, table in tables.items()
    }


def _divide(tables: Mapping[str, Table], how: Division) -> dict[str, Table]:
    """Take what is missing out of `train`."""
    shares = {part: 0.0 if part in tables else getattr(how, part) for part in ("dev", "test")}
    if not any(shares.values()):
        return dict(tables)
    whole = tables["train"]
    rows = split(
        [content_hash(text) for text in whole.texts],
        dev=shares["dev"],
        test=shares["test"],
        stratify=whole.labels if how.stratify else None,
        group=whole.groups,
    )
    taken = {part: whole.keep(rows[part].tolist()) for part in ("train", *(part for part in shares if shares[part]))}
    return {part: taken.get(part) or tables[part] for part in ("train", "dev", "test")}


def _cleaned(tables: Mapping[str, Table], clean: Clean) -> tuple[dict[str, Table], dict[str, int]]:
    found = dict(tables)
    dropped: dict[str, int] = {}

    def drop(kind: str, kept: Mapping[str, list[int]]) -> None:
        for part, rows in kept.items():
            dropped[f"clean.{kind}"] = dropped.get(f"clean.{kind}", 0) + len(found[part].texts) - len(rows)
            found[part] = found[part].keep(rows)

    if clean.drop_empty:
        kept = {part: [row for row, text in enumerate(each.texts) if text.strip()] for part, each in found.items()}
        drop("empty", kept)
    if clean.drop_duplicates:
        drop("duplicates", {part: _first(each.texts) for part, each in found.items()})
    if clean.drop_leaked:
        test = set(found["test"].texts)
        later = {"train": test | set(found["dev"].texts), "dev": test}
        drop(
            "leaked",
            {part: [row for row, text in enumerate(found[part].texts) if text not in later[part]] for part in later},
        )
    return found, dropped


def _first(texts: Sequence[str]) -> list[int]:
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, row)
    return list(rows.values())


def _check(tables: Mapping[str, Table], names: Sequence[str]) -> None:
    for part, table in tables.items():
        if not table.texts:
            raise DataError(f"data: no text is left in {part!r} of {table.origin!r}; look at `clean` and `classes`.")
    known = set(names)
    for part in ("dev", "test"):
        strangers = Counter(label for label in tables[part].labels if label not in known)
        if strangers:
            name, count = strangers.most_common(1)[0]
            raise DataError(
                f"data: the class {name!r} occurs {count} times in {part} but never in train, which has "
                f"{len(names)} classes; {nearest(name, names)}. Correct the label, or list the classes to keep in "
                "`classes`."
            )


def _part(table: Table, names: Sequence[str]) -> Part:
    position = {name: at for at, name in enumerate(names)}
    targets = np.array([position[label] for label in table.labels], dtype=np.int64)
    targets.setflags(write=False)  # one corpus serves every source of the process
    hashes = tuple(content_hash(text) for text in table.texts)
    # The row makes an id readable and unique, the hash ties it to the content that an encoding is kept for.
    ids = tuple(f"{row}-{digest[:12]}" for row, digest in zip(table.rows, hashes, strict=True))
    return Part(table.texts, targets, ids, hashes, table.groups)


def _fingerprint(tables: Mapping[str, Table], python: str) -> str:
    digest = hashlib.sha256(f"novum-text corpus 1\n{python}\n".encode())
    for part in ("train", "dev", "test"):
        for text, label in zip(tables[part].texts, tables[part].labels, strict=True):
            digest.update(json.dumps([part, text, label], ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()
