"""Checkpoints under faults: a disk that refuses, damage and malice (rows 9, 11 and 32)."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from novum import StudyError
from novum.lab import local_code
from novum.runner import artifacts, checkpoint, jobs
from novum.runner.checkpoint import MANIFEST, STATE, TENSORS, Shelf
from novum.runner.resolve import resolve
from novum.runner.step import Steps
from novum.runner.train import Trainer

KEY = "trial"
FILES = (TENSORS, STATE, MANIFEST)


class Killed(BaseException):
    """What a kill looks like from within."""


def job(arm: novum.Arm, **parts: Any) -> dict[str, Any]:
    given = {"key": KEY, "plan": resolve(arm.to_json()), "seed": {"root": 0, "block": "0", "index": 0}, "points": 5}
    given |= {"parent": None, "tracker": "jsonl", "local": local_code(arm.to_json()), "checkpoint_every": 0.0}
    return given | parts


def train(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    return jobs.perform("train", payload, folder)


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    left = {name: result[name] for name in ("units", "diverged", "start", "scores", "weights", "bytes")}
    return left | {"curve": [point | {"seconds": 0.0} for point in result["curve"]]}


def home(folder: Path) -> Path:
    return folder / "checkpoints" / KEY


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in home(folder).iterdir())


@pytest.fixture(scope="module")
def payload(toy: Any) -> dict[str, Any]:
    """The toy for 12 batches, with an average and a schedule."""
    recipe: dict[str, Any] = {"budget": "3 epochs", "batch_size": 10, "averaging": "ema", "schedule": "cosine"}
    return job(novum.arm(novum.task(toy.Blobs), novum.model(toy.Linear), optimizer="adamw", **recipe))


@pytest.fixture(scope="module")
def whole(payload: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of the uninterrupted trial."""
    return numbers(train(payload | {"checkpoint_every": None}, tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def left(payload: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a trial left that was killed in its seventh batch: the checkpoints 5 and 6. To be copied."""
    folder = tmp_path_factory.mktemp("left")
    step, steps = Steps.take, iter(range(1, 100))

    def stepping(self: Steps, *arguments: Any) -> Any:
        if next(steps) == 7:
            raise Killed
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Steps, "take", stepping)
        train(payload, folder)
    assert kept(folder) == ["5", "6"]
    return folder


@pytest.fixture
def folder(left: Path, tmp_path: Path) -> Path:
    return shutil.copytree(left, tmp_path / "study")


# ------------------------------------------------------------------------------------- 9: a disk that does not take it

Fault = Callable[[pytest.MonkeyPatch], None]


def refusing(module: Any, name: str, number: int) -> Fault:
    """A call that fails with this error."""

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return lambda patch: patch.setattr(module, name, refuse)


def full_device(patch: pytest.MonkeyPatch) -> None:
    """Every file of a checkpoint is /dev/full, which takes no byte."""
    whole = Path.open

    def opened(self: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        return (
            whole(Path("/dev/full"), "wb")
            if self.name in FILES and mode == "xb"
            else whole(self, mode, *given, **named)
        )

    patch.setattr(Path, "open", opened)


def limited(patch: pytest.MonkeyPatch) -> None:
    """No file may grow beyond 1000 bytes while a checkpoint is written."""
    import resource

    whole = Shelf._write

    def write(self: Shelf, *given: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            whole(self, *given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    patch.setattr(Shelf, "_write", write)


def crowded(patch: pytest.MonkeyPatch) -> None:
    """A disk of 1 GB with 50 MB and a little left: less than the reserve of 5 % and the checkpoint."""
    disk = namedtuple("disk", "total used free")(10**9, 95 * 10**7, 5 * 10**7 + 100)
    patch.setattr(checkpoint.shutil, "disk_usage", lambda path: disk)


FAULTS: dict[str, tuple[Fault, str]] = {
    "a full device": (full_device, "No space left on device"),
    "a limit on the size of files": (limited, "File too large"),
    "no room beside the reserve": (crowded, "the disk has no room for it beside a reserve of 50 MB"),
    "a folder that may not be written": (refusing(checkpoint.tempfile, "mkdtemp", errno.EACCES), "Permission denied"),
    "a disk that was mounted anew to be read": (refusing(Path, "rename", errno.EROFS), "Read-only file system"),
    "a disk that breaks": (refusing(os, "fsync", errno.EIO), "Input/output error"),
    "no memory": (refusing(checkpoint, "written", errno.ENOMEM), "Cannot allocate memory"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_row_9_a_checkpoint_that_cannot_be_written_is_told_leaves_the_older_ones_and_training_goes_on(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault, why = FAULTS[name]
    older = {path: path.read_bytes() for path in home(folder).rglob("*.*")}
    save = Shelf.save

    def saving(self: Shelf, collect: Any) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            fault(patch)
            return save(self, collect)

    monkeypatch.setattr(Shelf, "save", saving)

    result = train(payload, folder)

    assert result["deviations"] == [f"a checkpoint could not be written ({why}); training went on"]
    assert numbers(result) == whole
    assert {path: path.read_bytes() for path in home(folder).rglob("*.*")} == older
    assert kept(folder) == ["5", "6"]


def test_row_9_what_was_told_is_on_standard_error_as_well(
    payload: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crowded(monkeypatch)

    train(payload, tmp_path)

    lines = [line for line in capsys.readouterr().err.splitlines() if "checkpoint" in line]
    assert len(lines) == 1
    assert lines[0].startswith("novum: a checkpoint could not be written (the disk has no room")


def test_row_9_when_the_disk_takes_it_again_checkpoints_are_written_again(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, times = Shelf.save, iter(range(100))

    def saving(self: Shelf, collect: Any) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            if next(times) < 3:
                full_device(patch)
            return save(self, collect)

    monkeypatch.setattr(Shelf, "save", saving)

    result = train(payload, folder)

    assert numbers(result) == whole
    assert kept(folder) == ["8", "9"]
    assert len(result["deviations"]) == 1


def test_row_9_a_file_in_the_place_of_the_folder_is_told_and_training_goes_on(
    payload: dict[str, Any], whole: dict[str, Any], tmp_path: Path
) -> None:
    home(tmp_path).parent.mkdir()
    home(tmp_path).write_text("no folder")

    result = train(payload, tmp_path)

    assert numbers(result) == whole
    assert result["deviations"][0] == "the trial's checkpoints could not be read (Not a directory)"
    assert result["deviations"][-1] == "a checkpoint could not be written (File exists); training went on"
    assert home(tmp_path).read_text() == "no folder"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_row_9_a_folder_without_the_right_to_write_is_told_and_training_goes_on(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path
) -> None:
    home(folder).chmod(0o555)

    try:
        result = train(payload, folder)
    finally:
        home(folder).chmod(0o755)

    assert numbers(result) == whole
    assert result["deviations"] == ["a checkpoint could not be written (Permission denied); training went on"]
    assert kept(folder) == ["5", "6"]


# --------------------------------------------------------------------------------------------------- 11: damaged files

HARMS = ("flip", "empty", "half", "cut", "longer", "random", "gone", "folder", "link")


def harm(path: Path, how: str, chance: random.Random) -> None:
    """Damage one file; whatever is done, it is not what it was."""
    content = path.read_bytes()
    if how == "flip":
        at = chance.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
    elif how in ("empty", "half", "cut"):
        path.write_bytes(content[: {"empty": 0, "half": len(content) // 2, "cut": len(content) - 1}[how]])
    elif how == "longer":
        path.write_bytes(content + b"\0")
    elif how == "random":
        path.write_bytes(chance.randbytes(len(content)))
    else:
        path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link":
        path.with_name(path.name + "-away").write_bytes(content)
        path.with_name(path.name + "-away").rename(path.parents[2] / "away")
        path.symlink_to(path.parents[2] / "away")


@given(
    harms=st.dictionaries(st.tuples(st.sampled_from("56"), st.sampled_from(FILES)), st.sampled_from(HARMS), min_size=1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=30)
def test_row_11_damage_to_any_file_costs_time_and_changes_no_number(
    payload: dict[str, Any], whole: dict[str, Any], left: Path, harms: dict[tuple[str, str], str], seed: int
) -> None:
    chance, hurt = random.Random(seed), {number for number, _ in harms}
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(left, Path(scratch) / "study")
        for (number, name), how in harms.items():
            harm(home(folder) / number / name, how, chance)

        result = train(payload, folder)

        assert numbers(result) == whole
        assert result["resumed"] == ([60] if "6" not in hurt else [50] if "5" not in hurt else [])
        told = result["deviations"]
        passed = [number for number in "65" if number in hurt and "6" in hurt]
        assert [sentence.split(" could")[0] for sentence in told[: len(passed)]] == [
            f"checkpoint {each}" for each in passed
        ]
        ended = ["no checkpoint could be used: the trial started from its beginning"] if len(hurt) == 2 else []
        assert told[len(passed) :] == ended
        assert [name.isdecimal() for name in kept(folder)] == [True, True]


def test_row_11_what_was_passed_over_stays_on_the_record_of_a_trial_that_is_killed_once_more(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home(folder) / "6" / STATE).write_bytes(b"")
    step, steps = Steps.take, iter(range(100))

    def stepping(self: Steps, *arguments: Any) -> Any:
        if next(steps) == 3:
            raise Killed
        return step(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Steps, "take", stepping)
        train(payload, folder)
    result = train(payload, folder)

    assert numbers(result) == whole
    assert result["resumed"] == [50, 80]
    assert result["deviations"] == [
        "checkpoint 6 could not be used (its files and their hashes differ) and was passed over"
    ]


def test_row_11_a_state_that_no_longer_fits_the_network_is_passed_over(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored, restore = iter(range(9)), Trainer.restore

    def restoring(self: Trainer, state: dict[str, Any]) -> None:
        if next(restored) == 0:
            state["average"].popitem()  # after the network was filled: a trainer that is neither old nor new
        restore(self, state)

    monkeypatch.setattr(Trainer, "restore", restoring)

    result = train(payload, folder)

    assert numbers(result) == whole
    assert result["resumed"] == [50]
    assert "the network has other tensors now" in result["deviations"][0]


# ------------------------------------------------------------------------------------------------------- 32: malice


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


def certified(folder: Path, **files: bytes) -> None:
    """Replace files of a checkpoint and write the manifest that vouches for them."""
    import hashlib

    for name, content in files.items():
        (folder / f"{STATE if name == 'state' else TENSORS}").write_bytes(content)
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (TENSORS, STATE)}
    (folder / MANIFEST).write_bytes(checkpoint._manifest(sums))


def outside(folder: Path) -> Path:
    """A checkpoint that lies elsewhere, whole."""
    return shutil.copytree(home(folder) / "6", folder / "elsewhere")


def pickled(folder: Path, canary: Path, name: str) -> None:
    certified(home(folder) / "6", **{name: pickle.dumps(Canary(canary))})


def torch_file(folder: Path, canary: Path) -> None:
    torch.save({"net": Canary(canary)}, home(folder) / "6" / "state.pt")


def link_to_a_file(folder: Path, canary: Path) -> None:
    file = home(folder) / "6" / STATE
    file.unlink()
    file.symlink_to(outside(folder) / STATE)


def link_to_a_folder(folder: Path, canary: Path) -> None:
    away = outside(folder)
    shutil.rmtree(home(folder) / "6")
    (home(folder) / "6").symlink_to(away)


def pipe(folder: Path, canary: Path) -> None:
    file = home(folder) / "6" / STATE
    file.unlink()
    os.mkfifo(file)


def name_that_climbs(folder: Path, canary: Path) -> None:
    file = home(folder) / "6" / STATE
    certified(
        file.parent, state=file.read_bytes().replace(b'{"tensor": "0"', b'{"tensor": "../../5/state.safetensors"', 1)
    )


def code_by_name(folder: Path, canary: Path) -> None:
    content = json.loads((home(folder) / "6" / STATE).read_bytes())
    content["state"] = {"_target_": "os.system", "args": [f"touch {canary}"]}
    certified(home(folder) / "6", state=json.dumps(content).encode())


def depth(folder: Path, canary: Path) -> None:
    certified(home(folder) / "6", state=b"[" * 100_000)


MALICE: dict[str, Callable[[Path, Path], None]] = {
    "a pickle as tensors": lambda folder, canary: pickled(folder, canary, "tensors"),
    "a pickle as state": lambda folder, canary: pickled(folder, canary, "state"),
    "a file of torch.save": torch_file,
    "a link to a file": link_to_a_file,
    "a link to a folder": link_to_a_folder,
    "a pipe": pipe,
    "a name that climbs": name_that_climbs,
    "code by its name": code_by_name,
    "depth": depth,
}


@pytest.mark.parametrize("name", MALICE)
def test_row_32_a_malicious_checkpoint_runs_no_code_and_is_passed_over(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path, tmp_path: Path, name: str
) -> None:
    MALICE[name](folder, tmp_path / "canary")

    result = train(payload, folder)

    assert not (tmp_path / "canary").exists()
    assert numbers(result) == whole
    assert result["resumed"] == [50]
    assert result["deviations"][0].startswith("checkpoint 6 could not be used (")


def test_row_32_a_link_in_the_place_of_the_trials_folder_is_neither_read_nor_written(
    payload: dict[str, Any], whole: dict[str, Any], folder: Path
) -> None:
    away = home(folder).rename(folder / "elsewhere")
    home(folder).symlink_to(away)
    before = sorted(path.name for path in away.iterdir())

    result = train(payload, folder)
    checkpoint.discard(folder, KEY)

    assert numbers(result) == whole
    assert result["resumed"] == []
    assert "their folder is a symbolic link" in result["deviations"][0]
    assert sorted(path.name for path in away.iterdir()) == before == ["5", "6"]
    assert not home(folder).is_symlink()


def weights_with(folder: Path, files: dict[str, bytes]) -> str:
    """A folder of weights with these files, under the hash that vouches for them."""
    digest = artifacts._digest(files)
    (folder / "weights" / digest).mkdir(parents=True)
    for name, content in files.items():
        (folder / "weights" / digest / name).write_bytes(content)
    return digest


def test_row_32_a_pickle_in_the_place_of_weights_runs_no_code(tmp_path: Path) -> None:
    digest = weights_with(tmp_path, {artifacts.NET: pickle.dumps(Canary(tmp_path / "canary"))})

    with pytest.raises(StudyError, match="hold no network in safetensors"):
        artifacts.load(tmp_path, digest)

    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
def test_row_32_weights_that_lead_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    digest, _ = artifacts.save(tmp_path, torch.nn.Linear(2, 2), {})
    home = tmp_path / "weights" / digest
    away = shutil.copytree(home, tmp_path / "elsewhere")
    if kind == "folder":
        shutil.rmtree(home)
        home.symlink_to(away)
    else:
        (home / artifacts.NET).unlink()
        (home / artifacts.NET).symlink_to(away / artifacts.NET) if kind == "file" else os.mkfifo(home / artifacts.NET)

    with pytest.raises(StudyError, match=r"is a symbolic link|is no plain file"):
        artifacts.load(tmp_path, digest)


def test_row_32_weights_outside_of_the_study_have_no_name(tmp_path: Path) -> None:
    study = tmp_path / "study"
    digest, _ = artifacts.save(tmp_path, torch.nn.Linear(2, 2), {})
    (study / "weights").mkdir(parents=True)

    for name in (f"../../weights/{digest}", str(tmp_path / "weights" / digest), f"{digest}/../{digest}"):
        with pytest.raises(StudyError, match="is no hash of weights"):
            artifacts.load(study, name)
