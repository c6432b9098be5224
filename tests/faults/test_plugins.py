"""Rows 19, 20 and 22: what a plugin does to its process, and what its processes suffer."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.lab import Listener

NOVUM = Path(sys.executable).parent / "novum"


@pytest.fixture(scope="module")
def hostile() -> Any:
    spec = importlib.util.spec_from_file_location("novum_tests_hostile", Path(__file__).parent / "hostile.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One study with workers of its own for all: a broken trial leaves it as it was."""
    with novum.Study(tmp_path_factory.mktemp("plugins") / "study", listener=Listener(), workers=2) as opened:
        yield opened


def arm(hostile: Any, mode: str, **task: Any) -> novum.Arm:
    return novum.arm(novum.task(hostile.Cloud, **task), novum.model(hostile.Hostile, mode=mode))


@pytest.fixture(scope="module")
def good(study: Any, hostile: Any) -> dict[str, Any]:
    """Metrics of the same arm that does nothing bad."""
    return dict(study.train(arm(hostile, "")).metrics)


BROKEN = {
    "exit": "SystemExit: as if it were a script",
    "leave": "exited with status 7 before it had a result",
    "crash": "was ended by SIGSEGV",
    "import": "ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
}


@pytest.mark.parametrize("mode", BROKEN)
def test_row_19_a_plugin_that_breaks_or_kills_its_process_fails_alone_and_is_named(
    study: Any, hostile: Any, good: dict[str, Any], mode: str
) -> None:
    with pytest.raises(novum.StudyError, match=BROKEN[mode]) as caught:
        study.train(arm(hostile, mode))

    (row,) = [row for row in study.rows() if row["trial"].startswith(trial_of(str(caught.value)))]
    assert (row["state"], row["attempts"]) == ("failed", 3 if mode in ("leave", "crash") else 1)
    log = study.folder / "logs" / f"{row['trial']}.log"
    assert mode == "leave" or "hostile.py" in log.read_text()  # os._exit leaves no word, whoever calls it
    assert dict(study.train(arm(hostile, "", loaders="")).metrics) == good


def trial_of(message: str) -> str:
    return message.split("the trial ")[1].split(" ")[0]


IMPORTS = {
    "raising": ("import a_package_that_nobody_has\n", "ModuleNotFoundError"),
    "exiting": ("raise SystemExit(3)\n", "SystemExit"),
    "leaving": ("import os\nos._exit(3)\n", "its import ends the process with status 3"),
    "crashing": ("import ctypes\nctypes.string_at(0)\n", "Segmentation fault"),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path on which a distribution with four broken plugins is installed."""
    folder = tmp_path_factory.mktemp("shelf")
    meta = folder / "broken-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    points = "".join(f"{name} = {name}_plugin:Model\n" for name in IMPORTS)
    (meta / "entry_points.txt").write_text(f"[novum.models]\n{points}")
    for name, (code, _) in IMPORTS.items():
        (folder / f"{name}_plugin.py").write_text(code)
    return str(folder)


def pets(folder: Path) -> None:
    lines = [f"{sound} number {at},{pet}" for at in range(60) for sound, pet in (("purr", "cat"), ("bark", "dog"))]
    (folder / "pets.csv").write_text("\n".join(["text,label", *lines]))


def command(shelf: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": shelf, "NOVUM_STUDY": str(tmp_path / "study")}
    return subprocess.run(
        [str(NOVUM), *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("name", IMPORTS)
def test_row_19_a_plugin_whose_import_fails_is_named_and_nothing_is_made(shelf: str, tmp_path: Path, name: str) -> None:
    pets(tmp_path)

    ended = command(shelf, tmp_path, "train", "task=text-classification", "task.data=pets.csv", f"model={name}")

    assert ended.returncode == (-11 if name == "crashing" else 2)
    assert IMPORTS[name][1] in ended.stderr
    assert f"{name}_plugin.py" in ended.stderr or f"the model '{name}' of broken" in ended.stderr
    assert not (tmp_path / "study").exists()


def test_row_19_a_broken_plugin_hides_no_other_and_listing_imports_none(shelf: str, tmp_path: Path) -> None:
    pets(tmp_path)

    listed = command(shelf, tmp_path, "plugins", "list", "--kind", "model")
    words = ("train", "task=text-classification", "task.data=pets.csv", "model=bag", "budget=40 samples")
    trained = command(shelf, tmp_path, *words, "--executor", "inline")

    assert listed.returncode == 0
    assert all(name in listed.stdout for name in (*IMPORTS, "bag", "timm"))
    assert trained.returncode == 0, trained.stderr


@pytest.mark.parametrize("mode", ["flood", "mute", "wander", "threads"])
def test_row_20_whatever_a_plugin_does_to_its_process_the_study_gets_its_result(
    study: Any, hostile: Any, good: dict[str, Any], mode: str
) -> None:
    before = (os.getcwd(), dict(os.environ), list(sys.path))  # noqa: PTH109 - as it is

    run = study.train(arm(hostile, mode))

    assert dict(run.metrics) == good, "another number than the well-behaved plugin's"
    assert (os.getcwd(), dict(os.environ), list(sys.path)) == before  # noqa: PTH109
    log = study.folder / "logs" / f"{run.key}.log"
    if mode == "flood":  # it prints 200 MB
        assert 1_000_000 <= log.stat().st_size < 1_001_000
        assert b"output beyond 1000000 bytes was dropped" in log.read_bytes()[-200:]


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))  # noqa: PTH208, S108 - where torch shares tensors


def test_row_22_a_killed_loading_process_is_a_loss_and_is_cleaned_up(
    study: Any, hostile: Any, good: dict[str, Any], tmp_path: Path
) -> None:
    mark = tmp_path / "killed"
    rehearsed = arm(hostile, "", loaders=str(mark))
    before = shared_memory()

    run = study.train(rehearsed)

    assert mark.exists()
    assert dict(run.metrics) == good
    (row,) = [row for row in study.rows() if row["trial"] == run.key]
    assert (row["state"], row["attempts"]) == ("done", 2)
    assert shared_memory() - before == set()
    server = study._executor._server.pid
    assert children(server) == []


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found
