"""Peak memory of a trial."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import novum
import numpy as np
import pytest
from novum.runner import memory

SIZE = 200_000_000
"""Bytes of the array that the hungry model fills."""
SLACK = 10_000_000
"""What the rest of the process may have given back or taken in between."""

linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="looks at processes through Linux's /proc"
)


@pytest.fixture
def hungry(toy: Any) -> novum.Arm:
    """An arm that fills a large array once while it trains, and gives it back."""

    class Hungry(toy.Linear):  # type: ignore[misc]
        def losses(self, net: Any, batch: Any) -> Any:
            np.ones(SIZE, dtype="uint8")
            return super().losses(net, batch)

    return novum.arm(novum.task(toy.Blobs), novum.model(Hungry), budget="20 samples", batch_size=10)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend a system that tells the peaks of a process's life, one after the other, and cannot reset them."""
    pytest.importorskip("resource", reason="looks at processes through Linux's /proc")

    def pretend(platform: str, *peaks: int) -> None:
        left = iter(peaks)
        monkeypatch.setattr(memory, "sys", SimpleNamespace(platform=platform))
        monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=next(left)))

    return pretend


# ------------------------------------------------------------------------------------------------------ in a trial


@linux
def test_a_trial_that_fills_an_array_shows_it_and_the_next_one_does_not(study: Any, arm: Any, hungry: Any) -> None:
    study.train(arm())  # what is imported and cached once is there from here on

    before = study.train(arm(), seed=1).facts["memory"]
    large = study.train(hungry).facts["memory"]
    after = study.train(arm(), seed=2).facts["memory"]

    assert {each["what"] for each in (before, large, after)} == {"process"}
    assert large["bytes"] - before["bytes"] >= SIZE - SLACK
    assert large["bytes"] - after["bytes"] >= SIZE - SLACK


@linux
def test_the_peak_is_kept_in_the_record_and_given_as_a_column(study: Any, arm: Any) -> None:
    run = study.train(arm())

    assert {"bytes", "what"} <= run.facts["memory"].keys() <= {"bytes", "what", "shared"}
    assert [row["memory_bytes"] for row in study.rows()] == [run.facts["memory"]["bytes"]]
    assert study.train(arm()).facts == run.facts  # read back


@linux
def test_a_trial_that_diverged_has_a_peak_too(study: Any, arm: Any) -> None:
    run = study.train(arm(model={"mode": "nan"}))

    assert run.diverged is not None
    assert run.facts["memory"]["bytes"] > 0


def test_a_peak_that_cannot_be_measured_is_its_reason_in_the_run_and_in_the_rows(
    study: Any, arm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "none")

    run = study.train(arm())

    why = run.facts["memory"]["undefined"]
    assert run.facts["memory"] == {"undefined": why}
    assert "clear_refs: No such file or directory" in why
    assert [row["memory_bytes"] for row in study.rows()] == [f"undefined, because {why}"]


def test_a_trial_that_broke_or_was_recorded_without_a_peak_says_that_there_is_none(
    study: Any, arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from novum.runner import jobs

    whole = jobs.KINDS["train"]

    def older(payload: Any, folder: Path) -> Any:
        return {name: value for name, value in whole(payload, folder).items() if name != "memory"}

    monkeypatch.setattr(jobs, "KINDS", dict(jobs.KINDS) | {"train": older})
    run = study.train(arm())
    with pytest.raises(novum.StudyError):
        study.train(arm(model={"mode": "raise"}))

    told = [row["memory_bytes"] for row in study.rows()]

    why = "no process measured it while this trial trained"
    assert run.facts["memory"] == {"undefined": why}
    assert told == [f"undefined, because {why}"] * 2


# ------------------------------------------------------------------------------------------------------ of a process


@linux
def test_a_new_measurement_forgets_the_peak_of_the_last() -> None:
    first = memory.measure("cpu")
    np.ones(SIZE, dtype="uint8")
    large = first()["bytes"]

    small = memory.measure("cpu")()["bytes"]

    assert 0 < small < large - SIZE + SLACK


@linux
def test_the_peak_is_in_bytes_and_holds_what_was_there_before() -> None:
    held = np.ones(SIZE, dtype="uint8")

    peak = memory.measure("cpu")()["bytes"]

    assert len(held) < peak < 100 * SIZE


def test_an_unreadable_status_is_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    peak = memory.measure("cpu")  # the reset is a file like any other here

    gone = peak()
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  12 kB\n")
    silent = peak()
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  12 kB\n")
    told = peak()

    assert (tmp_path / "clear_refs").read_text() == "5"
    assert set(gone) == {"undefined"} and "status: No such file" in gone["undefined"]
    assert set(silent) == {"undefined"} and "no line VmHWM" in silent["undefined"]
    assert told == {"bytes": 12 * 1024, "what": "process"}


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_where_the_peak_cannot_be_reset_it_is_known_if_training_raised_it(
    elsewhere: Callable[..., None], platform: str, unit: int
) -> None:
    elsewhere(platform, 100, 250)

    assert memory.measure("cpu")() == {"bytes": 250 * unit, "what": "process"}


def test_where_the_peak_cannot_be_reset_an_earlier_one_hides_that_of_the_trial(elsewhere: Callable[..., None]) -> None:
    elsewhere("darwin", 100, 100)

    found = memory.measure("cpu")()

    assert set(found) == {"undefined"}
    assert "had used more memory before" in found["undefined"]


def test_a_system_without_getrusage_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setitem(sys.modules, "resource", None)

    assert memory.measure("cpu")() == {"undefined": "this system has no getrusage"}


# ----------------------------------------------------------------------------------------------------------- of a GPU


@pytest.mark.parametrize(
    ("peak", "told"),
    [
        (4096, {"bytes": 4096, "what": "cuda", "reserved": 8192}),
        (0, {"undefined": "torch's allocator on this GPU keeps no statistics"}),
    ],
)
def test_on_a_gpu_the_peak_is_that_of_torchs_tensors_on_this_workers_device(
    monkeypatch: pytest.MonkeyPatch, peak: int, told: dict[str, Any]
) -> None:
    import torch

    asked: list[tuple[str, Any]] = []

    def read(gpu: Any) -> int:
        asked.append(("read", gpu))
        return peak

    monkeypatch.setenv("NOVUM_SLOT", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "init", lambda: asked.append(("init", None)))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda gpu: asked.append(("reset", gpu)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", read)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda gpu: 8192)
    monkeypatch.setattr(memory, "_untouched", lambda gpu: None)

    found = memory.measure("cuda")()

    gpu = torch.device("cuda", 1)
    assert asked == [("init", None), ("reset", gpu), ("read", gpu)]
    assert found == told


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Pretend a GPU, the second one of two, whose driver tells these free bytes one after the other."""
    import torch

    def pretend(free: list[int]) -> None:
        left = iter(free)
        memory._untouched.cache_clear()
        monkeypatch.setenv("NOVUM_GPUS", "1")
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda gpu: None)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: 100)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda gpu: 300)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 200)
        monkeypatch.setattr(
            memory.nvml, "memory", lambda count: [{"total": 0, "free": 0}, {"free": next(left)}][:count]
        )

    return pretend


def test_the_context_is_what_a_process_took_from_its_gpu_beyond_what_torch_reserved(
    monkeypatch: pytest.MonkeyPatch, opened: Any
) -> None:
    opened([5000, 4300])
    monkeypatch.setenv("NOVUM_SHARED", "0")

    found = memory.measure("cuda")()

    assert found == {"bytes": 100, "what": "cuda", "reserved": 300, "context": 500}


def test_on_a_shared_gpu_nobody_knows_whose_context_it_is(monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    opened([5000, 4300])
    monkeypatch.setenv("NOVUM_SHARED", "1")

    found = memory.measure("cuda")()

    assert found == {"bytes": 100, "what": "cuda", "reserved": 300}


@linux
def test_what_a_process_has_in_common_with_others_is_told_beside_its_peak() -> None:
    found = memory.measure("cpu")()

    assert 0 < found["shared"] < found["bytes"]


def test_measuring_a_process_imports_no_torch() -> None:
    code = "from novum.runner.memory import measure; measure('cpu')()"
    code += "; import sys; print({'torch', 'numpy'} & set(sys.modules))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
