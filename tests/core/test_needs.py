"""How much memory a trial needs, by what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from novum import pieces
from novum.executors import Failure, InlineExecutor, Result
from novum.experiment import Trial
from novum.feed import Feed
from novum.lab import Lab
from novum.ledger import Ledger
from novum.needs import LEAST, Needs, need
from novum.runner.resolve import resolve
from novum.trials import train

GB = 1_000_000_000
CUDA = {"bytes": 3 * GB, "what": "cuda", "reserved": 5 * GB, "context": GB}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Ledger.open(tmp_path) as ledger:
        yield Lab(tmp_path, ledger, InlineExecutor(tmp_path))


@pytest.fixture
def trial(arm: Any) -> Trial:
    seed = {"root": 0, "block": "0", "index": 0, "indices": None}
    return Trial.of("blobs", "control", 0, resolve(arm().to_json()), seed)


def test_on_a_gpu_it_is_what_was_reserved_and_the_context_and_a_tenth() -> None:
    assert need([CUDA], None) == {"device_memory": 6_600_000_000}


def test_the_margin_is_never_below_a_quarter_of_a_gigabyte() -> None:
    small = {**CUDA, "reserved": 2_000_000, "context": 0}

    assert need([small], None) == {"device_memory": 2_000_000 + LEAST}


def test_the_highest_of_the_newest_peaks_counts_and_the_rehearsal_only_before_there_are_some() -> None:
    low, high = {**CUDA, "reserved": 3 * GB}, {**CUDA, "reserved": 9 * GB}

    assert need([high, low], CUDA) == {"device_memory": 11 * GB}
    assert need([low], high) == {"device_memory": 4_400_000_000}
    assert need([], high) == {"device_memory": 11 * GB}


def test_a_trial_that_shared_its_gpu_takes_the_context_from_the_rehearsal() -> None:
    shared = {"bytes": GB, "what": "cuda", "reserved": 4 * GB}

    assert need([shared], CUDA) == {"device_memory": 5_500_000_000}
    assert need([shared], None) == {}  # unknown is never zero


@pytest.mark.parametrize("rehearsal", [None, {"undefined": "nobody tells"}])
def test_what_was_never_measured_is_unknown(rehearsal: Any) -> None:
    assert need([], rehearsal) == {}


def test_in_the_machines_memory_what_a_process_shares_with_its_parent_is_not_counted_again() -> None:
    reading = {"bytes": 5 * GB, "what": "process", "shared": GB}

    assert need([reading], None) == {"process_memory": 4_400_000_000}


def test_a_block_of_seeds_needs_at_most_so_many_times_what_a_smaller_one_did() -> None:
    block = {**CUDA, "together": 4}

    assert need([block], None, 8) == {"device_memory": 12_100_000_000}  # 2 × 5 reserved, and one context
    assert need([block], None, 2) == need([block], None, 4) == {"device_memory": 6_600_000_000}
    assert need([], {"bytes": GB, "what": "process"}, 8) == {}


def test_a_rehearsal_says_what_the_first_trials_need(lab: Lab, trial: Trial) -> None:
    speed = {"seconds_per_unit": 0.0, "score_seconds": 0.0, "memory": CUDA}
    lab.ledger.record_observation(pieces.speed_key(trial.plan), speed)

    job = pieces.Piece(trial).job(lab, needs=Needs(lab).of(trial))

    assert job.payload["resources"] == {"cpus": 1, "device_memory": 6_600_000_000}


def test_trials_of_the_record_say_what_the_next_ones_need(lab: Lab, trial: Trial) -> None:
    assert Needs(lab).of(trial) == {}
    assert train(lab, [trial])

    row = lab.ledger.trial(trial.key)

    assert row is not None
    peak = row["result"]["memory"]
    assert Needs(lab).of(trial) == need([peak], None) != {}


def test_without_a_gpu_each_of_several_devices_is_a_process_that_needs_as_much(lab: Lab, arm: Any) -> None:
    seed = {"root": 0, "block": "0", "index": 0, "indices": None}
    one, two = (Trial.of("blobs", "control", 0, resolve(arm(**how).to_json()), seed) for how in ({}, {"devices": 2}))
    needs = Needs(lab)

    for each in (one, two):
        needs.learn(each, {"memory": {"bytes": GB, "what": "process"}})

    assert needs.of(two)["process_memory"] == 2 * needs.of(one)["process_memory"]


def test_after_running_out_of_memory_nothing_is_known_until_a_whole_trial_was_measured(lab: Lab, trial: Trial) -> None:
    needs = Needs(lab)
    needs.learn(trial, {"memory": CUDA})
    needs.doubt(trial)
    assert needs.of(trial) == {}

    needs.learn(trial, {"memory": CUDA, "deviations": ["micro-batches of 1/2 after running out of memory"]})
    cut = needs.of(trial)
    needs.learn(trial, {"memory": {**CUDA, "reserved": 9 * GB}, "deviations": []})

    assert cut == {}
    assert needs.of(trial) == {"device_memory": 11 * GB}


def test_an_arm_that_ran_out_of_memory_and_told_no_new_peak_is_not_packed_by_the_old_one(lab: Lab, arm: Any) -> None:
    plan = resolve(arm().to_json())
    speed = {"seconds_per_unit": 0.0, "score_seconds": 0.0, "memory": CUDA}
    lab.ledger.record_observation(pieces.speed_key(plan), speed)
    seeds = [{"root": 0, "block": "0", "index": index, "indices": None} for index in range(2)]
    trials = [Trial.of("blobs", "control", seed["index"], plan, seed) for seed in seeds]  # type: ignore[arg-type]
    feed = Feed(lab, lambda: {each.key: pieces.Piece(each) for each in trials}, points=1, halt=False)
    plain = {"units": 1, "seconds": 0.1, "curve": [], "start": None, "scores": {}, "weights": None, "bytes": 0}
    diverged = plain | {"memory": CUDA, "diverged": "the loss is nan", "deviations": []}
    jobs = feed.jobs()

    packed = next(jobs)
    assert packed is not None
    feed.take_in(Result(packed, None, Failure("OutOfMemoryError", "CUDA out of memory"), lost=False, seconds=0.1))
    alone = next(jobs)
    assert alone is not None
    feed.take_in(Result(alone, diverged, None, lost=False, seconds=0.1))
    other = next(jobs)

    assert other is not None
    assert [each.id == packed.id for each in (alone, other)] == [True, False]
    assert ["device_memory" in each.payload["resources"] for each in (packed, alone, other)] == [True, False, False]
