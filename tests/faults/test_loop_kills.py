"""A closed loop that is killed at any event boundary goes on to the same lineage and the same verdicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("climbing.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came of a loop that nobody killed, and of one that was killed at every boundary."""
    folder = tmp_path_factory.mktemp("loop")

    def run(name: str, seen: str) -> dict[str, Any]:
        words = [sys.executable, str(SCRIPT), str(folder / name), seen]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(json.loads(done.stdout))

    return run("whole", "-"), run("killed", str(folder / "seen"))


def test_a_loop_is_killed_at_every_boundary_of_its_events(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    whole, killed = runs

    assert whole["kills"] == 0
    assert killed["kills"] > len(whole["trials"]) + len(whole["events"])


def test_killed_anywhere_it_comes_to_the_same_lineage_and_verdicts(
    runs: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    whole, killed = runs

    for name in ("lineage", "verdicts", "trials", "openings"):
        assert killed[name] == whole[name], name
    assert {each["outcome"] for each in whole["lineage"]["steps"]} >= {"supported"}
    assert any(not each["adopted"] for each in whole["lineage"]["steps"])


def test_no_proposal_is_drawn_twice(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    whole, killed = runs

    drawn = [json.dumps(each, sort_keys=True) for each in killed["proposals"]]
    assert len(set(drawn)) == len(drawn)
    assert killed["proposals"] == whole["proposals"]
    assert killed["events"] == whole["events"]
