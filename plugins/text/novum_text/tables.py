"""Files of labelled texts: CSV, TSV and JSON Lines, UTF-8, with named columns."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum import DataError

READERS = ".csv, .tsv, .tab, .jsonl, .ndjson"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


@dataclass(frozen=True)
class Table:
    """Labelled texts, one row each.

    origin: where they come from, for messages. rows: what a person calls each row (its number, from 1, without
    the header), unique. groups: one name per row of what must never be parted, or None.
    """

    origin: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def keep(self, rows: Iterable[int]) -> Table:
        """The same table with these row positions alone, in this order."""
        chosen = list(rows)
        return Table(
            self.origin,
            tuple(self.texts[row] for row in chosen),
            tuple(self.labels[row] for row in chosen),
            tuple(self.rows[row] for row in chosen),
            None if self.groups is None else tuple(self.groups[row] for row in chosen),
        )


def read(file: str, text: str, label: str, group: str = "") -> Table:
    """Read a file by its extension.

    text, label: names of columns (of keys, in JSON Lines); group: another one, or "" for none. A label or group
    that is a number or a boolean in JSON is taken as its JSON text. Where label is "", every label is.

    Raises DataError, with the file and the row, for a file that is missing, of another kind, not UTF-8, empty or
    malformed, for a column that it has not, and for a row without label or group.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(
            f"data: there is no file {file!r} (looked for {path.absolute()}); give the path of an existing file of the "
            f"kind {READERS}, or 'stdlib-docs', or 'hf:NAME'."
        )
    readers = {".csv": _csv, ".tsv": _tsv, ".tab": _tsv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"data: {file!r} has the extension {path.suffix!r}; allowed: {READERS}. Convert or rename it.")
    return table(file, reader(file, _decode(path)), text, label, group)


def table(origin: str, rows: Iterable[Mapping[str, Any]], text: str, label: str, group: str = "") -> Table:
    """Rows by column name → a Table. Raises DataError as `read` does."""
    texts, labels, groups = list[str](), list[str](), list[str]()
    count = 0
    for count, row in enumerate(rows, 1):
        value = _cell(row, text, "text", origin, count)
        if not isinstance(value, str):
            raise DataError(
                f"data: {origin!r}, row {count}: the text column {text!r} holds {value!r}, which is no string; "
                "every text must be one (an empty string is allowed)."
            )
        texts.append(_encodable(value, origin, count))
        labels.append(_name(row, label, "label", origin, count) if label else "")
        if group:
            groups.append(_name(row, group, "split.group", origin, count))
    if count == 0:
        raise DataError(f"data: {origin!r} is empty: it has no rows; give a file with labelled texts.")
    return Table(origin, tuple(texts), tuple(labels), tuple(map(str, range(1, count + 1))), tuple(groups) or None)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """What is allowed, led by the closest name where there is one."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"there are: {shown}"


def _cell(row: Mapping[str, Any], column: str, option: str, origin: str, number: int) -> Any:
    if column not in row:
        raise DataError(
            f"data: {origin!r}, row {number}: there is no column {column!r} (option {option!r}); "
            f"{nearest(column, map(str, row))}."
        )
    return row[column]


def _name(row: Mapping[str, Any], column: str, option: str, origin: str, number: int) -> str:
    value = _cell(row, column, option, origin, number)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"data: {origin!r}, row {number}: the column {column!r} (option {option!r}) holds {value!r}; every row "
            "needs a name there: fill it in or remove the row."
        )
    return _encodable(value, origin, number)


def _encodable(value: str, origin: str, number: int) -> str:
    """JSON can spell half a character (a lone surrogate), which no tokenizer and no hash takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"data: {origin!r}, row {number} holds a lone surrogate: {value!r}; write it anew.") from None
    return value


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"data: {str(path)!r} is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start} (line {line}); "
            "save it as UTF-8, for example with `iconv -f ISO-8859-1 -t UTF-8`."
        ) from None


def _csv(file: str, content: str) -> Iterator[dict[str, str]]:
    limit = csv.field_size_limit(len(content) + 1)  # the default refuses texts above 131,072 characters
    try:
        lines = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"data: {file!r} is not well-formed CSV: {error}; quote texts that hold commas.") from None
    finally:
        csv.field_size_limit(limit)
    return _named(file, [line for line in lines if line])


def _tsv(file: str, content: str) -> Iterator[dict[str, str]]:
    """One row a line, as text/tab-separated-values says. A whole cell in quotation marks, those inside it doubled,
    loses them, as spreadsheets and pandas write it; other quotation marks are part of the text.
    """
    lines = [line.removesuffix("\r").split("\t") for line in content.split("\n") if line.strip("\r")]
    return _named(file, [[_unquote(cell) for cell in line] for line in lines])


def _unquote(cell: str) -> str:
    match = _QUOTED.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell


def _named(file: str, lines: list[list[str]]) -> Iterator[dict[str, str]]:
    if not lines:
        return
    header = lines[0]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"data: {file!r} names the column {twice[0]!r} more than once; rename one.")
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(header):
            raise DataError(
                f"data: {file!r}, row {number}: {len(line)} columns, but the header has {len(header)} "
                f"({', '.join(header)}); quote texts that hold the separator or a line break."
            )
        yield dict(zip(header, line, strict=True))


def _jsonl(file: str, content: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"data: {file!r}, line {number} is not JSON: {error}; write one object a line.") from None
        if not isinstance(row, dict):
            raise DataError(f"data: {file!r}, line {number} holds {type(row).__name__}, not an object with columns.")
        yield row
