"""Studies in processes of their own, to be killed: the real loop, executor and ledger around a stand-in for training
(experiments/soak).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger import Ledger

LOOP = Path(__file__).parents[2] / "experiments" / "soak" / "loop.py"
PATIENCE = 120.0
"""Seconds after which something that never happens fails its test."""


def wait_for(what: Callable[[], Any], told: str) -> Any:
    """The first truth that `what` gives."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"it never happened: {told}")


@dataclass
class Loop:
    """A study's process."""

    process: subprocess.Popen[str]
    folder: Path

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: status, standard output, standard error."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def groups(self) -> list[int]:
        """Process ids of its fork server and of the jobs that this has started, by its lease."""
        found = []
        for path in (self.folder / "leases").glob("*.lease"):
            with suppress(FileNotFoundError):
                lines = path.read_text().splitlines()
                found += [int(json.loads(line)["pid"]) for line in lines if line.endswith("}")]
        return found

    def worker(self) -> int:
        """A job of it that trains now: the newest one that lives."""
        return int(wait_for(lambda: next((pid for pid in reversed(self.groups()[1:]) if alive(pid)), 0), "a job"))

    def ended(self) -> int:
        """How many trials have ended."""
        if not (self.folder / "ledger.sqlite").exists():
            return 0
        with suppress(novum.StudyError), Ledger.open(self.folder, create=False, read_only=True) as ledger:
            return len(ledger.finished())
        return 0


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def start() -> Iterator[Callable[..., Loop]]:
    """Starts a study's process: `start(folder, "--seeds", "8", SOAK_SECONDS="0.2")`. What is left is killed."""
    begun: list[Loop] = []

    def run(folder: Path, *words: str, **environment: str) -> Loop:
        process = subprocess.Popen(
            [sys.executable, str(LOOP), str(folder), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        begun.append(Loop(process, folder))
        return begun[-1]

    yield run
    for loop in begun:
        with suppress(ProcessLookupError):
            loop.process.send_signal(signal.SIGCONT)
        if loop.process.poll() is None:
            loop.process.kill()
            loop.process.communicate()


def measured(text: str) -> Any:
    """A verdict without what a clock or a memory gauge measured."""
    record = json.loads(text)
    for part in [record, *record["tasks"].values(), *(task["new_data"] or {} for task in record["tasks"].values())]:
        part.pop("cost", None)
        part.pop("saved", None)
    return record


def every(folder: Path) -> list[tuple[Any, ...]]:
    """What a study holds of its trials, as far as no clock has a part in it."""
    found = novum.Study(folder).rows()
    return sorted((row["trial"], row["state"], row.get("dev.accuracy"), row.get("test.accuracy")) for row in found)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """The same of the trials that ended."""
    return [row for row in every(folder) if row[1] in ("done", "diverged", "failed")]


def check_whole(folder: Path, whole: tuple[Any, list[tuple[Any, ...]]], out: str) -> None:
    """The verdict is that of a study that nothing disturbed, no row is lost, doubled or other, and the record holds."""
    assert measured(out) == whole[0]
    held = rows(folder)
    assert len({row[0] for row in held}) == len(held)
    assert set(whole[1]) <= set(held), "a trial that the verdict rests on is missing or has other numbers"
    with Ledger.open(folder, create=False) as ledger:
        ledger.verify()
        (row,) = ledger.hypotheses()
        assert ledger.verdict(row["id"]) == out.strip()
        assert [stream["index"] for stream in ledger.streams()] == [1]
        assert len([each for each in ledger.openings() if each["split"] == "test"]) <= 1
    assert novum.Study(folder).verdict(row["id"], recompute=True).text == out.strip()


WORDS = ("--seeds", "10", "--skill", "0.04")
"""A claim that is supported after a few of ten pairs, and confirmed on new data."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[tuple[Any, ...]]]:
    """The verdict of a study that nothing disturbed, and the rows that it rests on."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    done = subprocess.run(
        [sys.executable, str(LOOP), str(folder), *WORDS, "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    verdict = measured(done.stdout)
    assert verdict["outcome"] == "supported"
    used = verdict["tasks"]["Coin"]["pairs"]
    held = rows(folder)
    assert 3 <= used <= 8 and len(held) >= 2 * used
    study = novum.Study(folder)
    seeds = {row["trial"]: row["seed"] for row in study.rows()}
    return verdict, [row for row in held if seeds[row[0]] < used]


@pytest.fixture(scope="session")
def words() -> tuple[str, ...]:
    """The options of the claim that `whole` is of."""
    return WORDS


@pytest.fixture(scope="session")
def tools() -> Any:
    """The helpers above, for tests that cannot import this file."""

    class Tools:
        alive = staticmethod(alive)
        wait_for = staticmethod(wait_for)
        measured = staticmethod(measured)
        every = staticmethod(every)
        rows = staticmethod(rows)
        check_whole = staticmethod(check_whole)
        loop = LOOP

    return Tools


@pytest.fixture(autouse=True)
def _linux() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("looks at processes through Linux's /proc")
