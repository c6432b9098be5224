"""The ledger's part on files: content for machines that share no disk, such as the weights of a trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from novum.arm import canonical
from novum.errors import StudyError
from novum.ledger import schema
from novum.ledger.records import Records, persistent

PART = 8 * 2**20
"""Bytes in one row: what is held in memory beside the files themselves, and how long one write may take."""
LIST = ""
"""The name, which no file has, of the row that lists the files; written last, so that halves are never read."""


class Files(Records):
    """Files by their content: whatever has the same hash is the same. No event tells of them; they prove themselves."""

    def put_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Keep files (name → content) under their common hash, which the caller computes; twice is once.

        They can be read when all are there. A put that was interrupted is completed by the next one. Raises
        ValueError for an empty name.
        """
        if LIST in files:
            raise ValueError(f"a file needs a name; received {sorted(files)}.")
        if self._listed(digest) is not None:
            return
        for name, content in files.items():
            for part, at in enumerate(range(0, len(content), PART)):
                self._put(digest, name, part, content[at : at + PART])
        listed = {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in files.items()}
        self._put(digest, LIST, 0, canonical(listed).encode())

    def get_files(self, digest: str) -> dict[str, bytes] | None:
        """The files (name → content) under this hash; None where there are none, or not all yet.

        Raises StudyError where one of them is damaged.
        """
        listed = self._listed(digest)
        if listed is None:
            return None
        found = {name: self._get(digest, name, about["bytes"]) for name, about in listed.items()}
        wrong = [name for name, content in found.items() if _sha256(content) != listed[name]["sha256"]]
        if wrong and self._listed(digest) is not None:  # otherwise another session dropped them meanwhile
            raise StudyError(
                f"the files {', '.join(wrong)} of {digest} in the ledger {self.path} are damaged: they have not the "
                "SHA-256 that was recorded. Drop the files of this hash, and put them again from where they are whole."
            )
        return None if wrong else found

    @persistent
    def drop_files(self, digest: str) -> None:
        """Delete the files under this hash; twice is once."""
        with self._database.write_apart() as connection:
            connection.execute(delete(schema.files).where(schema.files.c.hash == digest))

    @persistent
    def _put(self, digest: str, name: str, part: int, content: bytes) -> None:
        table = schema.files
        same = (table.c.hash == digest) & (table.c.name == name) & (table.c.part == part)
        row = {"hash": digest, "name": name, "part": part, "content": content}
        try:
            with self._database.write_apart() as connection:
                if connection.scalar(select(func.length(table.c.content)).where(same)) != len(content):
                    connection.execute(delete(table).where(same))
                    connection.execute(insert(table).values(row))
        except IntegrityError:  # another session put the same at the same moment
            return

    def _listed(self, digest: str) -> dict[str, Any] | None:
        table = schema.files
        rows = self._rows(select(table.c.content).where(table.c.hash == digest, table.c.name == LIST))
        return dict(json.loads(bytes(rows[0]["content"]))) if rows else None

    def _get(self, digest: str, name: str, size: int) -> bytes:
        table, content = schema.files, bytearray()
        for part in range(-(-size // PART)):
            which = (table.c.hash == digest) & (table.c.name == name) & (table.c.part == part)
            content += b"".join(row["content"] for row in self._rows(select(table.c.content).where(which)))
        return bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
