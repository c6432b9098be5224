"""Flat rows as files for other programs: CSV, JSON lines, Parquet. A file appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novum.errors import ConfigError, DataError, StudyError

SUFFIXES = (".csv", ".jsonl", ".parquet")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to a file whose ending names its format.

    A number that is undefined is a text that says why. Parquet has one type per column: there such a cell is empty, and
    the column `NAME.undefined` beside it says why. Raises ConfigError for another ending, DataError where the file
    cannot be written, StudyError where Parquet lacks its library.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"--to {str(path)!r}: the ending {path.suffix!r} is not known; allowed: {', '.join(SUFFIXES)}."
        )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        content = _csv(rows, columns)
    elif path.suffix == ".jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    else:
        content = _parquet(rows, columns)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"--to {str(path)!r}: cannot be written ({error.strerror}); choose another place.") from None


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise StudyError(
            "a .parquet file needs pyarrow: pip install 'novum[frames]'; or write a .csv or .jsonl file."
        ) from None
    table: dict[str, list[Any]] = {}
    for name in columns:
        cells = [row.get(name) for row in rows]
        numbers = [cell for cell in cells if isinstance(cell, int | float)]
        if numbers and any(isinstance(cell, str) for cell in cells):
            table[name] = [cell if isinstance(cell, int | float) else None for cell in cells]
            table[f"{name}.undefined"] = [cell if isinstance(cell, str) else None for cell in cells]
        else:
            table[name] = cells
    target = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(table), target)
    return bytes(target.getvalue())
