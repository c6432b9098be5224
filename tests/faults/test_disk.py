"""Rows 7 and 8: a full disk, and a limit on the size of files. Nothing is half-written, and it goes on with room."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import novum
import pytest
from novum import disk
from novum.errors import DiskFullError
from novum.lab import Listener
from novum.ledger import Ledger

HERE = Path(__file__).parent


def in_small_disk(size: str, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own, in which $DISK is a file system of so many bytes."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("looks at processes through Linux's /proc: and makes a file system with unshare, which is missing")
    mount = f'set -e; DISK=$(mktemp -d); mount -t tmpfs -o size={size} none "$DISK"; {script}'
    return subprocess.run(
        [unshare, "-Urm", "bash", "-c", mount, "bash", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHON": sys.executable},
    )


WRITE = """
import sqlite3, sys
from pathlib import Path
from novum.ledger import Ledger
from novum.errors import DiskFullError
folder = Path(sys.argv[1])
with Ledger.open(folder) as ledger:
    at = 0
    try:
        while True:
            more = [{"key": f"t{at}", "arm": "a", "block": "b", "index": at, "kind": "train", "x": "y" * 4000}]
            ledger.plan_trials(more)
            at += 1
    except DiskFullError as error:
        print("full after", at > 3, "nothing was half-written" in str(error))
(folder / "ballast").unlink()
with Ledger.open(folder) as ledger:
    ledger.verify()
    print(len(ledger.trials()) == at)
    ledger.plan_trials([{"key": "after", "arm": "a", "block": "b", "index": 0, "kind": "train"}])
    print(len(ledger.trials()) == at + 1)
"""


def test_row_7_a_ledger_on_a_full_disk_rolls_back_and_is_whole_when_there_is_room_again() -> None:
    script = 'head -c 300000 /dev/zero > "$DISK/ballast"; "$PYTHON" -c "$1" "$DISK"'

    ended = in_small_disk("900k", script, WRITE)

    assert ended.stdout.splitlines() == ["full after True True", "True", "True"], ended.stderr


def test_row_7_a_study_on_a_full_disk_pauses_says_so_and_goes_on_by_itself(
    tmp_path: Path, whole: Any, words: Any, tools: Any
) -> None:
    script = """
    LOOP=$1; TOLD=$2; shift 2
    head -c 3500000 /dev/zero > "$DISK/ballast"
    "$PYTHON" "$LOOP" "$DISK/study" $@ 2> "$TOLD" & PID=$!
    for i in $(seq 400); do grep -q "paused: the disk" "$TOLD" && break; sleep 0.05; done
    rm "$DISK/ballast"
    wait $PID; echo "code $?"
    """

    ended = in_small_disk("4m", script, str(tools.loop), str(tmp_path / "told"), *words)

    told = (tmp_path / "told").read_text()
    verdict, code = ended.stdout.splitlines()
    assert code == "code 0", told
    assert "novum: paused: the disk of " in told and "There is room again: the study goes on." in told
    assert tools.measured(verdict) == whole[0]


def test_row_7_a_study_that_nobody_gives_room_ends_as_paused_and_resumes_by_the_same_command(
    whole: Any, words: Any, tools: Any
) -> None:
    script = """
    head -c 3500000 /dev/zero > "$DISK/ballast"
    NOVUM_DISK_PATIENCE=0.3 "$PYTHON" "$1" "$DISK/study" ${@:2} 2>/dev/null || echo "code $?"
    "$PYTHON" -c 'import novum, sys; print(novum.Study(sys.argv[1]).status()["state"])' "$DISK/study"
    rm "$DISK/ballast"
    "$PYTHON" "$1" "$DISK/study" ${@:2} 2>/dev/null
    """

    ended = in_small_disk("4m", script, str(tools.loop), *words)

    code, state, verdict = ended.stdout.splitlines()
    assert (code, state) == ("code 3", "paused")
    assert tools.measured(verdict) == whole[0]


def test_row_7_before_a_trial_starts_a_twentieth_of_the_disk_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for total, free, short in ((10**9, 49_000_000, True), (10**9, 51_000_000, False), (10**13, 499_000_000, True)):
        usage = type("Usage", (), {"total": total, "free": free, "used": total - free})
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, usage=usage: usage)

        assert (disk.shortage(tmp_path) is not None) == short


def test_row_7_a_write_that_finds_no_room_is_done_again_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    tries = iter([DiskFullError("full"), DiskFullError("full"), "written"])
    monkeypatch.setattr(disk, "EVERY", 0.0)

    class Heard(Listener):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    def action() -> str:
        what = next(tries)
        if isinstance(what, Exception):
            raise what
        return what

    lab = novum.lab.Lab(tmp_path, None, None, Heard())  # type: ignore[arg-type]

    assert disk.patiently(lab, action) == "written"
    assert said == ["paused: full", "There is room again: the study goes on."]


def limited(size: int) -> Any:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit


def test_row_8_a_limit_on_the_size_of_files_ends_as_paused_and_the_same_command_resumes(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    ended = subprocess.run(
        [sys.executable, str(tools.loop), str(tmp_path), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limited(150_000),
        env={**os.environ, "NOVUM_DISK_PATIENCE": "0.5"},
    )

    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    with Ledger.open(tmp_path) as ledger:
        ledger.verify()
    code, out, _ = start(tmp_path, *words).end()
    assert code == 0
    tools.check_whole(tmp_path, whole, out)
