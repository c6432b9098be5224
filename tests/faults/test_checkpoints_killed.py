"""Trials and savers whose processes are really killed (rows 10 and 26)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.executors import Job, LocalExecutor
from novum.lab import local_code
from novum.runner.resolve import resolve

HERE = Path(__file__).parent
KEY = "trial"


def job(arm: novum.Arm, **parts: Any) -> dict[str, Any]:
    given = {"key": KEY, "plan": resolve(arm.to_json()), "seed": {"root": 0, "block": "0", "index": 0}, "points": 5}
    given |= {"parent": None, "tracker": "jsonl", "local": local_code(arm.to_json()), "checkpoint_every": 0.0}
    return given | parts


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    left = {name: result[name] for name in ("units", "diverged", "start", "scores", "weights", "bytes")}
    return left | {"curve": [point | {"seconds": 0.0} for point in result["curve"]]}


# --------------------------------------------------------------------------------------------- 10: a kill while writing


def test_row_10_whenever_a_process_is_killed_while_it_saves_the_newest_whole_checkpoint_loads(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, HERE / "killing.py", tmp_path, "20"], capture_output=True, text=True, timeout=300, check=False
    )

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert len(found) == 20
    for each in found:
        assert each["held"] - each["told"] in (0, 1)  # what was told is there; one more may have been placed untold
        assert each["deviations"] == []
    assert [each["held"] for each in found] == sorted({each["held"] for each in found})
    assert sum(each["torn"] for each in found) > 0  # else no kill came while a file was written
    names = sorted(path.name for path in (tmp_path / "checkpoints" / "tight").iterdir())
    assert len(names) <= 3 and all(name.isdecimal() for name in names)


# ------------------------------------------------------------------------------------------- 26: a trial that is killed


@pytest.fixture(scope="module")
def killing() -> Any:
    """The module killing.py, loaded by path, so that its classes travel as those of a script do."""
    spec = importlib.util.spec_from_file_location("novum_tests_killing", HERE / "killing.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    with LocalExecutor(tmp_path_factory.mktemp("local"), workers=1) as executor:
        yield executor


def until_it_ends(executor: LocalExecutor, payload: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The value of a trial that is started again whenever it is lost, and how often it was."""
    for losses in range(10):
        (result,) = executor.run([Job(payload["key"], "train", payload)])
        executor.acknowledge(result.job)
        if not result.lost:
            assert result.value is not None, result.error
            return result.value, losses
        assert result.error is not None and "SIGKILL" in result.error.message
    raise AssertionError("it never ended")


@pytest.mark.parametrize(
    ("loaders", "kills", "resumed"),
    [
        (0, [1], []),  # before anything was saved
        (0, [6], [40]),  # between two passes
        (0, [8], [56]),  # within one
        (0, [6, 3, 1, 4], [40, 56, 80]),  # again and again; the third process had not yet saved
        (2, [6], []),  # processes that load batches promise no state
        (2, [8, 3], []),
    ],
)
def test_row_26_a_trial_whose_process_is_killed_ends_with_the_numbers_of_one_that_is_not(
    killing: Any, local: LocalExecutor, tmp_path: Path, loaders: int, kills: list[int], resumed: list[int]
) -> None:
    count = tmp_path / "kills"
    arm = novum.arm(
        novum.task(killing.Points, loaders=loaders), novum.model(killing.Mortal, file=str(count), kills=kills)
    )
    given = job(arm, points=2)
    name = f"{loaders}-{'-'.join(map(str, kills))}"
    count.write_text("killed\n" * len(kills))
    undisturbed, none = until_it_ends(local, given | {"key": f"whole-{name}"})
    count.write_text("")

    result, losses = until_it_ends(local, given | {"key": f"killed-{name}"})

    assert (none, losses) == (0, len(kills))
    assert numbers(result) == numbers(undisturbed)
    assert result["resumed"] == resumed
    assert result["deviations"] == undisturbed["deviations"] == []
