"""Trials on GPUs that are simulated (experiments/benchmarks/simulated_device.py), through the real executor."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from novum import pieces
from novum.errors import StudyError
from novum.executors import Job, LocalExecutor, Result
from novum.executors.waiting import OVERTAKEN
from novum.experiment import Trial
from novum.lab import Lab, Listener
from novum.ledger import Ledger
from novum.runner.resolve import resolve
from novum.trials import train

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
GB = 1_000_000_000
TOTAL = 24 * GB


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("simulated_device", BENCHMARKS / "simulated_device.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Callable[..., LocalExecutor]]:
    """Makes an executor on so many simulated GPUs of 24 GB; their state and log are in the folder `device`."""
    made: list[LocalExecutor] = []

    def make(gpus: int = 1, workers: int = 16) -> LocalExecutor:
        (tmp_path / "device").mkdir()
        environment = {
            "PYTHONPATH": str(BENCHMARKS),
            "SIMULATED_DEVICE": str(tmp_path / "device"),
            "SIMULATED_TOTAL": str(TOTAL),
        }
        made.append(
            LocalExecutor(
                tmp_path,
                workers=workers,
                perform="simulated_device:perform",
                environment=environment,
                light=True,
                gpus=[{"total": TOTAL, "free": TOTAL}] * gpus,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def job(id: str, need: float, *, known: float | None = -1, devices: int = 1, **how: Any) -> Job:
    """One that occupies `need` GB, and whose payload says `known` GB: the same unless given, None for unknown."""
    resources: dict[str, Any] = {"devices": devices} if devices > 1 else {}
    if known is not None:
        resources["device_memory"] = int((need if known == -1 else known) * GB)
    return Job(id, "run", {"resources": resources, "simulated": {"name": id, "bytes": int(need * GB), **how}})


def events(tmp_path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _module().events(tmp_path / "device")
    return found


def started(tmp_path: Path) -> list[str]:
    return [each["name"] for each in events(tmp_path) if each["event"] == "begins"]


def by_id(executor: LocalExecutor, jobs: Any) -> dict[str, Result]:
    return {result.job.id: result for result in executor.run(jobs)}


def test_a_gpu_is_filled_with_all_that_fits_and_never_with_more(simulated: Any, tmp_path: Path) -> None:
    executor = simulated()
    needs = [5.8, 5.8, 5.8, 5.8, 11, 1.2, 1.2, 1.2, 11, 6, 6, 2, 3.5]
    jobs = [job(f"j{at}", need, seconds=0.05, meet=4 if at < 4 else 0) for at, need in enumerate(needs)]

    found = by_id(executor, jobs)

    assert {each.error for each in found.values()} == {None}  # the first four were there at once, or they had failed
    used = [sum(guest["bytes"] for guest in each["there"].values()) for each in events(tmp_path)]
    assert 4 * 5.8 * GB in used
    assert max(used) <= TOTAL


def test_a_trial_of_unknown_need_has_a_gpu_to_itself(simulated: Any, tmp_path: Path) -> None:
    executor = simulated()
    jobs = [job("a", 1, known=None, seconds=0.1), job("b", 1, seconds=0.1), job("c", 1, known=None, seconds=0.1)]

    found = by_id(executor, jobs)

    assert {each.error for each in found.values()} == {None}
    assert max(len(each["there"]) for each in events(tmp_path)) == 1


def test_two_gpus_are_shared_by_need(simulated: Any, tmp_path: Path) -> None:
    executor = simulated(gpus=2)

    found = by_id(executor, [job(f"j{at}", need, meet=5) for at, need in enumerate([16, 11, 11, 3, 3])])

    values = [each.value for each in found.values()]
    assert None not in values  # all five were there at once
    assert sorted(found[id].value["gpus"][0] for id in ("j1", "j2")) == [1, 1]  # type: ignore[index]


def test_a_trial_of_two_devices_has_both_to_itself(simulated: Any, tmp_path: Path) -> None:
    executor = simulated(gpus=2)
    jobs = [job("a", 1, seconds=0.1), job("two", 2, devices=2, seconds=0.1), job("b", 1, seconds=0.1)]

    found = by_id(executor, jobs)

    assert found["two"].value == {"gpus": [0, 1]}
    assert all(len(each["there"]) == 1 for each in events(tmp_path) if "two" in each["there"])


def test_more_devices_than_the_machine_has_stop_the_run_before_anything_starts(simulated: Any, tmp_path: Path) -> None:
    executor = simulated(gpus=2)

    with pytest.raises(StudyError, match="wants 3 devices for one trial, and this machine has 2 GPUs"):
        list(executor.run([job("three", 1, devices=3), job("a", 1)]))

    assert events(tmp_path) == []


@pytest.mark.parametrize("kind", [list, iter])
def test_a_big_trial_is_passed_by_a_few_small_ones_and_no_more(simulated: Any, tmp_path: Path, kind: Any) -> None:
    executor = simulated()
    jobs = [job("first", 2, seconds=0.2), job("big", 23, seconds=0.05)]
    jobs += [job(f"s{at}", 2, seconds=0.05 + 0.02 * (at % 3)) for at in range(30)]

    found = by_id(executor, kind(jobs))

    assert {each.error for each in found.values()} == {None}
    assert len(found) == 32
    assert started(tmp_path).index("big") <= 1 + OVERTAKEN


def test_a_trial_that_waits_for_room_can_be_cancelled(simulated: Any, tmp_path: Path) -> None:
    executor = simulated()
    results = executor.run(iter([job("a", 20, meet=2), job("held", 20), job("b", 2, meet=2)]))

    first = next(results)
    executor.cancel(["held"])
    rest = {each.job.id: each for each in results}

    ends = {first.job.id: first} | rest
    assert {id: each.error for id, each in ends.items() if id != "held"} == {"a": None, "b": None}
    assert ends["held"].error is not None
    assert (ends["held"].error.type, ends["held"].lost) == ("Cancelled", True)
    assert "held" not in started(tmp_path)


# ----------------------------------------------------------------------------------------- a measurement was wrong


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def lab(tmp_path: Path, simulated: Any) -> Iterator[Lab]:
    with Ledger.open(tmp_path) as ledger:
        yield Lab(tmp_path, ledger, simulated(), Heard())


def planned(lab: Lab, arm: Any, need: float, rehearsed: float, seeds: int) -> list[Trial]:
    """Trials of an arm that needs so many GB, though its rehearsal saw other ones."""
    plan = resolve(arm(model={"note": str(need)}).to_json())
    reading = {"bytes": GB, "what": "cuda", "reserved": int(rehearsed * GB), "context": 0}
    speed = {"seconds_per_unit": 0.0, "score_seconds": 0.0, "memory": reading}
    lab.ledger.record_observation(pieces.speed_key(plan), speed)
    seed = {"root": 0, "block": "0", "indices": None}
    return [Trial.of("blobs", "control", index, plan, {**seed, "index": index}) for index in range(seeds)]


def test_a_need_that_was_measured_too_small_costs_one_retry_alone_and_the_arm_is_measured_anew(
    lab: Lab, arm: Any, tmp_path: Path
) -> None:
    trials = planned(lab, arm, need=14, rehearsed=7, seeds=6)

    assert train(lab, trials)

    rows = lab.ledger.trials(keys=[each.key for each in trials])
    alone = [row for row in rows if row["result"]["deviations"]]
    assert {row["state"] for row in rows} == {"done"}
    assert 1 <= len(alone) <= 2  # three were placed at first, and one of them found room
    assert {tuple(row["result"]["deviations"]) for row in alone} == {
        ("it ran alone, after the device had run out of memory",)
    }
    assert sum(each["event"] == "no room" for each in events(tmp_path)) == len(alone)


def test_what_does_not_fit_even_alone_goes_on_in_micro_batches_and_the_record_says_so(
    lab: Lab, arm: Any, tmp_path: Path
) -> None:
    (trial,) = planned(lab, arm, need=40, rehearsed=10, seeds=1)

    assert train(lab, [trial])

    row = lab.ledger.trial(trial.key)
    assert row is not None
    assert (row["state"], row["attempts"]) == ("done", 3)  # among others, alone, in halves
    assert row["result"]["deviations"] == [
        "micro-batches of 1/2 after running out of memory",
        "it ran alone, after the device had run out of memory",
    ]


def test_that_memory_holds_fewer_trials_than_the_cores_would_is_said_once(tmp_path: Path) -> None:
    jobs = [Job(f"j{at}", "echo", {"resources": {"process_memory": 4 * GB}}) for at in range(6)]
    environment = {"PYTHONPATH": str(Path(__file__).parent)}

    with LocalExecutor(
        tmp_path, workers=4, perform="workers_fixture:perform", environment=environment, light=True, memory=10 * GB
    ) as executor:
        ends = [result.error for result in executor.run(jobs)]
        said = [executor.remarks(), executor.remarks()]

    assert ends == [None] * 6
    assert len(said[0]) == 1 and "fewer trials at a time than the 4 that the cores would" in said[0][0]
    assert said[1] == ()
