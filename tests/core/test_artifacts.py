from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from novum import StudyError
from novum.runner import artifacts
from torch import nn


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_what_was_saved_is_read_back_to_the_bit(tmp_path: Path) -> None:
    saved = net()

    digest, size = artifacts.save(tmp_path, saved, {"words.txt": "né".encode(), "empty": b""})
    found = artifacts.load(tmp_path, digest)

    assert set(found.tensors) == set(saved.state_dict())
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in saved.state_dict().items())
    assert found.preparation == {"words.txt": "né".encode(), "empty": b""}
    assert size == sum(path.stat().st_size for path in (tmp_path / "weights" / digest).iterdir())


def test_equal_content_is_one_folder_and_other_content_another(tmp_path: Path) -> None:
    first, again, other, prepared = (
        artifacts.save(tmp_path, net(seed), files)[0]
        for seed, files in ((0, {}), (0, {}), (1, {}), (0, {"words.txt": b"x"}))
    )

    assert first == again
    assert len({first, other, prepared}) == 3
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {first, other, prepared}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "extra", "lost", "preparation"])
def test_damaged_weights_are_noticed_when_they_are_loaded(tmp_path: Path, damage: str) -> None:
    digest, _ = artifacts.save(tmp_path, net(), {"words.txt": b"words"})
    home = tmp_path / "weights" / digest
    path = home / artifacts.NET
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "extra":
        (home / "preparation-more").write_bytes(b"")
    elif damage == "lost":
        path.unlink()
    else:
        (home / "preparation-words.txt").write_bytes(b"other")

    with pytest.raises(StudyError, match="are damaged"):
        artifacts.load(tmp_path, digest)


def test_weights_that_are_not_there_are_told_by_their_hash(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="the weights 0123456789ab are not in"):
        artifacts.load(tmp_path, "0123456789abcdef" * 2 + "01234567")


@pytest.mark.parametrize("name", ["../up", "a/b", "/etc/x"])
def test_a_preparation_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="plain names without folders"):
        artifacts.save(tmp_path, net(), {name: b""})

    assert not list(tmp_path.rglob("*.safetensors"))


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    digest, _ = artifacts.save(tmp_path, net(), {})

    assert [path.name for path in (tmp_path / "weights").iterdir()] == [digest]


def test_dropping_weights_twice_is_harmless(tmp_path: Path) -> None:
    digest, _ = artifacts.save(tmp_path, net(), {})

    artifacts.drop(tmp_path, digest)
    artifacts.drop(tmp_path, digest)

    assert list((tmp_path / "weights").iterdir()) == []


def test_tensors_that_share_memory_are_saved_each(tmp_path: Path) -> None:
    tied = nn.Module()
    tied.one = nn.Linear(2, 2)
    tied.two = tied.one

    digest, _ = artifacts.save(tmp_path, tied, {})

    assert torch.equal(artifacts.load(tmp_path, digest).tensors["two.weight"], tied.one.weight)


@pytest.mark.parametrize(
    "digest", ["", "..", "../../etc", "0123456789ABCDEF" * 2 + "01234567", "a" * 39, "a" * 40 + "\n"]
)
def test_what_is_no_hash_names_no_folder(tmp_path: Path, digest: str) -> None:
    study = tmp_path / "one" / "study"
    (study / "weights").mkdir(parents=True)

    for use in (artifacts.load, artifacts.drop):
        with pytest.raises(StudyError, match="is no hash of weights"):
            use(study, digest)

    assert (study / "weights").is_dir()


def test_a_full_disk_leaves_no_half_written_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        artifacts.save(tmp_path, net(), {})

    assert list((tmp_path / "weights").iterdir()) == []
