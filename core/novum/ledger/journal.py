"""Changes and their events.

Each event's hash covers the event before it, so that an edited, removed or moved event breaks the chain; and it
holds the digest of every row that it changed, so that an edited row no longer matches its last event.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, update

from novum.arm import canonical
from novum.errors import StudyError
from novum.ledger import schema
from novum.ledger.database import TOLD
from novum.ledger.schema import events

GENESIS = "0" * 64
"""What the first event has for the hash of the one before it."""


REMEDY = "`novum repair` rebuilds a ledger that is a file; or restore a copy."
ROWS = 200
"""Rows held in memory at once while a ledger is checked: each may hold a large block."""


def sha256(text: str) -> str:
    """Hexadecimal SHA-256 of the text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """The time, ISO-8601 in UTC, for people to read; the order of things is `seq`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def pack(columns: Mapping[str, Any]) -> bytes:
    """Columns of per-unit values as compressed canonical JSON."""
    return zlib.compress(canonical(columns).encode())


def unpack(block: bytes) -> dict[str, Any]:
    """The inverse of `pack`."""
    return dict(json.loads(zlib.decompress(block)))


class Change:
    """The rows changed by one write transaction, until `event` puts them on record."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[str, str] = {}

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows that have values for all columns but `seq`."""
        if table.info["label"] == ("seq",):
            for row in rows:
                added = self._connection.execute(insert(table).values(row)).inserted_primary_key
                self._rows[row_name(table, {"seq": added[0] if added else None})] = row_digest(row)
        elif rows:
            self._connection.execute(insert(table), [dict(row) for row in rows])
            self._rows |= {row_name(table, row): row_digest(row) for row in rows}

    def update(self, table: Table, row: Mapping[Any, Any], **values: Any) -> None:
        """Change a row as it was read in this transaction, `seq` included."""
        self._connection.execute(update(table).where(table.c.seq == row["seq"]).values(values))
        changed = {**row, **values}
        self._rows[row_name(table, changed)] = row_digest(changed)

    def event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Append an event that tells the `payload` and the digests of all rows changed since the last event."""
        text = canonical({**payload, "rows": self._rows})
        last = select(events.c.hash).order_by(events.c.seq.desc()).limit(1)
        previous = self._connection.scalar(last) or GENESIS
        values = {"time": now(), "kind": kind, "payload": text, "previous": previous}
        values["hash"] = sha256(f"{previous}|{kind}|{text}")
        self._connection.execute(insert(events).values(values))
        self._connection.info[TOLD] = values["hash"]
        self._rows = {}


def audit(connection: Connection, path: str) -> None:
    """Check every event against the one before it, and every row against its last event.

    Raises StudyError naming the first bad event, or the first row that differs from what was recorded.
    """
    known: dict[str, tuple[str, int]] = {}
    previous, seq = GENESIS, 0
    connection = connection.execution_options(yield_per=ROWS)
    with connection.execute(select(events).order_by(events.c.seq)) as rows:
        for row in rows:
            fault = _broken(row, previous)
            if fault:
                raise StudyError(
                    f"the ledger {path} was edited or damaged: event {row.seq} ({row.kind}, {row.time}) {fault}; "
                    f"nothing after event {seq} can be trusted. {REMEDY}"
                )
            previous, seq = row.hash, row.seq
            known |= {name: (digest, seq) for name, digest in json.loads(row.payload)["rows"].items()}
    for table in schema.metadata.sorted_tables:
        if table not in schema.UNTOLD:
            with connection.execute(select(table).order_by(table.c.seq)) as rows:
                for row in rows:
                    _check(path, known, row_name(table, row._mapping), row)
    for name, (_, at) in known.items():
        raise _differs(path, name, f"is missing, though event {at} recorded it")


def _broken(row: Row[Any], previous: str) -> str | None:
    if row.previous != previous:
        return "does not name the hash of the event before it"
    if row.hash != sha256(f"{row.previous}|{row.kind}|{row.payload}"):
        return "does not match its own hash"
    return None


def _check(path: str, known: dict[str, tuple[str, int]], name: str, row: Row[Any]) -> None:
    if name not in known:
        raise _differs(path, name, "was added by no event")
    digest, at = known.pop(name)
    try:
        same = row_digest(row._mapping) == digest
    except (zlib.error, ValueError, TypeError):
        same = False
    if not same:
        raise _differs(path, name, f"is not what event {at} recorded")


def _differs(path: str, name: str, what: str) -> StudyError:
    return StudyError(f"the ledger {path} was edited or damaged: the row {name} {what}. {REMEDY}")


def row_name(table: Table, row: Mapping[Any, Any]) -> str:
    """By which events know a row."""
    return "/".join([table.name, *(str(row[column]) for column in table.info["label"])])


def row_digest(row: Mapping[Any, Any]) -> str:
    """Of the row's values but `seq` and empty ones, so that a later schema may add columns.

    A compressed block counts by its content: other versions of zlib may compress it to other bytes.
    """
    values = {column: _plain(value) for column, value in row.items() if value is not None and column != "seq"}
    return sha256(canonical(values))


def _plain(value: Any) -> Any:
    return zlib.decompress(value).decode() if isinstance(value, bytes) else value
