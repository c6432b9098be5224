# ruff: noqa: N802 - the library names its functions so
"""Memory of GPUs by the driver's library, here one that answers as NVIDIA's does."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from novum import nvml

TOTALS = {"0": 24_000, "1": 80_000, "GPU-aa-bb": 48_000}


class Driver:
    """NVML's functions: 0 is success. `mig` is a GPU that is cut into instances."""

    def __init__(self, mig: str = "") -> None:
        self.mig, self.open = mig, 0
        self.names = list(TOTALS)

    def nvmlInit_v2(self) -> int:
        self.open += 1
        return 0

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        return self._find(str(index), handle)

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:
        return self._find(name.decode(), handle)

    def _find(self, name: str, handle: Any) -> int:
        if name not in self.names:
            return 6
        handle._obj.value = self.names.index(name) + 1
        return 0

    def nvmlDeviceGetMigMode(self, handle: Any, mode: Any, pending: Any) -> int:
        mode._obj.value = int(self.names[handle.value - 1] == self.mig)
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, told: Any) -> int:
        told._obj.total = TOTALS[self.names[handle.value - 1]]
        told._obj.free = told._obj.total // 2
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def test_memory_is_told_of_each_gpu_and_the_library_is_closed(driver: Driver) -> None:
    found = nvml.memory(2)

    assert found == [{"total": 24_000, "free": 12_000}, {"total": 80_000, "free": 40_000}]
    assert driver.open == 0


@pytest.mark.parametrize(("visible", "totals"), [("1,0", [80_000, 24_000]), ("GPU-aa-bb", [48_000]), (" 1 ", [80_000])])
def test_gpus_are_numbered_as_cuda_numbers_those_that_are_visible(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str, totals: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    found = nvml.memory(len(totals))

    assert found is not None
    assert [each["total"] for each in found] == totals


@pytest.mark.parametrize("visible", ["", "first", "7", "GPU-unknown", "0"])
def test_gpus_that_the_driver_cannot_name_are_unknown_not_zero(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert nvml.memory(2) is None


def test_a_gpu_cut_into_instances_is_unknown_for_its_memory_is_not_that_of_an_instance(driver: Driver) -> None:
    driver.mig = "1"

    assert nvml.memory(1) is not None
    assert nvml.memory(2) is None


def test_without_the_library_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARY", "libnvidia-none.so.1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert nvml.memory(1) is None
