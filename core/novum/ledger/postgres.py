"""A ledger on a PostgreSQL server: a schema per study, one writer at a time, and what the server's errors mean.

A write first takes the study's advisory lock: every event's hash covers the event before it, so writes need one order.
After a lost connection the chain itself tells whether a commit arrived: its last event is there, or it is not.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, column, create_engine, event, select, table, text
from sqlalchemy.exc import DBAPIError

from novum.errors import StudyError
from novum.ledger import address, schema
from novum.ledger.address import Address
from novum.ledger.database import TOLD, Database, DisconnectedError, Kind, T
from novum.ledger.upgrade import upgrade

CONNECT_SECONDS = 10
LOCK_SECONDS = 60.0
"""How long a write waits for those of others. The server ends one that says nothing for half as long."""
PATIENCE_SECONDS = 60.0
"""How long a method waits for a server that went away."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between its tries; the last one repeats."""
UPGRADE = "NOVUM_LEDGER_UPGRADE"
"""Environment variable; "1" says that a copy was made and an older ledger may be upgraded."""

DEFAULTS = {
    "connect_timeout": str(CONNECT_SECONDS),
    "application_name": "novum",
    "client_encoding": "utf8",
    "keepalives_idle": "30",  # a server that vanished without a word is noticed within a minute or two
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_LOST = ("08", "57P01", "57P02", "57P03", "25P03", "40001", "40P01", "53300")
"""Errors after which nothing was written and the same may be tried again: SQLSTATEs, or their classes."""
_ADVICE = {
    "42501": "is not open to this user; have its owner grant the rights, or make the schema with CREATE SCHEMA … "
    "AUTHORIZATION",
    "25006": "is not writable: the server or the transaction is read-only; open the study on the primary server",
    "55P03": "was locked by another session for more than {seconds:g} s; end that session or wait for it",
    "57014": "took longer than the server allows a statement; raise its statement_timeout for this user",
    "53": "has no room on its server (disk or memory); nothing was half-written; free some and run the same again",
    "58": "cannot be read or written by its server; nothing was half-written; have the server's disk checked",
    "42P01": "lacks a table, it is damaged; restore a whole copy (pg_restore)",
    "42703": "lacks a column, it is damaged; restore a whole copy (pg_restore)",
    "XX": "is damaged; have the server's disk checked, then restore a whole copy (pg_restore)",
}


class PostgresDatabase(Database):
    """One study on a server."""

    def __init__(self, folder: Path, where: Address, *, read_only: bool) -> None:
        super().__init__(folder, where.shown, read_only=read_only)
        self._where = where
        self._closed = False
        self._reached = False
        self._engine = _engine(where)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=False)
        # The key covers the name only: advisory locks belong to one database.
        key = hashlib.sha256(f"novum ledger {where.study}".encode()).digest()[:8]
        self._key = int.from_bytes(key, "big", signed=True)

    @classmethod
    def open(cls, folder: Path, url: str, *, create: bool, read_only: bool) -> PostgresDatabase:
        """Open the study that `url` names, made or upgraded where that is needed and allowed.

        Tries to connect once, so that a wrong url is told at once. Raises ConfigError and StudyError.
        """
        database = cls(folder, address.parse(url), read_only=read_only)

        def settle() -> None:
            database._settle(create=create and not read_only)

        try:
            try:
                settle()
            except DisconnectedError:
                if not database._reached:
                    raise
                database.persist(settle)
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def begun(cls, folder: Path, url: str) -> bool:
        """Whether the study that `url` names was made. Raises ConfigError, and StudyError for a server out of reach."""
        database = cls(folder, address.parse(url), read_only=True)
        try:
            with database.read() as connection:
                return database._version(connection) > 0
        finally:
            database.close()

    @property
    def shared(self) -> bool:
        """True: every machine that reaches the server may work in it."""
        return True

    def close(self) -> None:
        """Close every connection to the server."""
        self._closed = True
        self._engine.dispose()

    def check(self) -> None:
        """Look whether the schema is there and ours; PostgreSQL checks its pages itself, where it was told to."""
        with self.read() as connection:
            self._version(connection)

    def persist(self, call: Callable[[], T]) -> T:
        """What `call` gives, made again for up to a minute where the connection broke and left no trace."""
        end, tries = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                return call()
            except DisconnectedError as error:
                pause = PAUSES[min(tries, len(PAUSES) - 1)]
                if time.monotonic() + pause > end:
                    raise StudyError(f"{error} It was tried for {PATIENCE_SECONDS:g} s.") from error
                time.sleep(pause)
                tries += 1

    def _transaction(self, kind: Kind) -> AbstractContextManager[Connection]:
        if self._closed:
            raise StudyError(f"the ledger {self.path} was closed; open it again.")
        return self._within(kind)

    @contextmanager
    def _within(self, kind: Kind) -> Iterator[Connection]:
        connected, told = False, None
        try:
            with (self._reading if kind == "read" else self._writing).connect() as connection, connection.begin():
                connected = self._reached = True
                connection.info.pop(TOLD, None)
                if kind == "write":
                    times = {"wait": f"{1000 * LOCK_SECONDS:.0f}ms", "idle": f"{500 * LOCK_SECONDS:.0f}ms"}
                    connection.execute(_LOCK, {"key": self._key} | times)
                yield connection
                told = connection.info.get(TOLD)
        except DBAPIError as error:
            if connected and not _is_lost(error):
                explained = self._explain(error)
                if explained is None:
                    raise
                raise explained from error
            # With `told`, it broke during the commit, which may have arrived all the same.
            if told is None or not self.persist(lambda: self._stands(told)):
                raise self._lost(error, connected) from None  # the original may hold what nobody should see

    def _stands(self, told: str) -> bool:
        """Whether the event with this hash was committed. Waits for the lock, so that nothing is on its way."""
        with self.write() as connection:
            events = schema.events
            return connection.scalar(select(events.c.seq).where(events.c.hash == told)) is not None

    def _settle(self, *, create: bool) -> None:
        """Make a new ledger, upgrade an old one, refuse a foreign or newer one."""
        with self.read() as connection:
            version = self._version(connection)
            encoding = str(connection.scalar(text("SELECT getdatabaseencoding()")))
        if encoding != "UTF8":
            raise StudyError(
                f"the database of the ledger {self.path} has the encoding {encoding}, which cannot hold every text; "
                "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
            )
        if version == 0 and not create:
            raise StudyError(f"no study at {self.path}; correct the url, or make the study by running a claim in it.")
        if version == schema.VERSION:
            return
        if version and self.read_only:
            raise StudyError(
                f"the ledger {self.path} has the older schema {version} and this Novum reads {schema.VERSION}; open "
                f"the study once for writing, with {UPGRADE}=1, to upgrade it."
            )
        if version and os.environ.get(UPGRADE) != "1":
            raise StudyError(
                f"the ledger {self.path} has the older schema {version}, this Novum writes {schema.VERSION}, and "
                "sessions of the older one may be at work in it. End them, make a copy with `pg_dump "
                f"--schema={self._where.study}` (Novum cannot copy a server's data), and then run this again with the "
                f"environment variable {UPGRADE}=1."
            )
        self._upgrade()

    def _upgrade(self) -> None:
        with self.write() as connection:
            if self._version(connection) != schema.VERSION:  # again, now that nobody else can write
                if not connection.scalar(_SCHEMA, {"study": self._where.study}):  # IF NOT EXISTS would need more rights
                    connection.exec_driver_sql(f'CREATE SCHEMA "{self._where.study}"')
                upgrade(connection)

    def _version(self, connection: Connection) -> int:
        """The schema's number; 0 where there is none yet. Raises StudyError for a foreign or a newer one."""
        names = set(connection.scalars(_NAMES, {"study": self._where.study}))
        if not names:
            return 0
        number = None
        if {"alembic_version", "events", "hypotheses"} <= names:
            marks = table("alembic_version", column("version_num"), schema=self._where.study)
            number = str(connection.scalar(select(marks.c.version_num)))
        if number is None or not number.isdecimal():
            raise StudyError(
                f"the schema of {self.path} holds tables of another program ({', '.join(sorted(names)[:5])}); name "
                "another study."
            )
        if int(number) > schema.VERSION:
            raise StudyError(
                f"the ledger {self.path} has schema {int(number)}, written by a newer Novum; this one knows schemas up "
                f"to {schema.VERSION}. Upgrade Novum (pip install --upgrade novum)."
            )
        return int(number)

    def _lost(self, error: DBAPIError, connected: bool) -> DisconnectedError:
        said = self._where.redact(" ".join(str(error.orig).split()))
        where = f"the ledger {self.path}"
        if connected:
            return DisconnectedError(
                f"the connection to {where} broke, and nothing was half-written; check the server and the network, "
                f"then run the same again. (PostgreSQL: {said})"
            )
        if "authentication" in said or "no password supplied" in said or "role" in said:
            advice = "is refused to this user; check the user and the password (~/.pgpass keeps it out of the url)"
        elif "database" in said and "does not exist" in said:
            advice = "has no database of this name on its server; correct the url, or make the database (createdb)"
        else:
            advice = "cannot be reached; check the url, the network, and that the server runs"
        return DisconnectedError(f"{where} {advice}. (PostgreSQL: {said})")

    def _explain(self, error: DBAPIError) -> StudyError | None:
        state = _state(error)
        for prefix, each in _ADVICE.items():
            advice = each.format(seconds=LOCK_SECONDS)
            if state.startswith(prefix):
                return StudyError(
                    f"the ledger {self.path} {advice}. (PostgreSQL: {self._where.redact(str(error.orig))})"
                )
        return None


_LOCK = text(
    "SELECT set_config('lock_timeout', :wait, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true), pg_advisory_xact_lock(:key)"
)
_SCHEMA = text("SELECT count(*) FROM pg_namespace WHERE nspname = :study")
_NAMES = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :study AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
)
_SETTINGS = """SELECT
set_config('search_path', %s, false),
set_config('extra_float_digits', '3', false),
set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
           ELSE current_setting('synchronous_commit') END, false)"""
"""For every connection: the study's tables; floats to the last bit; an acknowledged commit survives a loss of power."""


def _engine(where: Address) -> Engine:
    options = {name: value for name, value in DEFAULTS.items() if name not in where.url.query}
    # Statements are not prepared: they would outlive an upgrade by another machine, and poolers lose them.
    engine = create_engine(where.url, connect_args=options | {"prepare_threshold": None}, pool_pre_ping=True)

    def settle(raw: Any, _: object) -> None:
        raw.autocommit = True  # a setting made in a transaction goes with it
        raw.execute(_SETTINGS, [f'"{where.study}"'])
        raw.autocommit = False

    event.listen(engine, "connect", settle)
    return engine


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _is_lost(error: DBAPIError) -> bool:
    return error.connection_invalidated or _state(error).startswith(_LOST)
