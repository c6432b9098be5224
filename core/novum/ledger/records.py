"""What every part of the ledger shares: reading rows, and finding those that others refer to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, select

from novum.errors import RegistrationError
from novum.ledger import schema
from novum.ledger.database import Database

CHUNK = 500
"""Keys in one query: databases bound the number of parameters."""


class Records:
    """Base of the ledger's parts: an open database. Its parts add methods and override none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def path(self) -> Path:
        """The ledger's file."""
        return self._database.path

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        with self._database.read() as connection:
            return connection.execute(query).mappings().all()

    def _registered(self, connection: Connection, hypothesis_id: str | None) -> None:
        table = schema.hypotheses
        if hypothesis_id is not None and one(connection, select(table).where(table.c.id == hypothesis_id)) is None:
            raise unregistered(self.path, hypothesis_id)

    def _planned(self, connection: Connection, key: str) -> RowMapping:
        row = one(connection, select(schema.trials).where(schema.trials.c.key == key))
        if row is None:
            raise RegistrationError(
                f"no trial {key!r} is planned in {self.path}; plan it before it runs (the claim's registration does)."
            )
        return row


def one(connection: Connection, query: Select[Any]) -> RowMapping | None:
    """The query's first row, or None."""
    return connection.execute(query).mappings().first()


def where_in(
    connection: Connection, query: Select[Any], table: Table, column: str, values: Iterable[str] | None
) -> Iterator[RowMapping]:
    """The query's rows whose column is one of `values` (None: all), some hundred values at a time."""
    if values is None:
        yield from connection.execute(query).mappings()
        return
    distinct = list(dict.fromkeys(values))
    for at in range(0, len(distinct), CHUNK):
        yield from connection.execute(query.where(table.c[column].in_(distinct[at : at + CHUNK]))).mappings()


def to_dict(text: str) -> dict[str, Any]:
    """The table in a JSON text, fresh at each call."""
    return dict(json.loads(text))


def without_seq(row: RowMapping) -> dict[str, Any]:
    """A row as those outside see it."""
    return {name: value for name, value in row.items() if name != "seq"}


def unregistered(path: Path, hypothesis_id: str) -> RegistrationError:
    """The error for a hypothesis that the ledger lacks."""
    return RegistrationError(
        f"no hypothesis {hypothesis_id!r} is registered in {path}; register its claim first (`novum run CLAIM` does)."
    )
