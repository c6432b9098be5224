from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from novum import PluginError
from novum.trackers import open_tracker
from novum.trackers.tensorboard import TensorboardTracker


def point(units: int, loss: Any = 0.5) -> dict[str, Any]:
    return {"units": units, "share": 0.5, "seconds": 1.0, "losses": {"loss": loss}, "metrics": {"accuracy": 0.9}}


def test_the_default_tracker_writes_one_line_per_point_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "abc.jsonl"

    with open_tracker("jsonl", tmp_path, "abc") as tracker:
        tracker.point(point(10))
        live = path.read_text()
        tracker.point(point(20, {"undefined": "it came out as nan"}))

    assert [json.loads(line) for line in live.splitlines()] == [point(10)]
    assert [json.loads(line)["units"] for line in path.read_text().splitlines()] == [10, 20]


def test_another_attempt_at_a_trial_starts_its_file_anew(tmp_path: Path) -> None:
    for units in (10, 20):
        with open_tracker("jsonl", tmp_path, "abc") as tracker:
            tracker.point(point(units))

    (line,) = (tmp_path / "runs" / "abc.jsonl").read_text().splitlines()
    assert json.loads(line) == point(20)


def test_a_number_that_is_none_never_becomes_null(tmp_path: Path) -> None:
    with open_tracker("jsonl", tmp_path, "abc") as tracker, pytest.raises(ValueError, match="not JSON compliant"):
        tracker.point(point(10, float("nan")))


def test_an_unknown_tracker_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no tracker is called 'jsonnl'; did you mean 'jsonl'"):
        open_tracker("jsonnl", tmp_path, "abc")


def test_tensorboard_says_how_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    with pytest.raises(PluginError, match=r"pip install 'novum\[tensorboard\]'"):
        open_tracker("tensorboard", tmp_path, "abc")


def test_tensorboard_gets_every_number_and_nothing_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            added.append((Path(folder).relative_to(tmp_path).as_posix(),))

        def add_scalar(self, *values: Any) -> None:
            added.append(values)

        def flush(self) -> None:
            added.append(("flush",))

        def close(self) -> None:
            added.append(("close",))

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)

    with TensorboardTracker(tmp_path, "abc") as tracker:
        tracker.point(point(10, {"undefined": "it came out as nan"}))

    assert added == [("runs/tensorboard/abc",), ("metrics/accuracy", 0.9, 10), ("flush",), ("close",)]
