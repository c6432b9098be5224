"""What every part of the ledger shares: reading rows, and finding those that others refer to."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, RowMapping, Select, Table, select

from novum.errors import RegistrationError
from novum.ledger import schema
from novum.ledger.database import Database

CHUNK = 500
"""Keys in one query: databases bound the number of parameters."""

P = ParamSpec("P")
T = TypeVar("T")


def persistent(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let a method of `Records` outlive a broken connection. It holds one transaction, and is called again only where
    that one left no trace.
    """

    @functools.wraps(method)
    def call(self: Records, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.persist(lambda: method(self, *args, **kwargs))

    return call


class Records:
    """Base of the ledger's parts: an open database. Its parts add methods and override none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def path(self) -> str:
        """Where the ledger is, for people to read: its file, or its place on a server without any password."""
        return self._database.path

    @property
    def folder(self) -> Path:
        """The study's folder on this machine; a ledger on a server is not in it."""
        return self._database.folder

    @property
    def shared(self) -> bool:
        """Whether sessions on other machines may work in this ledger."""
        return self._database.shared

    @persistent
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


def unregistered(path: str, hypothesis_id: str) -> RegistrationError:
    """The error for a hypothesis that the ledger lacks."""
    return RegistrationError(
        f"no hypothesis {hypothesis_id!r} is registered in {path}; register its claim first (`novum run CLAIM` does)."
    )
