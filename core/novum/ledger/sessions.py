"""The ledger's part on sessions: the processes that work, or worked, in a study, and whether they still live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import insert, select, update

from novum.arm import canonical
from novum.errors import StudyError
from novum.ledger import schema
from novum.ledger.journal import Change, now
from novum.ledger.records import Records, one, persistent, without_seq

SessionState = Literal["working", "ended", "interrupted", "paused", "failed", "lost"]


class Sessions(Records):
    """Who works here. A session that works has the state "working"; one whose process vanished becomes "lost"."""

    @persistent
    def begin_session(self, id: str, about: Mapping[str, Any]) -> None:
        """Begin a session under a new id. about: whatever tells people and `novum status` who it is."""
        with self._database.write() as connection:
            change = Change(connection)
            row = {"id": id, "about": canonical(about), "state": "working", "reason": None}
            change.insert(schema.sessions, [row | {"started": now(), "ended": None}])
            change.event("session", {"session": id, "state": "working"})
            connection.execute(insert(schema.beats).values(session=id, count=0))

    @persistent
    def end_session(self, id: str, state: SessionState, reason: str | None = None) -> None:
        """Note how a session stands now ("working": it goes on after all). Raises StudyError for an unknown id."""
        table = schema.sessions
        with self._database.write() as connection:
            row = one(connection, select(table).where(table.c.id == id))
            if row is None:
                raise StudyError(f"no session {id!r} was begun in {self.path}; begin it first.")
            if (row["state"], row["reason"]) != (state, reason):
                change = Change(connection)
                change.update(table, row, state=state, reason=reason, ended=None if state == "working" else now())
                change.event("session", {"session": id, "state": state, "reason": reason})

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions in order: id, about, state, reason (None: nothing to say), started, ended (None while it
        works).
        """
        rows = self._rows(select(schema.sessions).order_by(schema.sessions.c.seq))
        return [without_seq(row) | {"about": json.loads(row["about"])} for row in rows]

    @persistent
    def beat(self, session: str) -> None:
        """Show that a session lives. One that another host took for lost is working again."""
        table = schema.sessions
        with self._database.write() as connection:
            beats = schema.beats
            connection.execute(update(beats).where(beats.c.session == session).values(count=beats.c.count + 1))
            row = one(connection, select(table).where(table.c.id == session))
            if row is not None and row["state"] == "lost":
                change = Change(connection)
                change.update(table, row, state="working", reason="it was taken for lost and came back", ended=None)
                change.event("session", {"session": session, "state": "working"})

    def beats(self) -> dict[str, int]:
        """How often each session that works has shown that it lives. Only changes tell: no clock is compared."""
        table, beats = schema.sessions, schema.beats
        query = select(beats.c.session, beats.c.count).join(table, table.c.id == beats.c.session)
        rows = self._rows(query.where(table.c.state == "working"))
        return {str(row["session"]): int(row["count"]) for row in rows}
