"""Streams in the ledger: spent with the registration or not at all, in order, and covered by the chain of events."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from novum.errors import RegistrationError, StudyError
from novum.ledger import Ledger

Pair = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "study") as opened:
        yield opened


def account(index: int, goal: str = "g", **more: Any) -> dict[str, Any]:
    spent = {"level": 0.0109375, "wealth_before": 0.025, "wealth_after": 0.0140625, "finished": [], "rejections": []}
    return {"goal": goal, "index": index, "rule": "lord++", "alpha": 0.05, **spent, **more}


def claim(name: str, stream: dict[str, Any] | None = None) -> Pair:
    hypothesis = {"id": name, "fingerprint": f"fp-{name}", "parent": None, "claim": "A beats B"}
    return hypothesis | ({"stream": stream} if stream else {}), {"id": f"x-{name}", "hypothesis": name}


def test_an_account_comes_back_as_it_was_and_stays_in_the_hypothesis(ledger: Ledger) -> None:
    spent = account(1, finished=[3, 1], rejections=[3])

    ledger.register([claim("abcd-1", spent)])

    (row,) = ledger.streams()
    assert row.pop("time").endswith("+00:00")
    assert row == spent | {"hypothesis": "abcd-1"}
    assert ledger.hypothesis("abcd-1") == claim("abcd-1", spent)[0]


def test_a_hypothesis_without_a_stream_has_no_account(ledger: Ledger) -> None:
    ledger.register([claim("abcd-1")])

    assert ledger.streams() == []


def test_accounts_are_read_in_order_for_one_goal_or_for_all(ledger: Ledger) -> None:
    ledger.register([claim("a", account(1)), claim("b", account(1, "other")), claim("c", account(2))])

    assert [(row["goal"], row["index"]) for row in ledger.streams()] == [("g", 1), ("other", 1), ("g", 2)]
    assert [row["hypothesis"] for row in ledger.streams("g")] == ["a", "c"]
    assert ledger.streams("none") == []


@pytest.mark.parametrize(("index", "begun"), [(0, 0), (2, 0), (1, 1), (3, 1)])
def test_an_index_that_is_not_the_next_one_registers_nothing(ledger: Ledger, index: int, begun: int) -> None:
    ledger.register([claim(f"first-{at}", account(at)) for at in range(1, begun + 1)])
    before = ledger.events()

    with pytest.raises(RegistrationError, match=f"goal 'g' was given index {index}, but its next one is {begun + 1}"):
        ledger.register([claim("other", account(1, "h")), claim("late", account(index))])

    assert ledger.events() == before
    assert ledger.hypothesis("other") is ledger.hypothesis("late") is None
    assert [row["goal"] for row in ledger.streams()] == ["g"] * begun


@pytest.mark.parametrize("change", [{"rule": "lond"}, {"alpha": 0.1}])
def test_a_goal_keeps_the_rule_and_the_rate_that_it_began_with(ledger: Ledger, change: dict[str, Any]) -> None:
    ledger.register([claim("first", account(1))])

    with pytest.raises(
        RegistrationError, match=r"by 'lord\+\+' at 0\.05, received .*; a goal has one of each: use those"
    ):
        ledger.register([claim("second", account(2, **change))])

    assert ledger.hypothesis("second") is None
    assert len(ledger.streams()) == 1


def test_of_two_that_took_the_same_index_at_once_one_is_registered(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    together, refused = threading.Barrier(2), []

    def register(name: str) -> None:
        with Ledger.open(tmp_path) as mine:
            together.wait()
            try:
                mine.register([claim(name, account(1))])
            except RegistrationError:
                refused.append(name)

    both = [threading.Thread(target=register, args=(name,)) for name in ("one", "two")]
    for each in both:
        each.start()
    for each in both:
        each.join()

    with Ledger.open(tmp_path, read_only=True) as ledger:
        ledger.verify()
        (kept,) = ledger.streams()
        assert [row["id"] for row in ledger.hypotheses()] == [kept["hypothesis"]]
    assert sorted([*refused, kept["hypothesis"]]) == ["one", "two"]


@pytest.mark.parametrize("edit", ["UPDATE streams SET level = 0.05", "DELETE FROM streams"])
def test_an_account_that_was_edited_is_found(tmp_path: Path, edit: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.register([claim("abcd-1", account(1))])
        ledger.verify()

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as raw, raw:
        raw.execute(edit)

    with Ledger.open(tmp_path) as ledger, pytest.raises(StudyError, match="the row streams/abcd-1 is"):
        ledger.verify()
