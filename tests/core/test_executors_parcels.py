"""Parcels between machines: what was packed comes out, and no file is written where it does not belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from novum.errors import StudyError
from novum.executors import parcels


@given(st.dictionaries(st.text(), st.binary()), st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_parcel_gives_back_what_was_packed(files: dict[str, bytes], head: dict[str, Any]) -> None:
    assert parcels.unpack(parcels.pack(head, files)) == (head, files)


def test_a_parcel_that_was_cut_off_is_noticed() -> None:
    parcel = parcels.pack({}, {"a": b"12345"})

    with pytest.raises(ValueError, match="should have"):
        parcels.unpack(parcel[:-1])


OUTSIDE = ["/etc/x", "../x", "weights/../../x", "runs/../ledger.sqlite", "ledger.sqlite", "runs", "weights/x", "", "."]
OUTSIDE += ["runs//x", "runs/./x", "spool/x.json.gz", "kept/x", "runs/\0", "weights//x/y"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_file_whose_path_leads_elsewhere_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="allowed are plain paths"):
        parcels.place(tmp_path, {"runs/good": b"", name: b""})

    assert list(tmp_path.iterdir()) == []


def test_no_file_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "study" / "runs").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "study" / "runs" / "way").symlink_to(tmp_path / "out")

    with pytest.raises(StudyError, match="is a link"):
        parcels.place(tmp_path / "study", {"runs/way/x": b""})

    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_cannot_be_written_leave_nothing_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parcels.spool, "put", full)

    with pytest.raises(OSError, match="No space"):
        parcels.place(tmp_path, {"weights/aa/net": b"1", "weights/aa/words": b"2"})

    assert list((tmp_path / "weights").iterdir()) == []
