"""Where jobs run: what every executor promises, and what a process per job adds."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from novum.errors import ConfigError, StudyError
from novum.executors import Executor, InlineExecutor, Job, LocalExecutor, Result, cores, orphans, spool

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE)}
PERFORM = "workers_fixture:perform"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    folder = tmp_path_factory.mktemp("local")
    with LocalExecutor(folder, workers=2, perform=PERFORM, environment=ENVIRONMENT, light=True) as executor:
        yield executor


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    folder = tmp_path_factory.mktemp("full")
    with LocalExecutor(folder, perform=PERFORM, environment=ENVIRONMENT) as executor:
        yield executor


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InlineExecutor:
    monkeypatch.syspath_prepend(str(HERE))
    return InlineExecutor(tmp_path, perform=PERFORM)


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest) -> Executor:
    made: Executor = request.getfixturevalue(request.param)
    return made


def by_id(executor: Executor, *jobs: Job) -> dict[str, Result]:
    found = {}
    for result in executor.run(jobs):
        executor.acknowledge(result.job)
        found[result.job.id] = result
    return found


def one(executor: Executor, kind: str, payload: dict[str, Any] | None = None) -> Result:
    return by_id(executor, Job("only", kind, payload or {}))["only"]


# -- every executor


def test_a_value_comes_back_as_it_was_with_its_job_and_its_seconds(executor: Executor) -> None:
    payload = {"text": "ä\n\u2028 \U0001f600", "list": [1, 2.5, None, True], "tiny": 5e-324}
    job = Job("a.b-c_1", "echo", payload)

    result = by_id(executor, job)["a.b-c_1"]

    assert result.value is not None
    assert result.value["payload"] == payload
    assert result.value["folder"] == str(executor.folder)
    assert (result.job, result.error, result.lost) == (job, None, False)
    assert result.seconds > 0


def test_nan_and_infinity_cross_unchanged(executor: Executor) -> None:
    value = one(executor, "not_a_number").value

    assert value is not None
    assert math.isnan(value["loss"])
    assert value["bound"] == math.inf


def test_a_payload_and_a_value_of_megabytes_cross(executor: Executor) -> None:
    text = "0123456789" * 300_000

    value = one(executor, "big", {"text": text}).value

    assert value == {"length": 3_000_000, "text": text}


def test_an_error_keeps_its_type_its_message_and_its_traceback(executor: Executor) -> None:
    result = one(executor, "fail")

    assert result.value is None
    assert not result.lost
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("OddError", "the message – whole")
    assert 'raise OddError("the message – whole")' in result.error.traceback


def test_a_job_that_exits_like_a_script_fails_alone(executor: Executor) -> None:
    found = by_id(executor, Job("exit", "leave", {}), Job("next", "echo", {}))

    assert found["exit"].error is not None
    assert found["exit"].error.type == "SystemExit"
    assert found["next"].error is None


@pytest.mark.parametrize(("kind", "words"), [("nothing", "returned NoneType"), ("not_json", "not JSON serializable")])
def test_a_value_that_is_no_json_object_is_an_error(executor: Executor, kind: str, words: str) -> None:
    error = one(executor, kind).error

    assert error is not None
    assert error.type == "TypeError"
    assert words in error.message


def test_jobs_start_after_those_they_wait_for_whatever_the_order_given(executor: Executor, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    after = {"d": ("b", "c"), "c": ("b",), "b": ("a",), "a": ()}
    jobs = [Job(id, "mark", {"file": str(file), "name": id}, after=which) for id, which in after.items()]

    found = by_id(executor, *jobs)

    assert file.read_text().split() == ["a", "b", "c", "d"]
    assert list(found) == ["a", "b", "c", "d"]


def test_jobs_behind_a_failed_one_are_not_started_and_say_so(executor: Executor, tmp_path: Path) -> None:
    mark = {"file": str(tmp_path / "marks"), "name": "ran"}
    chain = [Job("last", "mark", mark, after=("middle",)), Job("middle", "mark", mark, after=("first",))]

    found = by_id(executor, *chain, Job("first", "fail", {}), Job("free", "echo", {}))

    errors = {id: result.error and result.error.type for id, result in found.items()}
    assert errors == {"first": "OddError", "middle": "Dependency", "last": "Dependency", "free": None}
    assert not found["middle"].lost
    assert not (tmp_path / "marks").exists()


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([Job("a", "echo", {}), Job("a", "echo", {})], "called a"),
        ([Job("a", "echo", {}, after=("b",))], "waits for b"),
        ([Job("a", "echo", {}, after=("b",)), Job("b", "echo", {}, after=("a",))], "circle"),
        ([Job("a", "echo", {"x": {1}})], "not JSON"),
    ],
)
def test_jobs_that_could_never_all_run_are_refused_before_any_starts(
    executor: Executor, jobs: list[Job], words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        executor.run(jobs)


def test_no_jobs_give_no_results(executor: Executor) -> None:
    assert list(executor.run([])) == []


def test_cancelled_jobs_that_wait_vanish_and_their_dependants_say_why(executor: Executor) -> None:
    jobs = [Job(id, "echo", {}) for id in ("1", "2", "3", "4", "5", "6")]
    results = executor.run([*jobs, Job("behind", "echo", {}, after=("6",))])

    first = next(results)
    executor.cancel(["5", "6", "unknown"])
    rest = {result.job.id: result for result in results}

    for result in (first, *rest.values()):
        executor.acknowledge(result.job)
    assert {first.job.id, *rest} == {"1", "2", "3", "4", "behind"}
    assert rest["behind"].error is not None
    assert rest["behind"].error.type == "Dependency"
    assert "6 was cancelled" in rest["behind"].error.message


def test_results_stay_in_the_spool_until_they_are_acknowledged(executor: Executor) -> None:
    jobs = [Job("well", "echo", {}, about={"of": "this"}), Job("ill", "fail", {})]
    results = {result.job.id: result for result in executor.run(jobs)}

    found = {each.id: each for each in orphans(executor.folder)}
    executor.acknowledge(results["well"].job, keep=True)
    left = [each.id for each in orphans(executor.folder)]
    executor.acknowledge(results["ill"].job)

    assert found["well"].value == results["well"].value
    assert found["ill"].error is not None
    assert found["ill"].error["type"] == "OddError"
    assert [(each.id, each.about) for each in spool.kept(executor.folder)] == [("well", {"of": "this"})]
    assert left == ["ill"]
    assert list(orphans(executor.folder)) == []


def test_a_result_without_room_on_the_disk_is_told_and_stops_nothing(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(executor, InlineExecutor):
        real = spool.put

        def put(target: Path, content: bytes) -> None:
            if target.name.startswith("full"):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(target, content)

        monkeypatch.setattr(spool, "put", put)
        results = list(executor.run([Job("full", "echo", {}), Job("after", "echo", {})]))
    else:
        results = list(executor.run([Job("full", "unwritable", {})]))
        (executor.folder / "elsewhere").rename(executor.folder / "spool")
        results += list(executor.run([Job("after", "echo", {})]))

    first, second = results
    assert first.error is not None and first.error.type == "NoSpace"
    assert second.error is None


def test_a_result_of_an_earlier_attempt_is_never_taken_for_a_new_one(executor: Executor) -> None:
    one(executor, "echo")
    spool.write(executor.folder, "only", {"value": {"stale": True}})

    result = one(executor, "echo")

    assert result.value is not None
    assert "stale" not in result.value


def test_an_executor_works_again_after_it_was_closed(executor: Executor) -> None:
    one(executor, "echo")
    executor.close()

    assert one(executor, "echo").error is None
    assert executor.running() == ()


def test_no_executor_takes_fewer_than_one_worker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        LocalExecutor(tmp_path, workers=0)
    with pytest.raises(ConfigError, match="one job at a time"):
        InlineExecutor(tmp_path, workers=2)


# -- in this process


def test_inline_runs_in_this_very_process_in_slot_0(inline: InlineExecutor) -> None:
    value = one(inline, "echo").value

    assert value is not None
    assert (value["pid"], value["slot"]) == (os.getpid(), "0")
    assert "NOVUM_SLOT" not in os.environ


def test_inline_debug_lets_an_error_through_as_it_was_raised(inline: InlineExecutor) -> None:
    debugging = InlineExecutor(inline.folder, perform=PERFORM, debug=True)

    with pytest.raises(Exception, match="the message – whole") as caught:
        one(debugging, "fail")

    assert type(caught.value).__name__ == "OddError"


def test_inline_never_swallows_an_interrupt(inline: InlineExecutor) -> None:
    with pytest.raises(KeyboardInterrupt):
        one(inline, "interrupt")

    assert inline.running() == ()


def test_inline_describes_one_worker(inline: InlineExecutor) -> None:
    assert inline.describe() | {"gpus": 0} == {"kind": "inline", "workers": 1, "cores": cores(), "gpus": 0}


# -- a process for each job


def test_every_job_has_a_process_of_its_own_and_a_slot_below_the_number_of_workers(local: LocalExecutor) -> None:
    found = by_id(local, *(Job(f"j{at}", "echo", {}) for at in range(6)))

    values = [result.value for result in found.values() if result.value is not None]
    assert len({value["pid"] for value in values}) == 6
    assert {value["slot"] for value in values} == {"0", "1"}


def test_a_worker_leads_its_own_group_in_a_session_away_from_the_terminal(local: LocalExecutor) -> None:
    value = one(local, "process", {"modules": []}).value

    assert value is not None
    assert value["group"]
    assert value["session"] == value["parent"]


def test_a_worker_never_has_the_main_module_of_its_caller(local: LocalExecutor) -> None:
    value = one(local, "process", {"modules": ["pytest"]}).value

    assert value is not None
    assert value["imported"] == []
    assert value["main"].endswith("server.py")


def test_output_goes_to_the_log_of_the_job_with_the_traceback_of_its_error(local: LocalExecutor) -> None:
    by_id(local, Job("talk", "talk", {}), Job("fail", "fail", {}))

    talk = (local.folder / "logs" / "talk.log").read_text().splitlines()
    assert sorted(talk) == ["complained", "said by a child", "said – in letters of all kinds"]
    assert "OddError: the message – whole" in (local.folder / "logs" / "fail.log").read_text()


def test_a_job_that_closes_its_output_still_has_its_result(local: LocalExecutor) -> None:
    assert one(local, "mute").value == {"quiet": True}


def test_a_flood_of_output_is_capped_and_blocks_nobody(local: LocalExecutor) -> None:
    result = one(local, "flood", {"bytes": 20_000_000})

    log = (local.folder / "logs" / "only.log").read_bytes()
    assert result.value == {"printed": 20_000_000}
    assert 1_000_000 <= len(log) < 1_001_000
    assert b"output beyond 1000000 bytes was dropped" in log[-100:]


def test_local_describes_its_workers(local: LocalExecutor) -> None:
    assert local.describe() == {"kind": "local", "workers": 2, "cores": cores(), "gpus": 0}


def test_a_job_finds_torch_and_dynamo_imported_and_imports_neither(full: LocalExecutor) -> None:
    modules = ["numpy", "torch", "torch._dynamo"]
    found = by_id(full, Job("look", "process", {"modules": modules}), Job("optimise", "optimise", {}))

    look, optimised = found["look"].value, found["optimise"].value
    assert look is not None
    assert look["imported"] == modules
    assert look["threads"] == 1
    assert look["environment"] == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert optimised == {"dynamo": True, "new": []}


def test_workers_default_to_one_for_each_gpu_or_else_for_each_core(full: LocalExecutor) -> None:
    about = full.describe()

    assert about["workers"] == (about["gpus"] or cores())
    assert full.hello()["torch"] is not None


def test_two_executors_and_two_runs_of_one_work_side_by_side(local: LocalExecutor, tmp_path: Path) -> None:
    with LocalExecutor(tmp_path, workers=2, perform=PERFORM, environment=ENVIRONMENT, light=True) as other:
        runs = [
            local.run([Job(f"a{at}", "echo", {}) for at in range(4)]),
            local.run([Job(f"b{at}", "echo", {}) for at in range(4)]),
            other.run([Job(f"a{at}", "echo", {}) for at in range(4)]),
        ]
        rounds = [[result.job.id for result in results] for results in zip(*runs, strict=True)]

    assert sorted(id for ids in rounds for id in ids) == sorted([f"{run}{at}" for run in "aba" for at in range(4)])
    for id in [f"{run}{at}" for run in "ab" for at in range(4)]:
        local.acknowledge(Job(id, "echo", {}))


# -- the pieces


@pytest.mark.parametrize("id", ["", "a/b", "a b", "../a", "..", ".hidden", "a\n", "x" * 101, "ä"])
def test_an_id_that_could_not_name_a_file_is_refused(id: str) -> None:
    with pytest.raises(ConfigError, match="a job's id names files"):
        Job(id, "echo", {})


def test_an_attempt_counts_from_one() -> None:
    with pytest.raises(ConfigError, match="attempts count from 1"):
        Job("a", "echo", {}, attempt=0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf])
def test_a_timeout_is_a_positive_number_or_none(timeout: float) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        Job("a", "echo", {}, timeout=timeout)


WRONG = ["{", "[]", '{"id": "other", "attempt": 1, "value": {}}', '{"id": "torn", "attempt": 1, "value": 3}']


@pytest.mark.parametrize("damage", [b"", b"{", *(gzip.compress(each.encode(), mtime=0) for each in WRONG)])
def test_a_damaged_spool_file_is_named_and_hides_no_other(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "spool").mkdir()
    spool.write(tmp_path, "whole", {"value": {"a": 1}})
    (tmp_path / "spool" / "torn.1.json.gz").write_bytes(damage)
    (tmp_path / "spool" / "late.1.json.gz.77.tmp").write_text("{")

    with pytest.warns(RuntimeWarning, match=r"torn\.1\.json\.gz is damaged"):
        found = list(orphans(tmp_path))

    assert [(each.id, each.value) for each in found] == [("whole", {"a": 1})]


def test_a_study_without_a_spool_has_no_orphans(tmp_path: Path) -> None:
    assert list(orphans(tmp_path)) == []


@pytest.mark.parametrize(
    ("own", "parent", "limit"),
    [
        ("max 100000", "max 100000", None),
        ("100000 100000", "max 100000", 1),
        ("max 100000", "150000 100000", 1),
        ("1000 100000", "max 100000", 1),
        ("99900000 100000", "max 100000", None),
    ],
)
def test_cores_are_those_of_the_affinity_or_of_the_tightest_quota(
    tmp_path: Path, own: str, parent: str, limit: int | None
) -> None:
    (tmp_path / "root/pod/me").mkdir(parents=True)
    (tmp_path / "root/pod/me/cpu.max").write_text(own)
    (tmp_path / "root/pod/cpu.max").write_text(parent)
    (tmp_path / "cgroup").write_text("4:memory:/elsewhere\n0::/pod/me\n")

    found = cores(tmp_path / "root", tmp_path / "cgroup")

    assert found == (limit or cores(tmp_path, tmp_path / "missing"))


def test_importing_the_executors_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "scipy", "sqlalchemy", "pydantic"]
    code = f"import json, sys, novum.executors; print(json.dumps([name for name in {heavy} if name in sys.modules]))"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout

    assert json.loads(told) == []


def test_a_draft_that_a_killed_process_left_is_deleted_and_one_of_a_living_process_is_left_alone(
    tmp_path: Path,
) -> None:
    place = tmp_path / "spool"
    place.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (place / f"job.1.json.gz.{pid}.tmp").touch()
    (place / "job.tmp").touch()

    assert list(orphans(tmp_path)) == []

    assert sorted(path.name for path in place.iterdir()) == [f"job.1.json.gz.{os.getpid()}.tmp", "job.tmp"]
