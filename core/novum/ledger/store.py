"""The ledger as the rest of Novum sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from novum.ledger import journal, schema
from novum.ledger.claims import Claims
from novum.ledger.files import Files
from novum.ledger.records import persistent
from novum.ledger.sessions import Sessions
from novum.ledger.sqlite import SqliteDatabase
from novum.ledger.trials import Trials


class Ledger(Claims, Trials, Sessions, Files):
    """The append-only record of one study. Use it as a context manager.

    It is `ledger.sqlite` in the study's folder, or a schema of a PostgreSQL database that several machines share.
    Every change and the event that tells it are one transaction, durable when the method returns. Threads, processes
    and, on a server, machines may write at the same time; each process opens its own. What methods return is a fresh
    copy. Every method raises StudyError for a ledger that is damaged, full, locked or out of reach, with what to do
    about it. Where a server goes away and comes back within a minute, methods wait and no write is lost or doubled.
    """

    @classmethod
    def open(cls, folder: Path, *, url: str | None = None, create: bool = True, read_only: bool = False) -> Ledger:
        """Open the ledger; make it where it is missing, unless `create` is False or it is `read_only`.

        url: None for the file in `folder`; else `postgresql://user@host/database?study=NAME`, where NAME, a schema's
        name, is "novum" unless it is said. Options that libpq knows (sslmode, connect_timeout, …) may follow.

        A file of an older Novum is copied to `ledger.sqlite.backup-<version>` and upgraded; a server's ledger is
        upgraded only where the environment says NOVUM_LEDGER_UPGRADE=1, after you made a copy. Raises ConfigError
        for a wrong url, and StudyError for a missing, foreign, damaged, newer or unreachable ledger, for a folder
        that cannot be written, and where PostgreSQL's driver is not installed.
        """
        if url is None:
            return cls(SqliteDatabase.open(folder, create=create, read_only=read_only))
        from novum.ledger.postgres import PostgresDatabase  # only a server needs it

        return cls(PostgresDatabase.open(folder, url, create=create, read_only=read_only))

    @staticmethod
    def remembered(url: str) -> str:
        """A url as it may be kept in a study's folder: checked, and without a password. Raises ConfigError."""
        from novum.ledger import address

        return address.remembered(url)

    @staticmethod
    def begun(folder: Path, url: str | None) -> bool:
        """Whether there is a ledger. Raises StudyError where a server cannot be asked."""
        if url is None:
            return SqliteDatabase.begun(folder)
        from novum.ledger.postgres import PostgresDatabase

        return PostgresDatabase.begun(folder, url)

    def close(self) -> None:
        """Close the ledger; further calls raise StudyError."""
        self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def events(self, since: int = 0, kind: str | None = None) -> list[dict[str, Any]]:
        """Events after number `since`, of one kind or of all: seq, time, kind, payload, previous, hash.

        A payload's "rows" holds the digests of the rows that changed (see `novum.ledger.journal`).
        """
        query = select(schema.events).where(schema.events.c.seq > since).order_by(schema.events.c.seq)
        rows = self._rows(query if kind is None else query.where(schema.events.c.kind == kind))
        return [dict(row) | {"payload": json.loads(row["payload"])} for row in rows]

    @persistent
    def verify(self) -> None:
        """Check the database, the chain of events and every row against its event.

        Raises StudyError naming the first bad event, or the row that is not as it was recorded.
        """
        self._database.check()
        with self._database.read() as connection:
            journal.audit(connection, self.path)
