"""The ledger as the rest of Novum sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from novum.ledger import journal, schema
from novum.ledger.claims import Claims
from novum.ledger.database import Database
from novum.ledger.sessions import Sessions
from novum.ledger.trials import Trials


class Ledger(Claims, Trials, Sessions):
    """The append-only record of one study: `ledger.sqlite` in its folder. Use it as a context manager.

    Every change and the event that tells it are one transaction, durable when the method returns. Threads and
    processes may write at the same time; each process opens its own. What methods return is a fresh copy. Every
    method raises StudyError for a file that is damaged, full or locked, with what to do about it.
    """

    @classmethod
    def open(cls, folder: Path, *, create: bool = True, read_only: bool = False) -> Ledger:
        """Open the ledger in `folder`; make it where it is missing, unless `create` is False or it is `read_only`.

        A ledger of an older Novum is copied to `ledger.sqlite.backup-<version>` and upgraded. Raises StudyError
        for a missing, foreign, damaged or newer ledger and for a folder that cannot be written.
        """
        return cls(Database.open(folder, create=create, read_only=read_only))

    @property
    def shared(self) -> bool:
        """Whether other machines may work in it at the same time."""
        return False

    def close(self) -> None:
        """Close the file; further calls raise StudyError."""
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

    def verify(self) -> None:
        """Check the file, the chain of events and every row against its event.

        Raises StudyError naming the first bad event, or the row that is not as it was recorded.
        """
        self._database.check()
        with self._database.read() as connection:
            journal.audit(connection, self.path)
