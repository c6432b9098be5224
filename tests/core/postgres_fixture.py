"""What the tests of a ledger on a PostgreSQL server share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from novum.ledger import Ledger, Score

HYPOTHESIS = {"id": "abcd-1", "fingerprint": "fp", "parent": None, "text": "größer ✓", "at": 0.1 + 0.2}
EXPERIMENT = {"id": "x1", "hypothesis": "abcd-1", "looks": [5, 10]}
STREAM = {"goal": "g", "index": 1, "rule": "r", "alpha": 0.05, "level": 0.1 / 3, "wealth_before": 1e-17}
STREAM |= {"wealth_after": 2.0**-1040, "finished": [], "rejections": []}
Server = Any


def jobs(*keys: str) -> list[dict[str, Any]]:
    return [{"key": key, "arm": "a", "block": "b", "index": at, "kind": "train"} for at, key in enumerate(keys)]


def fill(ledger: Ledger) -> None:
    """Write a row into every table."""
    ledger.register([(HYPOTHESIS | {"stream": STREAM}, EXPERIMENT)])
    ledger.plan_trials(jobs("t1", "t2"))
    ledger.begin_session("s1", {"process": 1})
    attempt = ledger.claim("t1", "s1")
    assert attempt is not None
    scores = {"dev": Score({"accuracy": 1 / 3}, {}, {"id": ["u"], "loss": [5e-324]}, 0.1)}
    ledger.finish("t1", attempt, "done", {"loss": 0.5}, scores)
    ledger.keep_weights("w1", 5 * 2**40, "t1")
    ledger.open_split("abcd-1", "test", ["t1"], "confirm")
    ledger.record_observation("digits", {"train.size": 10})
    ledger.record_verdict("abcd-1", '{"effect":0.1}')
    ledger.beat("s1")
    ledger.put_files("h1", {"a": b"\0\xff"})


@pytest.fixture
def url(postgres: Server) -> str:
    """Of a new study."""
    return str(postgres.url())


@pytest.fixture
def open_ledger(url: str, tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """Opens the test's study, once more at each call, as another session would."""
    opened: list[Ledger] = []

    def make(**options: Any) -> Ledger:
        opened.append(Ledger.open(tmp_path, url=url, **options))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger()


def study_of(url: str) -> str:
    return url.partition("study=")[2]


def edit(postgres: Server, url: str, sql: str, *values: object) -> None:
    with postgres.connect() as connection:
        connection.execute(f"SET search_path = {study_of(url)}")
        assert connection.execute(sql, values).rowcount == 1
