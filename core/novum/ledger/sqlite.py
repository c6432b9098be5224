"""A ledger in a file: opening, upgrading, transactions, and what SQLite's errors mean.

Everything that is special to SQLite stands here. Writes begin with BEGIN IMMEDIATE: a transaction that first
reads and then writes fails at once, whatever its busy timeout, when another process wrote in between.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from novum.errors import DiskFullError, StudyError
from novum.ledger import place, schema
from novum.ledger.database import Database, Kind, T
from novum.ledger.upgrade import upgrade

FILE = "ledger.sqlite"
APPLICATION = 0x4E6F7675
"""SQLite's application_id of a ledger: "Novu"."""
BUSY_SECONDS = 60.0
"""SQLite's waiting writers poll and are not served in order: with 32 at once on two cores, 10 s were too few."""
NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE")
"""What a full disk, or a limit on the size of files, comes out as."""

_ADVICE = {
    "SQLITE_NOTADB": "is not a SQLite database: it is another file or a damaged one; `novum repair` rebuilds a "
    "study's ledger; else move it away, or name another folder",
    "SQLITE_CORRUPT": "is damaged; copy the whole folder first, then `novum repair` rebuilds it, or restore a copy",
    "SQLITE_FULL": "cannot grow: the disk is full; nothing was half-written; free some space and run the same again",
    "SQLITE_IOERR": "cannot be read or written (a full or failing disk, or a limit on the size of files); nothing was "
    "half-written; check the disk and run the same again",
    "SQLITE_READONLY": "is not writable by this user; change its permissions, or open the study read-only",
    "SQLITE_CANTOPEN": "cannot be opened; check that it is a file and that you may write to its folder",
    "SQLITE_PERM": "cannot be opened by this user; change its permissions",
    "SQLITE_BUSY": f"was locked by another process for more than {BUSY_SECONDS:g} s; end that process or wait for it",
}


class SqliteDatabase(Database):
    """One open ledger file."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._file = folder / FILE
        super().__init__(folder, str(self._file), read_only=read_only)
        self._closed = False
        self._engine = _engine(self._file, "ro" if read_only else "rw")

    @classmethod
    def open(cls, folder: Path, *, create: bool, read_only: bool) -> SqliteDatabase:
        """Open `folder`'s ledger, made or upgraded where that is needed and allowed. Raises StudyError."""
        path = folder / FILE
        exists = path.exists()
        if not exists and (read_only or not create):
            raise StudyError(_absent(folder))
        if read_only:
            database = cls(folder, read_only=True)
            settle = database._settle_read_only
        else:
            place.writable(folder, path)
            if not exists:
                with _explained(path):
                    path.touch()  # SQLite's mode "rw" makes no file, so that a read can never leave an empty one
            database = cls(folder, read_only=False)
            settle = database._settle
        try:
            settle()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def begun(cls, folder: Path) -> bool:
        """Whether `folder` has a ledger; a file that nothing was written into yet, for its maker was killed, is none.

        Raises StudyError for a foreign, damaged or newer file.
        """
        path = folder / FILE
        if not path.exists() or path.stat().st_size == 0:
            return False
        database = cls(folder, read_only=True)
        try:
            with database.read() as connection:
                return database._version(connection) > 0
        except DiskFullError:
            return True  # no room for the log's index: whoever opens it is told, or reads without
        finally:
            database.close()

    def close(self) -> None:
        """Close every connection; the last one to close folds the write-ahead log into the file."""
        self._closed = True
        self._engine.dispose()

    @property
    def shared(self) -> bool:
        """False: a file has no safe place but a disk of this machine."""
        return False

    def persist(self, call: Callable[[], T]) -> T:
        """What `call` gives: the connection to a file does not break."""
        return call()

    def check(self) -> None:
        """Have SQLite check the file's structure; raises StudyError when it is damaged."""
        with self.read() as connection:
            found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        if found != "ok":
            raise StudyError(f"the ledger {self.path} {_ADVICE['SQLITE_CORRUPT']}. (SQLite: {found})")

    def _transaction(self, kind: Kind) -> AbstractContextManager[Connection]:
        if self._closed:
            raise StudyError(f"the ledger {self.path} was closed; open it again.")
        return self._within(self._engine if kind == "read" else self._engine.execution_options(novum_write=True))

    @contextmanager
    def _within(self, engine: Engine) -> Iterator[Connection]:
        with _explained(self._file), engine.connect() as connection, connection.begin():
            yield connection

    def _settle(self) -> None:
        """Make a new ledger, upgrade an old one, refuse a foreign or newer one."""
        with self.read() as connection:
            version = self._version(connection)
        with _explained(self._file), closing(self._engine.raw_connection()) as raw:
            _use_write_ahead_log(raw.cursor())
        if version < schema.VERSION:
            self._upgrade()

    def _settle_read_only(self) -> None:
        try:
            with self.read() as connection:
                version = self._version(connection)
        except StudyError as error:
            # A read-only folder or a full disk has no room for the log's index; with no log it would hold nothing.
            roomless = isinstance(error, DiskFullError) or not os.access(self.folder, os.W_OK)
            log = self._file.with_name(f"{FILE}-wal")
            if not roomless or (log.exists() and log.stat().st_size > 0):
                raise
            self._engine.dispose()
            self._engine = _engine(self._file, "ro&immutable=1")
            with self.read() as connection:
                version = self._version(connection)
        if version == 0:
            raise StudyError(_absent(self.folder))
        if version < schema.VERSION:
            raise StudyError(
                f"the ledger {self.path} has the older schema {version} and this Novum reads {schema.VERSION}; open "
                "the study once for writing to upgrade it."
            )

    def _version(self, connection: Connection) -> int:
        """The schema's number; 0 for an empty file. Raises StudyError for a foreign or a newer database."""
        application = int(connection.exec_driver_sql("PRAGMA application_id").scalar_one())
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if application != APPLICATION:
            if application or connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
                raise StudyError(
                    f"{self.path} is a SQLite database of another program (application_id {application}, a ledger has "
                    f"{APPLICATION}); move it away, or name another folder."
                )
            return 0
        if version > schema.VERSION:
            raise StudyError(
                f"the ledger {self.path} has schema {version}, written by a newer Novum; this one knows schemas up to "
                f"{schema.VERSION}. Upgrade Novum (pip install --upgrade novum)."
            )
        return version

    def _upgrade(self) -> None:
        engine = _engine(self._file, "rw", foreign_keys=False)  # a migration may rebuild a table that others refer to
        try:
            with self._within(engine.execution_options(novum_write=True)) as connection:
                version = self._version(connection)  # again, now that nobody else can write
                if version == schema.VERSION:
                    return
                if version:
                    self._back_up(version)
                upgrade(connection)
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise StudyError(
                        f"upgrading the ledger {self.path} from schema {version} to {schema.VERSION} would break the "
                        f"reference {tuple(broken)}; it was left as it is. Restore a copy of the file that is whole."
                    )
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION:d}")
                connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION:d}")
        finally:
            engine.dispose()

    def _back_up(self, version: int) -> None:
        """Copy the ledger to `ledger.sqlite.backup-<version>`, whole or not at all."""
        target = self._file.with_name(f"{FILE}.backup-{version:04d}")
        part = target.with_name(f"{target.name}.part")
        part.unlink(missing_ok=True)
        with closing(_connect(self._file, "ro")) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that any place can hold
        part.replace(target)


def _absent(folder: Path) -> str:
    return f"no study at {folder}; correct the path, or make one with `novum run CLAIM` or novum.Study(folder)."


def _engine(path: Path, mode: str, *, foreign_keys: bool = True) -> Engine:
    def connect() -> sqlite3.Connection:
        return _connect(path, mode, foreign_keys=foreign_keys)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return engine


def _connect(path: Path, mode: str, *, foreign_keys: bool = True) -> sqlite3.Connection:
    # isolation_level None: the driver begins nothing by itself; `_begin` does
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    raw = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        raw.execute("PRAGMA synchronous = FULL")  # an acknowledged commit survives a loss of power
        raw.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
    except BaseException:
        raw.close()
        raise
    return raw


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("novum_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _use_write_ahead_log(cursor: DBAPICursor) -> None:
    """Switch a file to WAL, which lasts; the switch does not honour the busy timeout, so wait here."""
    end = time.monotonic() + BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _explain(path, error.orig) or error from error
        raise
    except sqlite3.Error as error:
        raise _explain(path, error) or error from error
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StudyError
        raise kind(f"the ledger {path} cannot be written ({error}); check its folder and the disk.") from error


def _explain(path: Path, error: sqlite3.Error) -> StudyError | None:
    name = getattr(error, "sqlite_errorname", "")
    if str(error).startswith(("no such table", "no such column", "Could not decode")):
        name = "SQLITE_CORRUPT"
    for prefix, advice in _ADVICE.items():
        if name.startswith(prefix):
            kind = DiskFullError if name in NO_ROOM else StudyError
            return kind(f"the ledger {path} {advice}. (SQLite: {error})")
    return None
