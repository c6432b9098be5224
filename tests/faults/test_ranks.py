"""Trials over several devices whose processes are killed: no re-roll, no orphan, no hang (rows 1, 2, 17 and 26)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.executors import Job, LocalExecutor, Result
from novum.lab import local_code
from novum.runner.resolve import resolve


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    with LocalExecutor(tmp_path_factory.mktemp("local"), workers=1, grace=1.0) as executor:
        yield executor


@pytest.fixture
def net(ranked: Any, toy: Any) -> Any:
    """Makes an arm of the network of tests/ranked.py, over two devices."""

    def make(recipe: dict[str, Any] | None = None, **model: Any) -> novum.Arm:
        return novum.arm(novum.task(toy.Blobs, noise=0.0), novum.model(ranked.Net, **model), **(recipe or {}))

    return make


def job(arm: novum.Arm, key: str, timeout: float | None = None) -> Job:
    told = {"key": key, "plan": resolve(arm.to_json()), "seed": {"root": 0, "block": "0", "index": 0}, "points": 3}
    told |= {"parent": None, "tracker": "jsonl", "local": local_code(arm.to_json()), "checkpoint_every": 0.0}
    return Job(key, "train", told, timeout=timeout)


def one(executor: LocalExecutor, work: Job) -> Result:
    (result,) = executor.run([work])
    executor.acknowledge(result.job)
    return result


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.with_suffix(".pids").read_text().split()]


def numbers(value: dict[str, Any]) -> dict[str, Any]:
    left = {name: value[name] for name in ("units", "diverged", "scores", "weights", "bytes", "deviations")}
    return left | {"curve": [point | {"seconds": 0.0} for point in value["curve"]]}


def test_row_26_whichever_rank_is_killed_the_trial_goes_on_from_its_checkpoint_to_the_same_bytes(
    local: LocalExecutor, net: Any, tmp_path: Path
) -> None:
    file = tmp_path / "kills"
    arm = net(dropout=0.3, file=str(file), kills=[[0, 5], [1, 9]])  # of 18 batches; the second counts from the fifth
    file.write_text("killed\n" * 2)
    undisturbed = one(local, job(arm, "whole")).value
    file.write_text("")

    first, second, third = (one(local, job(arm, "killed")) for _ in range(3))

    assert first.lost and first.error is not None and "SIGKILL" in first.error.message
    assert second.error is not None and second.error.type == "RankLost"
    assert undisturbed is not None and third.value is not None
    assert numbers(third.value) == numbers(undisturbed)
    assert third.value["resumed"] == [28, 84]
    assert not [pid for pid in pids(file) if _alive(pid)]
    assert not list((local.folder / "scratch").glob("ranks-*"))


@pytest.mark.parametrize("how", ["stopped", "timeout"])
def test_row_17_a_rank_that_stands_still_ends_with_its_trial_and_leaves_no_process(
    local: LocalExecutor, net: Any, tmp_path: Path, tools: Any, how: str
) -> None:
    file = tmp_path / "kills"
    arm = net({"budget": "100_000 epochs"}, file=str(file))
    work = job(arm, f"still-{how}", timeout=15.0 if how == "timeout" else None)
    work.payload["checkpoint_every"] = None

    def disturb() -> None:
        others = tools.wait_for(lambda: file.with_suffix(".pids").exists() and len(pids(file)) == 2, "two ranks")
        assert others
        os.kill(pids(file)[1], signal.SIGSTOP)
        if how == "stopped":
            local.cancel([work.id])

    thread = threading.Thread(target=disturb)
    thread.start()
    result = one(local, work)
    thread.join()

    assert result.error is not None
    assert result.error.type == {"stopped": "Cancelled", "timeout": "Timeout"}[how]
    tools.wait_for(lambda: not [pid for pid in pids(file) if _alive(pid)], "the end of every rank")


def test_row_1_a_study_tries_a_trial_again_that_lost_a_rank_and_gives_the_verdict_of_one_that_did_not(
    net: Any, tmp_path: Path, tools: Any
) -> None:
    file = tmp_path / "kills"
    arm = net({"budget": "6 epochs", "learning_rate": 0.05}, file=str(file), kills=[[1, 4]])
    claim = novum.Hypothesis("it reaches 0.6", control=0.6, treatment=arm, max_seeds=3)

    texts = []
    for before in ("killed\n", ""):
        file.write_text(before)
        with novum.Study(tmp_path / f"study-{len(before)}", workers=1) as study:
            texts.append(study.run(claim).text)
            with study.reading() as ledger:
                attempts = [row["attempts"] for row in ledger.trials() if row["kind"] == "train"]

    assert tools.measured(texts[0]) == tools.measured(texts[1])
    assert tools.measured(texts[0])["outcome"] == "supported"
    assert sorted(attempts) == [1, 1, 2]
    assert not [pid for pid in pids(file) if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
