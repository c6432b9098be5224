"""Rows 1 to 6, 16, 17 and 29: whatever dies, nothing is lost, doubled or decided otherwise."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger import Ledger

FAST = {"SOAK_SECONDS": "0.03"}


def test_row_1_a_killed_worker_is_retried_on_the_same_seed_and_changes_nothing(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    faults = json.dumps({"control/0": "kill", "treatment/1": "kill", "control/2": "exit"})

    code, out, err = start(tmp_path, *words, SOAK_FAULTS=faults, **FAST).end()

    assert (code, err.count("was lost; the trial is tried again on the same seed")) == (0, 3)
    tools.check_whole(tmp_path, whole, out)
    attempts = {(row["side"], row["seed"]): row["attempts"] for row in novum.Study(tmp_path).rows()}
    assert [attempts[each] for each in (("control", 0), ("treatment", 1), ("control", 2))] == [2, 2, 2]


def test_row_1_workers_killed_at_random_steps_twenty_times_change_nothing(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    draw = random.Random(1)
    kills = 0
    for study in range(4):
        folder = tmp_path / str(study)
        loop = start(folder, *words, SOAK_SECONDS="0.3")
        hit: set[int] = set()
        while len(hit) < 5 and loop.process.poll() is None:
            pid = loop.worker() if loop.process.poll() is None else 0
            time.sleep(draw.uniform(0.0, 0.25))
            with Ledger.open(folder, create=False, read_only=True) as ledger:
                worn = [row for row in ledger.trials() if row["state"] == "running" and row["attempts"] > 2]
            if pid and pid not in hit and tools.alive(pid) and not worn:  # the third loss of a trial would be its last
                signal_group(pid)
                hit.add(pid)
        kills += len(hit)

        code, out, err = loop.end()

        assert code == 0, err
        tools.check_whole(folder, whole, out)
    assert kills >= 15


def signal_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


def test_row_1_a_worker_that_always_dies_makes_the_claim_invalid_after_three_tries(
    tmp_path: Path, start: Any, words: Any
) -> None:
    code, out, _ = start(tmp_path, *words, SOAK_FAULTS='{"control/0": "kill!"}', **FAST).end()

    verdict = json.loads(out)
    assert (code, verdict["outcome"]) == (0, "invalid")
    assert "was ended by SIGKILL (9)" in verdict["tasks"]["Coin"]["reasons"][0]
    (row,) = [row for row in novum.Study(tmp_path).rows() if row["side"] == "control" and row["seed"] == 0]
    assert (row["attempts"], row["state"]) == (3, "failed")


def test_row_2_a_killed_loop_leaves_no_orphan_and_goes_on_where_it_was(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    draw = random.Random(2)
    killed = 0
    for study in range(5):
        folder = tmp_path / str(study)
        for _ in range(4):
            loop = start(folder, *words, SOAK_SECONDS="0.1")
            if draw.random() < 0.7:
                tools.wait_for(lambda loop=loop: loop.groups()[1:] or loop.process.poll() is not None, "a job")
            time.sleep(draw.uniform(0.0, 0.8))
            groups = loop.groups()
            loop.kill()
            loop.process.communicate()
            killed += loop.process.returncode == -signal.SIGKILL
            deadline = time.monotonic() + 20  # two seconds and a half are meant; a busy machine may need more
            while any(tools.alive(pid) for pid in groups) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert [pid for pid in groups if tools.alive(pid)] == []

        code, out, err = start(folder, *words, **FAST).end()

        assert code == 0, err
        tools.check_whole(folder, whole, out)
    assert killed >= 15


def test_row_2_what_a_killed_server_left_is_ended_before_anything_runs(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    loop = start(tmp_path, *words, SOAK_FAULTS='{"control/0": "stop"}', SOAK_SECONDS="0.2")

    def frozen() -> int:  # a stopped process obeys nothing but SIGKILL
        return next((pid for pid in loop.groups() if state(pid) == "T"), 0)

    stopped = tools.wait_for(frozen, "the stop")
    loop.kill()
    loop.process.communicate()

    code, out, _ = start(tmp_path, *words, **FAST).end()

    assert code == 0
    assert not tools.alive(stopped)
    tools.check_whole(tmp_path, whole, out)
    assert list((tmp_path / "leases").glob("*.lease")) == []


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_row_4_a_signal_ends_the_workers_says_interrupted_and_resumes(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, number: int
) -> None:
    loop = start(tmp_path, *words, SOAK_SECONDS="1.0")
    loop.worker()
    loop.kill(number)

    code, _, err = loop.end()

    assert (code, err.splitlines()[-1]) == (130, "interrupted")
    assert [pid for pid in loop.groups() if tools.alive(pid)] == []
    assert novum.Study(tmp_path).status()["state"] == "interrupted"
    code, out, _ = start(tmp_path, *words, **FAST).end()
    assert code == 0
    tools.check_whole(tmp_path, whole, out)
    assert novum.Study(tmp_path).status()["state"] == "idle"


def test_row_4_a_second_ctrl_c_does_not_wait_for_a_worker_that_hears_nothing(
    tmp_path: Path, start: Any, tools: Any
) -> None:
    loop = start(tmp_path, SOAK_FAULTS='{"control/0": "deaf!", "treatment/0": "deaf!"}')
    worker = loop.worker()
    tools.wait_for(lambda: (tmp_path / "ledger.sqlite").exists() and list(tmp_path.glob("*.met")), "the deafness")

    loop.kill(signal.SIGINT)
    time.sleep(0.3)
    loop.kill(signal.SIGINT)
    code, _, _ = loop.end()

    assert code in (130, -signal.SIGINT)
    tools.wait_for(lambda: not tools.alive(worker), "the worker's end")


def test_row_5_of_two_loops_one_works_and_the_other_says_so(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        pair = [start(folder, *words, **FAST) for _ in range(2)]

        ends = [loop.end() for loop in pair]

        codes = sorted(code for code, _, _ in ends)
        assert codes in ([0, 0], [0, 3]), ends
        for code, out, err in ends:
            if code == 0:
                tools.check_whole(folder, whole, out)
            else:
                assert "is working in" in err and "wait for it, stop it, or use another folder" in err


def test_row_6_a_stalled_worker_is_stopped_at_its_timeout_and_its_late_result_is_superseded(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    code, out, err = start(tmp_path, *words, "--timeout", "2", SOAK_FAULTS='{"control/1": "stop"}', **FAST).end()

    assert code == 0
    assert err.count("was lost; the trial is tried again on the same seed") == 1
    tools.check_whole(tmp_path, whole, out)
    with Ledger.open(tmp_path) as ledger:
        late = next(row for row in ledger.trials() if row["attempts"] == 2)
        before = ledger.trial(late["key"])
        assert not ledger.finish(late["key"], 1, "done", {"late": True}, {})
        assert ledger.trial(late["key"]) == before
        (event,) = ledger.events(kind="superseded")
        assert (event["payload"]["attempt"], event["payload"]["current"]) == (1, ["done", 2])


def test_row_16_a_trial_without_memory_dies_alone_and_is_tried_again(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    code, out, err = start(tmp_path, *words, SOAK_FAULTS='{"control/0": "memory", "treatment/2": "kill"}', **FAST).end()

    assert code == 0
    assert err.count("tried again on the same seed") == 2
    tools.check_whole(tmp_path, whole, out)


def test_row_16_memory_that_is_never_enough_fails_the_trial_and_names_it(
    tmp_path: Path, start: Any, words: Any
) -> None:
    code, out, _ = start(tmp_path, *words, SOAK_FAULTS='{"control/0": "memory!"}', **FAST).end()

    assert code == 0
    assert "The trial of the control at seed 0 broke: MemoryError" in json.loads(out)["tasks"]["Coin"]["reasons"][0]


@pytest.mark.parametrize("how", ["hang", "deaf"])
def test_row_17_a_hang_is_killed_at_its_timeout_and_tried_again(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, how: str
) -> None:
    faults = json.dumps({"treatment/0": how})

    code, out, err = start(tmp_path, *words, "--timeout", "1.5", SOAK_FAULTS=faults, **FAST).end()

    assert code == 0
    assert err.count("tried again on the same seed") == 1
    tools.check_whole(tmp_path, whole, out)


def test_row_17_a_time_limit_that_the_recipe_registers_makes_a_hang_an_outcome(
    tmp_path: Path, start: Any, words: Any
) -> None:
    code, out, _ = start(tmp_path, *words, "--time-limit", "1", SOAK_FAULTS='{"treatment/0": "hang!"}', **FAST).end()

    assert code == 0
    (row,) = [row for row in novum.Study(tmp_path).rows() if row["side"] == "treatment" and row["seed"] == 0]
    assert (row["state"], row["attempts"]) == ("diverged", 1)
    (note,) = json.loads(out)["tasks"]["Coin"]["notes"]
    assert "it did not end within the 1 s that its recipe registers; it counts as the worst value" in note


def test_row_1_a_rehearsal_whose_process_is_killed_is_done_again(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    code, out, err = start(tmp_path, *words, SOAK_FAULTS='{"observe": "kill", "preflight": "kill"}', **FAST).end()

    assert code == 0, err
    assert len(list(tmp_path.glob("*.met"))) == 2
    tools.check_whole(tmp_path, whole, out)


@pytest.mark.parametrize("content", [b"", None], ids=["nothing-written", "header-only"])
def test_row_2_a_loop_killed_while_it_made_its_ledger_begins_anew(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any, content: bytes | None
) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(b"")
    if content is None:  # the switch to the write-ahead log writes the first page before any table is made
        with closing(sqlite3.connect(file)) as raw:
            raw.execute("PRAGMA journal_mode = WAL")
        assert file.stat().st_size > 0

    code, out, err = start(tmp_path, *words, **FAST).end()

    assert code == 0, err
    tools.check_whole(tmp_path, whole, out)
