"""Files kept in the ledger by their content, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from novum.errors import StudyError
from novum.ledger import Ledger, schema
from sqlalchemy import func, select, update


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = request.getfixturevalue("postgres").url() if request.param == "postgres" else None
    with Ledger.open(tmp_path / "study", url=url) as opened:
        yield opened


def test_files_come_back_by_their_hash_in_any_number_of_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novum.ledger.files.PART", 4)
    files = {"weights": bytes(range(256)) + b"odd", "exact": b"12345678", "empty": b""}
    before = ledger.events()

    ledger.put_files("h1", files)
    ledger.put_files("h1", files)

    assert ledger.get_files("h1") == files
    assert ledger.get_files("h2") is None
    assert ledger.events() == before
    ledger.verify()
    ledger.drop_files("h1")
    assert ledger.get_files("h1") is None


def test_files_of_an_interrupted_put_are_not_there_until_it_is_completed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novum.ledger.files.PART", 4)
    real, left = Ledger._put, [3]

    def dying(self: Ledger, *what: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(self, *what)

    monkeypatch.setattr(Ledger, "_put", dying)
    with pytest.raises(KeyboardInterrupt):
        ledger.put_files("h1", {"a": b"123456", "b": b"123456"})
    assert ledger.get_files("h1") is None

    left[0] = 100
    ledger.put_files("h1", {"a": b"123456", "b": b"123456"})

    assert ledger.get_files("h1") == {"a": b"123456", "b": b"123456"}


def test_damaged_files_are_named_and_never_given(ledger: Ledger) -> None:
    ledger.put_files("h1", {"a": b"1234", "b": b"5678"})
    with ledger._database.write() as connection:
        connection.execute(update(schema.files).where(schema.files.c.name == "b").values(content=b"5679"))

    with pytest.raises(StudyError, match=r"the files b of h1 .* are damaged"):
        ledger.get_files("h1")


def test_a_file_without_a_name_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="a file needs a name"):
        ledger.put_files("h1", {"": b""})


def test_two_sessions_that_put_the_same_files_at_once_leave_them_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novum.ledger.files.PART", 4)
    files = {f"layer-{at}": bytes([at]) * 9 for at in range(10)}

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: ledger.put_files("h1", files), range(2)))

    assert ledger.get_files("h1") == files
    with ledger._database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.files)) == 10 * 3 + 1
