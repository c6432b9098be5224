"""A study's folder that cannot be one: a clear refusal, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import StudyError
from novum.folder import LONGEST, StudyFolderError, chosen, make
from novum.ledger import Ledger, place

MB = 1_000_000


def tree(folder: Path) -> list[str]:
    """Everything in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ------------------------------------------------------------------------------------------------ which folder is meant


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("a\0b", r"'a\x00b' has the unprintable character U+0000 at character 2 in its name"),
        ("a\nb", r"'a\nb' has the unprintable character U+000A"),
        ("a\x1b[2Jb", r"'a\x1b[2Jb' has the unprintable character U+001B"),
        ("a\udcffb", r"'a\udcffb' has the unprintable character U+DCFF"),
        ("n" * 300, "cannot be used (File name too long)"),
        ("long/" * (LONGEST // 5), f"has a path of more than {LONGEST} bytes"),
        ("long/" * 2000, "(10000 characters)' cannot be used (File name too long)"),
        ("dangling", "'dangling' is a link to 'nowhere/study', which is not there; make that folder"),
        ("circle", "'circle' is a link to 'circle', which is not there"),
        ("circle/study", "leads nowhere: its '~' names no user's home, or its links lead in a circle"),
        ("~nobody-of-this-name/study", "leads nowhere: its '~' names no user's home"),
    ],
)
def test_row_21_a_folder_that_no_study_can_have_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere/study")
    (tmp_path / "circle").symlink_to("circle")
    before = tree(tmp_path)

    with pytest.raises(StudyFolderError) as caught:
        novum.Study(folder)

    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith("the study's folder '")
    assert told in message
    assert message.endswith("choose another with --study, $NOVUM_STUDY or Study(folder).")
    assert message.isprintable()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("folder", "meant"),
    [
        ("~", "home"),
        ("~/studies/a", "home/studies/a"),
        ("../desk/a", "desk/a"),
        ("b/../../a", "a"),
        ("./a/", "desk/a"),
        ("größer (×2)", "desk/größer (×2)"),
        ("-rf", "desk/-rf"),
        ("link/a", "home/a"),
    ],
)
def test_row_21_a_folder_is_the_one_that_a_shell_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, meant: str
) -> None:
    for name in ("home", "desk"):
        (tmp_path / name).mkdir()
    (tmp_path / "desk" / "link").symlink_to(tmp_path / "home")
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = tree(tmp_path)

    opened = novum.Study(folder)

    assert opened.folder == (tmp_path / meant).resolve()
    assert tree(tmp_path) == before


@given(name=st.text(max_size=20) | st.text(alphabet="~./\\a\0\x1b\udcff", max_size=12))
def test_row_21_any_name_is_a_folder_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    home = tmp_path_factory.mktemp("anywhere")

    try:
        found = chosen(home / "x" / name.lstrip("/"))
    except StudyFolderError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
    else:
        assert found.is_absolute()
        assert ".." not in found.parts
    assert tree(home) == []


# ---------------------------------------------------------------------------------------- whether it can be worked in


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("file", "is a file, no folder"),
        ("file/study", "cannot be written (Not a directory)"),
        ("new/above/" + "n" * 300 + "/study", "cannot be written (File name too long)"),
    ],
)
def test_row_21_a_folder_that_cannot_be_made_leaves_none_of_those_above_it(
    tmp_path: Path, folder: str, told: str
) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(StudyFolderError) as caught:
        make(tmp_path / folder)

    assert told in str(caught.value)
    assert tree(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_row_21_a_ledger_that_cannot_have_its_folder_leaves_none_of_those_above_it(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be made \\(File name too long\\)"):
        Ledger.open(tmp_path / "new" / "above" / ("n" * 300) / "study")

    assert tree(tmp_path) == []


def test_row_21_a_folder_that_is_made_is_left_to_others_when_it_is_taken_back(tmp_path: Path) -> None:
    made = place.make(tmp_path / "a" / "b" / "c")
    (tmp_path / "a" / "theirs").touch()

    place.unmake(made)

    assert made == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert tree(tmp_path) == ["a", "a/theirs"]
    assert place.make(tmp_path / "a") == []


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the system says lies on NFS."""
    home = tmp_path / "shared"
    home.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"21 1 8:1 / / rw - ext4 /dev/root rw\n36 21 0:40 / {home.resolve()} rw - nfs4 server:/export rw\n"
    )
    monkeypatch.setattr(place, "MOUNTS", mounts)
    return home


def test_row_21_a_study_on_a_network_file_system_is_refused_and_leaves_nothing(
    network: Path, arm: Callable[..., Any]
) -> None:
    with (
        novum.Study(network / "a" / "study", executor="inline") as study,
        pytest.raises(StudyError, match=r"network file system \(nfs4\).*local disk, or set NOVUM_LEDGER_ON_NETWORK=1"),
    ):
        study.train(arm())

    assert tree(network) == []


def test_row_21_a_ledger_on_a_network_file_system_is_refused_and_leaves_nothing(network: Path) -> None:
    with pytest.raises(StudyError, match=r"network file system \(nfs4\)"):
        Ledger.open(network / "a" / "study")

    assert tree(network) == []


def test_row_21_a_network_file_system_is_accepted_by_who_says_so(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(place.FORCE, "1")

    make(network / "a" / "study")

    assert tree(network) == ["a", "a/study"]


# ------------------------------------------------------------------------------------------------ whether it has room


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the system report a disk of `size` bytes with `free` ones, and free `files` of 1000."""

    def report(size: int, free: int, files: int = 500, flags: int = 0) -> None:
        def statvfs(path: Any) -> os.statvfs_result:
            Path(path).stat()  # as the system does, for what is not there
            return os.statvfs_result(
                (4096, 1000, size // 1000, free // 1000, free // 1000, 1000, files, files, flags, 255)
            )

        monkeypatch.setattr(os, "statvfs", statvfs)

    return report


@pytest.mark.parametrize(
    ("size", "free", "known", "needed"),
    [
        (10**12, 2 * MB - 1000, False, "2_000_000"),
        (10**12, 2 * MB - 1000, True, "2_000_000"),
        (20 * MB, 999_000, True, "1_000_000"),
        (2 * MB, 99_000, True, "100_000"),
        (2 * MB, 299_000, False, "300_000"),
        (10**12, 0, True, "2_000_000"),
    ],
)
def test_row_21_a_study_needs_2_mb_or_a_twentieth_of_a_small_disk_and_room_for_a_new_ledger(
    tmp_path: Path, disk: Callable[..., None], size: int, free: int, known: bool, needed: str
) -> None:
    folder = tmp_path / "new" / "study"
    if known:
        Ledger.open(folder).close()
    before = tree(tmp_path)

    disk(size, free)
    with pytest.raises(StudyError, match=rf"is full: {free:_} bytes are free, and a study needs {needed}; free some"):
        make(folder)
    left = tree(tmp_path)
    disk(size, free + 1000)
    if free:
        make(folder)

    assert left == before
    assert folder.is_dir() is (known or free > 0)


def test_row_21_a_disk_that_takes_no_more_files_has_no_room(tmp_path: Path, disk: Callable[..., None]) -> None:
    disk(10**12, 10**11, files=0)

    assert place.room(tmp_path) == 0
    with pytest.raises(StudyError, match="is full: 0 bytes are free"):
        make(tmp_path / "study")


def test_row_21_a_disk_of_unknown_size_is_taken_to_have_room(tmp_path: Path, disk: Callable[..., None]) -> None:
    disk(0, 0)

    make(tmp_path / "study")

    assert place.room(tmp_path / "study") == sys.maxsize


def test_row_21_room_is_that_of_the_disk_which_the_folder_will_lie_on(
    tmp_path: Path, disk: Callable[..., None]
) -> None:
    disk(10**12, 5 * MB)

    assert place.room(tmp_path / "not" / "there" / "yet") == 5 * MB


# --------------------------------------------------------------------------------------------------- real, small disks

MOUNT = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
RUN = """
import json, os, subprocess, sys
from pathlib import Path

def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", "disk"], check=True)

def told(*words):
    ended = subprocess.run([sys.executable, "-c", "from novum.cli import main; main()", *words],
                           capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stderr

def tree(folder="disk"):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))

"""
TRAIN = '("train", "task=gym", "model=ppo", "budget=64 steps", "--executor=inline", "--study=disk/a/study")'


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[[str], Any]:
    """Runs a script that may mount, in a namespace of its own, and returns the JSON that it prints."""
    (tmp_path / "disk").mkdir()
    probe = [*MOUNT, "mount", "-t", "tmpfs", "none", str(tmp_path / "disk")]
    if sys.platform != "linux" or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs a namespace, which this user may not make")

    def run(script: str) -> Any:
        ended = subprocess.run(
            [*MOUNT, sys.executable, "-c", RUN + script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def test_row_21_a_new_study_on_a_disk_of_200_kb_is_refused_and_leaves_nothing(mounted: Callable[[str], Any]) -> None:
    code, said, left = mounted(f"mount('size=200k')\nprint(json.dumps([*told(*{TRAIN}), tree()]))")

    assert code == 3
    assert "disk/a/study is full: " in said and "free some space and run the same again" in said
    assert said.count("\n") == 1
    assert left == []


def test_row_21_a_study_whose_disk_is_full_is_refused_as_it_is_and_goes_on_when_there_is_room(
    mounted: Callable[[str], Any],
) -> None:
    found = mounted(f"""
from novum.folder import make
from novum.ledger import Ledger
mount("size=4m")
Ledger.open(Path("disk/a/study")).close()
before = tree(), Path("disk/a/study/ledger.sqlite").read_bytes()
filler = os.open("disk/filler", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError:
    os.close(filler)
code, said = told(*{TRAIN})
os.unlink("disk/filler")
same = (tree(), Path("disk/a/study/ledger.sqlite").read_bytes()) == before
make(Path("disk/a/study"))
print(json.dumps([code, said, same]))
""")

    code, said, same = found
    assert code == 3
    assert "disk/a/study is full: 0 bytes are free" in said
    assert said.count("\n") == 1
    assert same


@pytest.mark.parametrize("there", [False, True])
def test_row_21_a_study_on_a_read_only_disk_is_refused_and_an_old_one_is_still_read(
    mounted: Callable[[str], Any], there: bool
) -> None:
    code, said, left, read = mounted(f"""
from novum.ledger import Ledger
mount("size=4m")
if {there}:
    Ledger.open(Path("disk/a/study")).close()
subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
found = told(*{TRAIN})
print(json.dumps([*found, tree(), told("status", "--study=disk/a/study")[0]]))
""")

    assert code == 2
    assert "disk/a/study' cannot be written (Read-only file system); choose another with --study" in said
    assert said.count("\n") == 1
    assert left == (["a", "a/study", "a/study/ledger.sqlite"] if there else [])
    assert read == (0 if there else 3)
