"""Which device and arithmetic a trial uses, on machines that are not this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import novum
import pytest
import torch
from novum import ConfigError, Seed
from novum.data import Undefined
from novum.executors import preloading
from novum.runner import device, inventory, parts
from novum.runner.resolve import changed, resolve
from novum.seeds import installed


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend a CPU with these instructions, and no GPU."""

    def pretend(*instructions: str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return pretend


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend one CUDA device of this compute capability."""

    def pretend(major: int, minor: int = 0) -> None:
        about = SimpleNamespace(name="a GPU", major=major, minor=minor, total_memory=24 * 10**9, uuid="1234")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda which: (major, minor))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (20 * 10**9, 24 * 10**9))

    return pretend


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Pretend a Mac whose GPU has a generator; returns it, as a dictionary."""
    generator = {"state": torch.tensor([1, 2, 3], dtype=torch.uint8)}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: generator["state"].clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: generator.update(state=state))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: None)
    return generator


# ------------------------------------------------------------------------------------------------------- precision


def test_a_cpu_computes_in_full_precision_unless_it_is_asked_for_bf16(cpu: Any) -> None:
    cpu("avx512_bf16")

    assert device.precision("auto", "cpu") == device.precision("fp32", "cpu") == "fp32"
    assert device.precision("bf16", "cpu") == "bf16"


@pytest.mark.parametrize("instructions", [("avx512_bf16",), ("amx_bf16",)])
def test_a_cpu_with_instructions_for_bf16_offers_it_at_registration(
    cpu: Any, arm: Any, instructions: tuple[str, ...]
) -> None:
    cpu(*instructions, "avx2")

    assert resolve(arm(precision="bf16").to_json())["precision"] == "bf16"


def test_a_cpu_without_such_instructions_refuses_bf16_before_anything_runs(cpu: Any, study: Any, arm: Any) -> None:
    cpu("avx2", "avx512_f")
    claimed = novum.Hypothesis(
        "bf16 is better", control=arm(), treatment=arm(precision="bf16"), minimum_effect=0.1, max_seeds=3
    )

    with pytest.raises(ConfigError, match="'bf16' is not offered on this CPU: it has neither avx512_bf16 nor AMX"):
        study.run(claimed)

    assert len(study.trials()) == 0


def test_a_refusal_names_what_this_very_device_offers(cpu: Any, gpu: Any) -> None:
    cpu()
    with pytest.raises(ConfigError, match=r"'tf32' .*; allowed here: 'auto', 'fp32' \('auto' is 'fp32' here\)"):
        device.precision("tf32", "cpu")

    cpu("amx_bf16")
    with pytest.raises(ConfigError, match=r"'tf32' .*; allowed here: 'auto', 'fp32', 'bf16' "):
        device.precision("tf32", "cpu")

    gpu(7, 5)
    with pytest.raises(
        ConfigError, match=r"'bf16' is not offered on this GPU: .* has 7\.5; allowed here: 'auto', 'fp32' "
    ):
        device.precision("bf16", "cuda")


@pytest.mark.parametrize(("capability", "auto"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_computes_in_bf16_from_capability_8(gpu: Any, arm: Any, capability: tuple[int, int], auto: str) -> None:
    gpu(*capability)

    plan = resolve(arm().to_json())

    assert (plan["device"], plan["precision"]) == ("cuda", auto)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", True)])
def test_tf32_is_allowed_on_a_gpu_as_the_precision_says_and_put_back(precision: str, allowed: bool) -> None:
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [each.allow_tf32 for each in switches]

    with pytest.raises(RuntimeError, match="in between"), device.products(precision, "cuda"):
        inside = [each.allow_tf32 for each in switches]
        raise RuntimeError("in between")

    assert inside == [allowed, allowed]
    assert [each.allow_tf32 for each in switches] == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_cpu_no_switch_of_a_gpu_is_touched(precision: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32

    with device.products(precision, "cpu"):
        inside = torch.backends.cuda.matmul.allow_tf32

    assert inside == before


# ------------------------------------------------------------------------------------------------------ which device


def test_a_device_that_the_environment_names_is_used(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(9)
    preferred = device.kind()
    monkeypatch.setenv("NOVUM_DEVICE", "cpu")

    assert (preferred, device.kind()) == ("cuda", "cpu")


@pytest.mark.parametrize(("named", "counted"), [("", 4), ("cuda", 4), ("cpu", 0)])
def test_workers_are_counted_by_gpus_only_where_trials_use_them(
    named: str, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [{"total": 24, "free": 20}] * 4
    monkeypatch.setattr(preloading, "throwaway", lambda function, leave: (found, ""))
    monkeypatch.setenv("NOVUM_DEVICE", named)

    assert len(preloading.gpus(lambda: None)) == counted


def test_a_named_device_that_is_not_there_is_refused_with_those_that_are(
    cpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu()
    monkeypatch.setenv("NOVUM_DEVICE", "cuda")

    with pytest.raises(ConfigError, match="NOVUM_DEVICE is 'cuda', which this machine does not have; it has cpu"):
        device.kind()


def test_a_plan_for_another_device_kind_cannot_go_on_here(arm: Any, mac: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve(arm().to_json())
    monkeypatch.setenv("NOVUM_DEVICE", "mps")

    assert changed(plan) == [f"the device ({plan['device']} → mps)"]


def test_a_macs_gpu_is_used_where_it_is_named_and_in_full_precision(
    cpu: Any, mac: Any, arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu()
    usual = device.kind()
    monkeypatch.setenv("NOVUM_DEVICE", "mps")

    plan = resolve(arm().to_json())

    assert (usual, plan["device"], plan["precision"]) == ("cpu", "mps", "fp32")
    assert device.device("mps") == torch.device("mps")
    with pytest.raises(ConfigError, match="'bf16' is not offered on this Mac's GPU"):
        device.precision("bf16", "mps")
    with pytest.raises(ConfigError, match=r"recipe\.compile: 'on' is not possible here"):
        resolve(arm(compile="on").to_json())


def test_a_block_of_draws_puts_the_generator_of_a_macs_gpu_back(mac: dict[str, Any]) -> None:
    before = mac["state"].clone()

    with installed(Seed(1)) as state:
        mac["state"] = torch.tensor([9], dtype=torch.uint8)
    with installed(Seed(1), state):
        inside = mac["state"].clone()

    assert torch.equal(mac["state"], before)
    assert inside.tolist() == [9]


def test_numbers_of_double_precision_reach_a_macs_gpu_in_single() -> None:
    where = SimpleNamespace(type="mps")
    seen = []

    class Spy(torch.Tensor):
        def to(self, *_: Any, **__: Any) -> Any:  # no such device is here
            seen.append(self.dtype)
            return self

    parts.place(torch.zeros(2, dtype=torch.float64).as_subclass(Spy), where)  # type: ignore[arg-type]

    assert seen[-1] == torch.float32


# ------------------------------------------------------------------------------------------------------- inventory


def test_memory_that_a_control_group_limits_is_what_may_be_used(tmp_path: Any) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    (tmp_path / "root" / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "outer" / "memory.max").write_text("1000000\n")
    (tmp_path / "root" / "outer" / "inner" / "memory.max").write_text("max\n")

    limited = inventory.memory(tmp_path / "root", membership)
    free = inventory.memory(tmp_path / "nowhere", membership)

    assert limited == 1000000
    assert isinstance(free, int) and free > 1000000


def test_what_others_do_on_a_gpu_is_undefined_without_nvml(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(8, 6)
    monkeypatch.setitem(sys.modules, "pynvml", None)

    (found,) = inventory.inventory().gpus

    assert (found.name, found.capability, found.memory, found.free) == ("a GPU", "8.6", 24 * 10**9, 20 * 10**9)
    assert isinstance(found.others, Undefined) and "pip install 'novum[gpu]'" in found.others.because
    assert isinstance(found.busy, Undefined)


class Nvml:
    """What the library would tell of one GPU on which this process and two others compute."""

    class NVMLError(Exception):
        pass

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - its name there
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if self.fails:
            raise self.NVMLError("not supported")
        return uuid

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in (os.getpid(), 1, 2)] if handle == "GPU-1234" else []

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(free=7 * 10**9)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=40)


@pytest.mark.parametrize(("fails", "seen"), [(False, (7 * 10**9, 2, 0.4)), (True, (20 * 10**9, None, None))])
def test_nvml_tells_what_others_do_on_a_gpu_and_is_closed_again(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, fails: bool, seen: tuple[Any, ...]
) -> None:
    gpu(9)
    library = Nvml(fails)
    monkeypatch.setitem(sys.modules, "pynvml", library)

    (found,) = inventory.inventory().gpus

    told = (found.free, found.others, found.busy)
    assert tuple(None if isinstance(each, Undefined) else each for each in told) == seen
    assert library.open == 0


def test_a_processor_is_told_without_numbers_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")

    found = inventory.processor()

    assert isinstance(found.name, Undefined)
    assert found.instructions == ()
    assert found.cores >= 1
    assert device.bf16_instructions() == ()
