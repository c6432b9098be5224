"""Law 9: importing `novum` does nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path


def test_importing_novum_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "scipy", "sqlalchemy", "typer", "pydantic", "stevedore", "rich", "logging")
    code = f"import sys, novum; print([name for name in {heavy!r} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_importing_novum_takes_less_than_three_tenths_of_a_second() -> None:
    def seconds() -> float:
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import novum"], capture_output=True, text=True, check=True
        )
        (line,) = [each for each in told.stderr.splitlines() if each.split("|")[-1].strip() == "novum"]
        return int(line.split("|")[1]) / 1e6

    assert statistics.median(seconds() for _ in range(5)) < 0.3


def test_importing_novum_reads_no_environment_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; before = dict(os.environ); import novum, threading; "
        "print(dict(os.environ) == before, threading.active_count(), len(os.listdir('.')))"
    )

    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"NOVUM_STUDY": str(tmp_path / "study")},
    )

    assert told.stdout.split() == ["True", "1", "0"]
