"""What every database under a ledger offers: consistent reads, and writes that follow one another.

`sqlite` keeps a ledger in a file of its folder, `postgres` on a server that several machines reach. Only they know
what is special to a database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import Connection

from novum.errors import StudyError

T = TypeVar("T")
Kind = Literal["read", "write", "apart"]
TOLD = "novum_told"
"""Where `Connection.info` holds the hash of the last event that the transaction wrote."""


class DisconnectedError(StudyError):
    """The connection broke and the transaction left no trace: the same call may be made again."""


class Database(ABC):
    """One open ledger. Threads may share it; a forked process must open its own."""

    def __init__(self, folder: Path, path: str, *, read_only: bool) -> None:
        self.folder = folder
        self.path = path
        self.read_only = read_only

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether other machines may work in it at the same time."""

    def read(self) -> AbstractContextManager[Connection]:
        """A consistent view; end it soon, for it keeps the database from tidying up."""
        return self._transaction("read")

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that commits at its end, or leaves no trace when an exception ends it. One at a time."""
        return self._changing("write")

    def write_apart(self) -> AbstractContextManager[Connection]:
        """As `write`, for rows that no event tells: it need not wait for other writers."""
        return self._changing("apart")

    @abstractmethod
    def persist(self, call: Callable[[], T]) -> T:
        """What `call` gives, made again where the connection to the database broke and comes back."""

    @abstractmethod
    def check(self) -> None:
        """Have the database check itself; raises StudyError when it is damaged."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    def _transaction(self, kind: Kind) -> AbstractContextManager[Connection]: ...

    def _changing(self, kind: Kind) -> AbstractContextManager[Connection]:
        if self.read_only:
            raise StudyError(f"the ledger {self.path} was opened read-only and cannot be changed; open it for writing.")
        return self._transaction(kind)
