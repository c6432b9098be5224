"""A damaged ledger in SQLite: reading what of it can still be trusted, and building another from what there is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from novum.ledger import journal, schema
from novum.ledger.store import Ledger

ORDER = (
    schema.hypotheses,
    schema.experiments,
    schema.streams,
    schema.sessions,
    schema.trials,
    schema.scores,
    schema.openings,
    schema.observations,
    schema.weights,
    schema.verdicts,
)
"""Tables whose rows events vouch for, those first that others refer to."""


@dataclass
class Salvage:
    """What a damaged ledger still tells.

    rows: by table, those that are what the last intact event recorded. promised: names of all rows that an intact
    event recorded. events: how many are intact. fault: the first thing that is wrong, None where nothing is.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    promised: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    events: int = 0
    fault: str | None = None

    @property
    def missing(self) -> set[str]:
        """Rows that an intact event recorded, and that are not there or not as they were."""
        return self.promised - self.found


def salvage(path: Path) -> Salvage:
    """Read a ledger row by row, keeping what its own chain of events vouches for. Changes nothing and never raises for
    what the file holds.
    """
    told = Salvage()
    known: dict[str, str] = {}
    previous = journal.GENESIS
    for row in _rows(path, schema.events, told):
        payload = row.get("payload")
        hashed = journal.sha256(f"{previous}|{row.get('kind')}|{payload}")
        try:
            digests = json.loads(str(payload))["rows"]
        except (ValueError, KeyError, TypeError):
            digests = None
        if row.get("previous") != previous or row.get("hash") != hashed or digests is None:
            told.fault = told.fault or f"event {row.get('seq')} is not what was recorded"
            break
        previous = hashed
        told.events += 1
        known |= digests
    told.promised = set(known)
    for table in ORDER:
        kept = told.rows.setdefault(table.name, [])
        for row in _rows(path, table, told):
            whole = {column.name: row.get(column.name) for column in table.columns}
            with suppress(Exception):  # whatever a damaged value does to its digest
                name = journal.row_name(table, whole)
                if known.get(name) == journal.row_digest(whole) and name not in told.found:
                    kept.append(whole)
                    told.found.add(name)
    if told.missing and told.fault is None:
        told.fault = f"{len(told.missing)} rows are not what was recorded"
    return told


def _rows(path: Path, table: Table, told: Salvage) -> Iterator[dict[str, Any]]:
    """A table's rows in order, as far as they can be read from its beginning, then from its end."""
    seen: list[dict[str, Any]] = []
    for order in ("ASC", "DESC"):
        try:
            with closing(_connect(path)) as raw:
                for row in raw.execute(f'SELECT * FROM "{table.name}" ORDER BY seq {order}'):  # noqa: S608 - a constant
                    seen.append(dict(row))
                    yield dict(row)
            return
        except (sqlite3.Error, ValueError, OverflowError) as error:
            told.fault = told.fault or f"{table.name}: {error}"
            if table is schema.events:
                return  # a chain is read from its beginning


def _connect(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    raw.row_factory = sqlite3.Row
    raw.text_factory = lambda data: data.decode("utf-8", errors="replace")
    return raw


def rebuild(ledger: Ledger, rows: Mapping[str, list[dict[str, Any]]], about: Mapping[str, Any]) -> None:
    """Put salvaged rows into an empty ledger, as one change that an event of the kind "rebuilt" tells."""
    with ledger._database.write() as connection:
        change = journal.Change(connection)
        for table in ORDER:
            kept = rows.get(table.name, [])
            change.insert(table, [{name: value for name, value in row.items() if name != "seq"} for row in kept])
        change.event("rebuilt", about)
