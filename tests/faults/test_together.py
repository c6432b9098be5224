"""Rows 1, 2, 9, 15 and 29 for trials that are trained together: one job, a row and a result for each of them."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.executors import spool
from novum.ledger import Ledger

TOGETHER = {"SOAK_TOGETHER": "1", "SOAK_SECONDS": "0.02"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, words: Any, tools: Any) -> tuple[Any, list[tuple[Any, ...]]]:
    """The verdict of the claim of `whole`, in blocks of seeds, and its rows."""
    import os

    folder = tmp_path_factory.mktemp("together") / "study"
    done = subprocess.run(
        [sys.executable, str(tools.loop), str(folder), *words, "--workers", "1"],
        capture_output=True, text=True, timeout=120, check=True, env={**os.environ, **TOGETHER},
    )  # fmt: skip
    verdict = tools.measured(done.stdout)
    used = verdict["tasks"]["Coin"]["pairs"]
    seeds = {row["trial"]: row["seed"] for row in novum.Study(folder).rows()}
    return verdict, [row for row in tools.rows(folder) if seeds[row[0]] < used]


def plan_of(folder: Path) -> dict[str, Any]:
    with Ledger.open(folder, create=False, read_only=True) as ledger:
        (row,) = ledger.hypotheses()
        return dict(ledger.experiment(row["id"])["plan"])


def running(folder: Path) -> list[str]:
    if not (folder / "ledger.sqlite").exists():
        return []
    with suppress(novum.StudyError), Ledger.open(folder, create=False, read_only=True) as ledger:
        return [row["key"] for row in ledger.trials() if row["state"] == "running"]
    return []


def test_looks_come_at_the_ends_of_blocks_and_a_decision_spares_the_rest(
    tmp_path: Path, start: Any, words: Any, tools: Any
) -> None:
    code, out, err = start(tmp_path, *words, **TOGETHER).end()

    assert code == 0, err
    task = plan_of(tmp_path)["tasks"]["Coin"]
    assert task["test"]["looks"] == [5, 10]
    assert task["blocks"] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    verdict = json.loads(out)
    assert (verdict["outcome"], verdict["tasks"]["Coin"]["pairs"]) == ("supported", 5)


def test_row_1_a_killed_job_of_many_trials_is_done_again_for_all_of_them(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any
) -> None:
    faults = json.dumps({"control/3": "kill", "treatment/0": "exit"})

    code, out, err = start(tmp_path, *words, SOAK_FAULTS=faults, **TOGETHER).end()

    assert code == 0, err
    tools.check_whole(tmp_path, undisturbed, out)
    first = [row for row in novum.Study(tmp_path).rows() if row["seed"] < 5]
    assert {row["attempts"] for row in first} == {2}


def test_row_2_a_loop_that_is_killed_again_and_again_gives_the_same_verdict(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any
) -> None:
    draw = random.Random(7)
    for study in range(3):
        folder = tmp_path / str(study)
        for _ in range(5):
            loop = start(folder, *words, **TOGETHER)
            time.sleep(draw.uniform(0.2, 1.2))
            loop.kill()
            loop.process.communicate()

        code, out, err = start(folder, *words, **TOGETHER).end()

        assert code == 0, err
        tools.check_whole(folder, undisturbed, out)


@pytest.mark.parametrize("divided", [0, 2])
def test_row_29_a_result_that_was_left_undivided_is_divided_before_anything_runs(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any, divided: int
) -> None:
    loop = start(tmp_path, *words, "--workers", "1", **{**TOGETHER, "SOAK_SECONDS": "0.3"})
    tools.wait_for(lambda: running(tmp_path), "a block that is claimed")
    time.sleep(0.3)  # until its job has been sent; it takes five times as long
    loop.kill(signal.SIGSTOP)  # the loop sleeps while its worker ends: the result stays in the spool
    left = tools.wait_for(lambda: list((tmp_path / "spool").glob("*-together.*.json.gz")), "the result of a block")
    loop.kill()
    loop.process.communicate()
    told = json.loads(gzip.decompress(left[0].read_bytes()))
    for key in list(told["about"]["attempts"])[:divided]:  # it was killed in the middle of dividing
        about = told["about"]["rows"][key]
        spool.write(tmp_path, key, {"value": told["value"]["trials"][key]}, told["about"]["attempts"][key], about)

    code, out, err = start(tmp_path, *words, **TOGETHER).end()

    assert code == 0, err
    tools.check_whole(tmp_path, undisturbed, out)
    assert list((tmp_path / "spool").glob("*")) == []
    taken = {row["trial"]: row["attempts"] for row in novum.Study(tmp_path).rows()}
    assert [taken[key] for key in told["about"]["attempts"]] == [1] * 5


def test_row_15_a_block_out_of_memory_runs_alone_and_then_in_micro_batches(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any
) -> None:
    faults = json.dumps({"control/1": "device-memory"})

    code, out, err = start(tmp_path, *words, SOAK_FAULTS=faults, **TOGETHER).end()

    assert code == 0, err
    tools.check_whole(tmp_path, undisturbed, out)
    with Ledger.open(tmp_path, create=False, read_only=True) as ledger:
        told = [row["result"]["deviations"] for row in ledger.trials() if row["kind"] == "train" and row["result"]]
    assert told.count(["it ran alone, after the device had run out of memory"]) == 5


def test_row_9_one_diverged_trial_of_a_block_counts_and_the_others_keep_their_numbers(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any
) -> None:
    code, _, err = start(tmp_path, *words, SOAK_FAULTS=json.dumps({"control/2": "nan"}), **TOGETHER).end()

    assert code == 0, err
    ours = {row[0]: row[1:3] for row in tools.rows(tmp_path)}
    theirs = {row[0]: row[1:3] for row in undisturbed[1] if row[0] in ours}
    assert len(theirs) >= 10
    assert [ours[key] for key, told in theirs.items() if ours[key] != told] == [("diverged", None)]


def test_a_block_whose_code_raises_makes_the_claim_invalid(tmp_path: Path, start: Any, words: Any) -> None:
    code, out, _ = start(tmp_path, *words, SOAK_FAULTS=json.dumps({"treatment/4": "raise!"}), **TOGETHER).end()

    verdict = json.loads(out)
    assert (code, verdict["outcome"]) == (0, "invalid")
    states = [row["state"] for row in novum.Study(tmp_path).rows() if row["side"] == "treatment" and row["seed"] < 5]
    assert states == ["failed"] * 5


def test_repair_rebuilds_a_study_of_blocks_from_what_is_kept(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any
) -> None:
    code, _, err = start(tmp_path, *words, **TOGETHER).end()
    assert code == 0, err
    before = tools.rows(tmp_path)
    (tmp_path / "ledger.sqlite").unlink()
    for more in tmp_path.glob("ledger.sqlite-*"):
        more.unlink()

    novum.Study(tmp_path).repair()

    assert [row[:3] for row in tools.rows(tmp_path)] == [row[:3] for row in before]


def test_row_5_two_machines_take_blocks_as_a_whole_and_run_none_twice(
    tmp_path: Path, start: Any, words: Any, tools: Any, undisturbed: Any, postgres: Any
) -> None:
    url = postgres.url()
    folders = [tmp_path / machine for machine in "ab"]
    slow = {**TOGETHER, "SOAK_SECONDS": "0.2", "NOVUM_BEAT": "0.3"}
    loops = [start(each, *words, "--ledger", url, "--workers", "1", **slow) for each in folders]

    ends = [loop.end() for loop in loops]

    assert [code for code, _, _ in ends] == [0, 0], [err for _, _, err in ends]
    assert len({out for _, out, _ in ends}) == 1
    assert tools.measured(ends[0][1]) == undisturbed[0]
    with Ledger.open(folders[0], url=url, create=False, read_only=True) as ledger:
        rows = [row for row in ledger.trials() if row["kind"] == "train" and row["state"] == "done"]
    sessions: dict[tuple[Any, ...], set[Any]] = {}
    for row in rows:
        sessions.setdefault((row["plan"]["side"], *row["plan"]["seed"]["indices"]), set()).add(row["session"])
    assert all(len(each) == 1 for each in sessions.values()), "a block was divided between machines"
    assert {row["attempts"] for row in rows} == {1}
    assert len(set.union(*sessions.values())) == 2, "one machine did everything"
