"""Where jobs run side by side: on GPUs and in memory, by measured need."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from novum.errors import StudyError
from novum.executors import Job
from novum.executors.placing import Gpu, Place, Placing, available

GB = 1_000_000_000


def job(id: str = "a", **resources: float) -> Job:
    return Job(id, "train", {"resources": resources} if resources else {})


def gigabytes(id: str, need: float) -> Job:
    return job(id, device_memory=int(need * GB))


def machine(*free: float, workers: int | None = 16) -> Placing:
    return Placing(workers, 16, [Gpu(24 * GB, int(each * GB)) for each in free], None)


def fill(placing: Placing, *jobs: Job) -> list[Place | None]:
    """Place one after the other, each beside all before it that found a place."""
    found: list[Place | None] = []
    for each in jobs:
        found.append(placing.place(each, [place for place in found if place is not None]))
    return found


def gpus(places: list[Place | None]) -> list[Any]:
    return [None if place is None else place.gpus for place in places]


# ------------------------------------------------------------------------------------------------------------- GPUs


def test_trials_share_a_gpu_as_long_as_the_sum_of_their_needs_fits() -> None:
    found = fill(machine(24), *(gigabytes(f"j{at}", 5.8) for at in range(5)))

    assert gpus(found) == [(0,), (0,), (0,), (0,), None]


def test_memory_that_other_people_use_and_a_reserve_are_given_to_nobody() -> None:
    busy = machine(10)

    assert gpus(fill(busy, gigabytes("a", 9.5), gigabytes("b", 0.1))) == [(0,), None]  # 10 less 2 % of 24
    assert fill(busy, gigabytes("a", 9.0), gigabytes("b", 0.1))[1] is not None


@pytest.mark.parametrize("resources", [{}, {"cpus": 1}, {"device_memory": 100 * GB}])
def test_an_unknown_need_and_one_above_every_gpu_get_a_gpu_of_their_own(resources: Any) -> None:
    placing = machine(24, 24)

    found = fill(placing, gigabytes("small", 1), job("unknown", **resources), gigabytes("next", 1), job("other"))

    assert gpus(found) == [(0,), (1,), (0,), None]
    assert [place.shared for place in found if place is not None] == [True, False, True]


def test_several_gpus_carry_as_many_trials_each_as_their_memory_allows() -> None:
    found = fill(machine(24, 12), *(gigabytes(f"j{at}", 5) for at in range(8)))

    assert [gpus(found).count((at,)) for at in (0, 1)] == [4, 2]
    assert gpus(found).count(None) == 2


def test_a_trial_of_several_devices_has_them_to_itself() -> None:
    placing = machine(24, 24, 24)

    found = fill(placing, gigabytes("a", 1), job("two", devices=2, device_memory=GB), gigabytes("b", 1), job("c"))

    assert gpus(found) == [(0,), (1, 2), (0,), None]
    assert placing.place(job("two", devices=2), [place for place in found[:1] if place] * 1) is not None
    assert gpus(fill(placing, job("a"), job("b"), job("two", devices=2))) == [(0,), (1,), None]


@pytest.mark.parametrize(
    ("placing", "have"), [(machine(24), "1 GPU;"), (machine(24, 24), "2 GPUs"), (Placing(None, 2, [], None), "2 cores")]
)
def test_more_devices_than_there_are_is_refused(placing: Placing, have: str) -> None:
    with pytest.raises(StudyError, match=f"wants 4 devices.*has {have}.*allowed: 1 to .*Lower recipe.devices"):
        placing.place(job(devices=4), [])


def test_never_do_more_trials_run_than_there_are_cores_or_workers() -> None:
    small = [gigabytes(f"j{at}", 0.1) for at in range(20)]

    assert sum(place is not None for place in fill(machine(24), *small)) == 16
    assert sum(place is not None for place in fill(machine(24, workers=3), *small)) == 3


def test_no_mix_of_jobs_ever_exceeds_a_gpu_and_an_empty_machine_takes_any_job() -> None:
    draw = random.Random(7)
    placing = machine(24, 16)
    taken: list[Place] = []
    for step in range(3000):
        if taken and draw.random() < 0.45:
            taken.pop(draw.randrange(len(taken)))
        need = draw.choice([0.3, 1.2, 2, 3.5, 6, 11, 20, None])
        wanted = job(f"j{step}") if need is None else gigabytes(f"j{step}", need)

        place = placing.place(wanted, taken)

        assert place is not None or taken
        taken += [] if place is None else [place]
        for at, gpu in enumerate(placing.gpus):
            here = [each for each in taken if at in each.gpus]
            assert len(here) <= 1 or all(each.shared for each in here)
            assert sum(each.memory for each in here) <= gpu.room
        assert len({each.slot for each in taken}) == len(taken) <= 16


# ------------------------------------------------------------------------------------------------- without a GPU


def test_without_a_gpu_trials_share_the_memory_of_the_machine_and_the_bound_is_told_once() -> None:
    placing = Placing(None, 16, [], 64 * GB)

    found = fill(placing, *(job(f"j{at}", process_memory=10 * GB) for at in range(8)))

    assert [place is not None for place in found] == [True] * 6 + [False] * 2
    assert placing.short is not None
    assert "one needs 10.0 GB as measured, and 62.7 GB were free" in placing.short


def test_before_anything_was_measured_every_core_works() -> None:
    placing = Placing(None, 16, [], 64 * GB)

    found = fill(placing, *(job(f"j{at}", cpus=1) for at in range(16)))

    assert None not in found
    assert placing.short is None


def test_a_trial_that_needs_more_than_there_is_runs_alone() -> None:
    placing = Placing(None, 4, [], 8 * GB)

    found = fill(placing, job("huge", process_memory=20 * GB), job("small", process_memory=GB))

    assert [place is not None for place in found] == [True, False]


def test_a_measured_need_goes_before_the_one_that_a_person_guessed() -> None:
    placing = Placing(None, 4, [], 10 * GB)

    guessed = placing.place(job(memory=7.5e9), [])
    measured = placing.place(job(memory=7.5e9, process_memory=2 * GB), [])

    assert (guessed and guessed.memory, measured and measured.memory) == (7_500_000_000, 2 * GB)


def test_a_trial_of_several_devices_takes_as_many_cores() -> None:
    placing = Placing(None, 4, [], None)

    found = fill(placing, job("two", devices=2), job("b"), job("c"), job("d"))

    assert [place is not None for place in found] == [True, True, True, False]


# ------------------------------------------------------------------------------------------------------- what is free


@pytest.fixture
def system(tmp_path: Path) -> Any:
    """A machine with 8 GB available, in whose control group is what the test writes."""
    (tmp_path / "root/pod/me").mkdir(parents=True)
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:  8000000 kB\n")
    (tmp_path / "cgroup").write_text("0::/pod/me\n")
    return lambda: available(tmp_path / "root", tmp_path / "cgroup", tmp_path / "meminfo")


def test_memory_is_what_the_system_calls_available(system: Any) -> None:
    assert system() == 8_192_000_000


def test_a_limit_of_a_control_group_counts_less_what_is_used_in_it_but_not_its_idle_files(
    system: Any, tmp_path: Path
) -> None:
    (tmp_path / "root/pod/me/memory.max").write_text("max")
    (tmp_path / "root/pod/memory.max").write_text("4000000000\n")
    (tmp_path / "root/pod/memory.current").write_text("3000000000\n")
    (tmp_path / "root/pod/memory.stat").write_text("anon 1\ninactive_file 500000000\n")

    assert system() == 1_500_000_000


def test_where_linux_tells_nothing_the_whole_memory_of_the_machine_is_taken(
    system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").unlink()
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)

    assert system() == 4_096_000
