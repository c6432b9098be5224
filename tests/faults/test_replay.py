"""A study that dies at any write of its ledger ends, when the same command is given again, at the same verdict."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger.database import Database


class Killed(BaseException):
    """What SIGKILL is to a process: nothing is caught, nothing more is written."""


class Deadline:
    """Lets so many writes commit, then kills: before the next one, or right after it committed."""

    def __init__(self, writes: int, *, after: bool) -> None:
        self.left = writes
        self.after = after
        self.dead = False
        self.seen = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        real = Database.write

        @contextmanager
        def write(database: Database) -> Iterator[Any]:
            self.seen += 1
            if self.dead or (self.left == 0 and not self.after):
                self.dead = True
                raise Killed
            with real(database) as connection:
                yield connection
            if self.left == 0:
                self.dead = True
                raise Killed
            self.left -= 1

        patch.setattr(Database, "write", write)


def run(folder: Path, hypothesis: Any) -> str:
    with novum.Study(folder, executor="inline", listener=novum.lab.Listener()) as study:
        return study.run(hypothesis).text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, claim: Any, tools: Any) -> tuple[Any, str, list[Any], int]:
    """A claim, its verdict in a study that nothing disturbed, what that holds, and how many writes it took."""
    hypothesis = claim(max_seeds=4, goal="seeing")
    folder = tmp_path_factory.mktemp("whole")
    counter = Deadline(10**6, after=True)
    with pytest.MonkeyPatch.context() as patch:
        counter.install(patch)
        text = run(folder, hypothesis)
    return hypothesis, text, tools.every(folder), counter.seen


def test_the_undisturbed_study_stops_early_is_confirmed_and_spends_one_index(whole: Any) -> None:
    _, text, held, writes = whole

    record = json.loads(text)
    assert record["outcome"] == "supported"
    assert record["saved"]["trials"] == 2
    assert (record["stream"]["index"], record["stream"]["goal"]) == (1, "seeing")
    assert len(held) == 6
    assert writes > 20


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_row_29_killed_at_every_write_and_started_again_it_ends_at_the_same_verdict(
    tmp_path: Path, whole: Any, tools: Any, after: bool
) -> None:
    hypothesis, text, held, writes = whole

    for cut in range(writes):
        folder = tmp_path / str(cut)
        with pytest.MonkeyPatch.context() as patch:
            Deadline(cut, after=after).install(patch)
            with pytest.raises(Killed):
                run(folder, hypothesis)

        again = run(folder, hypothesis)

        assert tools.measured(again) == tools.measured(text), f"killed {'after' if after else 'before'} write {cut}"
        assert tools.every(folder) == held
        with novum.Study(folder).reading() as ledger:
            ledger.verify()
            assert [row["index"] for row in ledger.streams("seeing")] == [1]


def test_row_29_every_prefix_of_the_event_log_replays_to_the_same_verdict(
    tmp_path: Path, whole: Any, tools: Any
) -> None:
    """Only the ledger survives, cut after any of its events: no weights, no spool, no kept results."""
    hypothesis, text, held, _ = whole
    prefixes: list[bytes] = []
    real = Database.write

    @contextmanager
    def write(database: Database) -> Iterator[Any]:
        with real(database) as connection:
            yield connection
        with (
            closing(sqlite3.connect(tmp_path / "whole" / "ledger.sqlite")) as source,
            closing(sqlite3.connect(":memory:")) as copy,
        ):
            source.backup(copy)
            prefixes.append(copy.serialize())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write)
        assert tools.measured(run(tmp_path / "whole", hypothesis)) == tools.measured(text)
    assert len(prefixes) > 20

    for cut, prefix in enumerate(prefixes):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "ledger.sqlite").write_bytes(prefix)

        again = run(folder, hypothesis)

        assert tools.measured(again) == tools.measured(text), f"cut after write {cut}"
        assert tools.every(folder) == held
        with novum.Study(folder).reading() as ledger:
            ledger.verify()
            assert [row["index"] for row in ledger.streams("seeing")] == [1]
            assert len(ledger.openings()) == 1
