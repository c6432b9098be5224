"""Rows 5 and 6 with several machines: sessions with folders of their own that share a ledger on a server."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger import Ledger

BEAT = {"NOVUM_BEAT": "0.3"}


def held(url: str, folder: Path) -> list[dict[str, Any]]:
    with Ledger.open(folder, url=url, create=False, read_only=True) as ledger:
        return ledger.trials()


def check(url: str, folder: Path, whole: Any, tools: Any, outs: list[str]) -> None:
    """One verdict, that of a study that nothing disturbed; each trial ended once."""
    assert len(set(outs)) == 1, outs
    assert tools.measured(outs[0]) == whole[0]
    with Ledger.open(folder, url=url, create=False) as ledger:
        ledger.verify()
        (row,) = ledger.hypotheses()
        assert ledger.verdict(row["id"]) == outs[0].strip()
        assert [stream["index"] for stream in ledger.streams()] == [1]
        ended = [event["payload"]["trial"] for event in ledger.events(kind="finished")]
        assert len(ended) == len(set(ended))
        scored = {row["key"]: row["state"] for row in ledger.trials()}
    assert all(scored[trial] == state for trial, state, _, _ in whole[1])
    assert novum.Study(folder, ledger=url).verdict(row["id"], recompute=True).text == outs[0].strip()


def test_row_5_two_machines_work_on_one_study_and_run_no_trial_twice(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, postgres: Any
) -> None:
    for attempt in range(3):
        url = postgres.url()
        folders = [tmp_path / f"{attempt}-{machine}" for machine in "ab"]
        loops = [start(each, *words, "--ledger", url, SOAK_SECONDS="0.3", **BEAT) for each in folders]

        ends = [loop.end() for loop in loops]

        assert [code for code, _, _ in ends] == [0, 0], [err for _, _, err in ends]
        check(url, folders[0], whole, tools, [out for _, out, _ in ends])
        rows = [row for row in held(url, folders[0]) if row["kind"] == "train" and row["state"] == "done"]
        assert {row["attempts"] for row in rows} == {1}
        with Ledger.open(folders[0], url=url, create=False) as ledger:
            assert len(ledger.hypotheses()) == 1
            assert [each["state"] for each in ledger.sessions()] == ["ended", "ended"]
    assert len({row["session"] for row in rows}) == 2, "one machine did everything"


def test_row_6_a_machine_that_stalls_loses_its_trials_and_its_late_results_are_superseded(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, postgres: Any
) -> None:
    url = postgres.url()
    first = start(tmp_path / "a", *words, "--ledger", url, "--workers", "1", SOAK_SECONDS="0.5", **BEAT)
    tools.wait_for(lambda: running(url, tmp_path), "a trial on the first machine")
    groups = first.groups()
    (stalled,) = running(url, tmp_path)
    first.kill(signal.SIGSTOP)  # the loop and its heartbeat; its worker goes on and spools its result

    second = start(tmp_path / "b", *words, "--ledger", url, SOAK_SECONDS="0.1", **BEAT)
    tools.wait_for(lambda: state(url, tmp_path, stalled["key"]) == ("done", 2), "the takeover")
    first.kill(signal.SIGCONT)
    ends = [first.end(), second.end()]

    assert [code for code, _, _ in ends] == [0, 0], [err for _, _, err in ends]
    check(url, tmp_path / "a", whole, tools, [out for _, out, _ in ends])
    with Ledger.open(tmp_path, url=url, create=False) as ledger:
        told = ledger.events(kind="superseded")
        assert [(event["payload"]["trial"], event["payload"]["attempt"]) for event in told] == [(stalled["key"], 1)]
        row = ledger.trial(stalled["key"])
    assert row is not None and row["attempts"] == 2
    assert [pid for pid in groups if tools.alive(pid)] == []


def running(url: str, folder: Path) -> list[dict[str, Any]]:
    try:
        return [row for row in held(url, folder) if row["state"] == "running"]
    except novum.StudyError:
        return []


def state(url: str, folder: Path, key: str) -> tuple[str, int]:
    (row,) = [row for row in held(url, folder) if row["key"] == key]
    return row["state"], row["attempts"]


@pytest.mark.parametrize("again", [False, True], ids=["other-machine", "same-machine"])
def test_row_6_what_a_killed_machine_ran_is_run_by_who_is_left(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, postgres: Any, again: bool
) -> None:
    url = postgres.url()
    first = start(tmp_path / "a", *words, "--ledger", url, SOAK_SECONDS="0.5", **BEAT)
    tools.wait_for(lambda: running(url, tmp_path), "a trial")
    first.kill()
    first.process.communicate()
    folder = tmp_path / ("a" if again else "b")

    code, out, err = start(folder, *words, "--ledger", url, SOAK_SECONDS="0.05", **BEAT).end()

    assert code == 0, err
    check(url, folder, whole, tools, [out])
    with Ledger.open(folder, url=url, create=False) as ledger:
        assert [each["state"] for each in ledger.sessions()] == ["lost", "ended"]


def test_a_folder_remembers_its_server_without_the_password(
    tmp_path: Path, start: Any, words: Any, postgres: Any
) -> None:
    url = postgres.url().replace("?", "?connect_timeout=7&", 1)
    secret = url.replace("@", ":hunter2@", 1)
    code, _, err = start(tmp_path, *words, "--ledger", secret, SOAK_SECONDS="0.02").end()

    assert code == 0, err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    assert novum.Study(tmp_path).status()["state"] == "idle"
    assert not (tmp_path / "ledger.sqlite").exists()
    with pytest.raises(novum.ConfigError, match="a study has one: leave --ledger"):
        novum.Study(tmp_path, ledger=postgres.url()).status()


def test_a_function_is_not_compared_in_a_study_that_machines_share(tmp_path: Path, postgres: Any) -> None:
    study = novum.Study(tmp_path, ledger=postgres.url())

    with pytest.raises(novum.StudyError, match="a function cannot travel to them; give compare a study of its own"):
        novum.compare(control=lambda seed: 0.5, treatment=lambda seed: 0.6, max_seeds=3, study=study)

    assert study.hypotheses() == []
