"""Rows 18, 27 and 30: clocks that jump, code or data that changed in between, peeking, and results out of order."""

from __future__ import annotations

import importlib.metadata
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.lab import Listener
from novum.ledger import Ledger, journal

FAST = {"SOAK_SECONDS": "0.03"}


# ------------------------------------------------------------------------------------------------------ row 18


@pytest.mark.parametrize("days", [1, -1])
def test_row_18_a_clock_that_jumps_changes_no_verdict_no_order_and_no_duration(
    tmp_path: Path, claim: Any, tools: Any, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    hypothesis = claim(max_seeds=4)
    expected = novum.Study(tmp_path / "calm", executor="inline", listener=Listener()).run(hypothesis)
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (calls[0] % 3) * days * 86_400

    def now() -> str:
        return (datetime.now(UTC) + timedelta(days=(calls[0] % 3) * days)).isoformat(timespec="milliseconds")

    monkeypatch.setattr(time, "time", jumping)
    for module in ("claims", "trials", "sessions", "streams", "journal"):
        monkeypatch.setattr(f"novum.ledger.{module}.now", lambda: (jumping(), now())[1])
    study = novum.Study(tmp_path / "jumping", executor="inline", listener=Listener())

    verdict = study.run(hypothesis)

    assert calls[0] > 20
    assert tools.measured(verdict.text) == tools.measured(expected.text)
    assert all(0.0 <= row["seconds"] < 60.0 for row in study.rows())
    with study.reading() as ledger:
        ledger.verify()
        events = ledger.events()
        states = [each["state"] for each in ledger.sessions()]
    assert states == ["ended"]
    assert [each["seq"] for each in events] == sorted(each["seq"] for each in events)
    times = [each["time"] for each in events]
    assert times != sorted(times), "the clock did not jump"
    assert all(row["seconds"] >= 0.0 for row in study.status()["running"])


def test_row_18_no_lease_is_lost_to_a_clock(tmp_path: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from novum.session import Session

    monkeypatch.setenv("NOVUM_BEAT", "0.05")
    url, real = postgres.url(), time.time
    with Ledger.open(tmp_path, url=url) as ledger:
        with Session(ledger, tmp_path, "local") as first, Session(ledger, tmp_path, "local") as second:
            for days in (0, 1, -1, 300):
                monkeypatch.setattr(time, "time", lambda days=days: real() + days * 86_400)
                for _ in range(4):
                    assert first.take_over() == second.take_over() == []
                    time.sleep(0.06)
        assert [each["state"] for each in ledger.sessions()] == ["ended", "ended"]


def test_row_18_a_heartbeat_that_stands_still_is_noticed_after_six_looks(
    tmp_path: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum import session

    monkeypatch.setenv("NOVUM_BEAT", "0.05")
    with Ledger.open(tmp_path, url=postgres.url()) as ledger:
        elsewhere = session.about(tmp_path, "local") | {"host": "elsewhere"}
        ledger.begin_session("silent", elsewhere)
        ledger.plan_trials([{"key": "t", "arm": "a", "block": "b", "index": 0, "kind": "train"}])
        ledger.claim("t", "silent")

        with session.Session(ledger, tmp_path, "local") as mine:
            found, looks = [], 0
            while not found and looks < 100:
                looks += 1
                time.sleep(0.06)
                found = mine.take_over()

        row = ledger.trial("t")
    assert (found, looks) == (["silent"], 1 + session.LOOKS)
    assert row is not None and row["state"] == "planned"


# ------------------------------------------------------------------------------------------------------ row 27


def test_row_27_changed_data_stop_a_study_that_goes_on_when_they_are_put_back(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    loop = start(tmp_path, *words, SOAK_SECONDS="0.2")
    tools.wait_for(lambda: loop.ended() >= 3, "three trials")
    loop.kill()
    loop.process.communicate()
    held = tools.rows(tmp_path)

    code, out, err = start(tmp_path, *words, SOAK_DATA="touched", **FAST).end()

    assert (code, out) == (3, "")
    assert "control on Coin: the data; treatment on Coin: the data. Numbers from before and after" in err
    assert "These arms would have to run anew: control on Coin, treatment on Coin (" in err
    assert "with --new" in err
    assert set(held) <= set(tools.rows(tmp_path))
    code, out, err = start(tmp_path, *words, **FAST).end()
    assert code == 0, err
    tools.check_whole(tmp_path, whole, out)


def test_row_27_new_registers_a_child_that_names_its_parent_and_shares_no_seed(
    tmp_path: Path, start: Any, words: Any, tools: Any
) -> None:
    loop = start(tmp_path, *words, SOAK_SECONDS="0.2")
    tools.wait_for(lambda: loop.ended() >= 3, "three trials")
    loop.kill()
    loop.process.communicate()

    code, out, err = start(tmp_path, *words, "--new", SOAK_DATA="touched", **FAST).end()

    assert code == 0, err
    first, second = novum.Study(tmp_path).hypotheses()
    assert (second["parent"], json.loads(out)["hypothesis"]) == (first["id"], second["id"])
    with Ledger.open(tmp_path) as ledger:
        plans = [ledger.experiment(each["id"])["plan"] for each in (first, second)]
    assert plans[0]["tasks"]["Coin"]["control"]["data"] != plans[1]["tasks"]["Coin"]["control"]["data"]
    assert first["id"] != second["id"]


def test_row_27_another_torch_is_named_with_the_arms_that_it_concerns(
    tmp_path: Path, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(Listener):
        def trial(self, *told: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        novum.Study(tmp_path, executor="inline", listener=Stopping()).run(claim())
    real = importlib.metadata.version

    def version(name: str) -> str:
        return "9.9.9" if name == "torch" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)

    with pytest.raises(novum.StudyError, match=r"torch \(.* → 9\.9\.9\).*treatment on Blobs: torch") as caught:
        novum.Study(tmp_path, executor="inline", listener=Listener()).run(claim())

    assert caught.value.exit_code == 3
    assert "--new" in str(caught.value)


def test_row_27_another_numpy_is_on_record_and_stops_nothing(
    tmp_path: Path, claim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum import session

    class Stopping(Listener):
        def trial(self, *told: Any) -> None:
            raise KeyboardInterrupt

    expected = novum.Study(tmp_path / "whole", executor="inline", listener=Listener()).run(claim())
    with pytest.raises(KeyboardInterrupt):
        novum.Study(tmp_path / "cut", executor="inline", listener=Stopping()).run(claim())
    now = session.environment()
    now["packages"] = {**now["packages"], "numpy": "9.9.9"}
    monkeypatch.setattr(session, "environment", lambda: now)

    study = novum.Study(tmp_path / "cut", executor="inline", listener=Listener())
    verdict = study.run(claim())

    assert verdict.outcome == expected.outcome
    with study.reading() as ledger:
        first, second = [each["about"]["environment"] for each in ledger.sessions()]
        known = ledger.observation(f"environment/{second}")
    assert first != second
    assert known is not None and known["packages"]["numpy"] == "9.9.9"


# ------------------------------------------------------------------------------------------------------ row 30


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_row_30_results_out_of_the_order_of_the_seeds_give_the_same_verdict(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, workers: str
) -> None:
    slow = '{"control/0": "slow", "treatment/2": "slow", "control/3": "slow"}'

    code, out, err = start(tmp_path, *words, "--workers", workers, SOAK_FAULTS=slow, **FAST).end()

    assert code == 0, err
    tools.check_whole(tmp_path, whole, out)
    with Ledger.open(tmp_path) as ledger:
        order = {row["key"]: row["index"] for row in ledger.trials()}
        ended = [order[event["payload"]["trial"]] for event in ledger.events(kind="finished")]
    assert workers == "1" or ended != sorted(ended), "nothing came out of order"


def test_row_30_a_hundred_looks_while_it_runs_and_after_it_change_nothing(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    loop = start(tmp_path, *words, SOAK_SECONDS="0.2")
    tools.wait_for(lambda: loop.ended() >= 1, "a trial")
    study, looks = novum.Study(tmp_path), [0]

    def peek() -> None:
        while loop.process.poll() is None and looks[0] < 100:
            study.status()
            study.rows()
            looks[0] += 1

    peeking = threading.Thread(target=peek)
    peeking.start()
    code, out, err = loop.end()
    peeking.join()

    assert code == 0, err
    assert looks[0] >= 10
    tools.check_whole(tmp_path, whole, out)
    (row,) = study.hypotheses()
    with study.reading() as ledger:
        before = ledger.events()
    for _ in range(100):
        assert study.verdict(row["id"], recompute=True).text == out.strip()
    study.report(row["id"])
    with study.reading() as ledger:
        assert ledger.events() == before
        assert before[0]["previous"] == journal.GENESIS
