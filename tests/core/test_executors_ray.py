"""Jobs on a Ray cluster: the executors' promises, two ways for files, and the ways to lose a job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from novum.errors import ConfigError, StudyError
from novum.executors import Job, Result, orphans, ray_cluster, ray_worker, scratch
from novum.executors.ray import RayExecutor

HERE = Path(__file__).parent
PERFORM = "ray_workers_fixture:perform"
PATIENCE = 90.0
"""Seconds until a test gives up waiting; how long anything takes is no test's business."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through Linux's /proc")


def make(folder: Path, **options: Any) -> RayExecutor:
    given = {"workers": 2, "perform": PERFORM, "light": True, "grace": 5.0}
    return RayExecutor(folder, **{**given, **options})


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """Its workers see the study's folder. It and the next one share one cluster of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        with make(tmp_path_factory.mktemp("direct")) as executor:
            executor.describe()
            yield executor


@pytest.fixture(scope="module")
def apart(direct: RayExecutor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """Its workers do not."""
    with make(tmp_path_factory.mktemp("apart"), direct=False) as executor:
        yield executor


@pytest.fixture(params=["direct", "apart"])
def executor(request: pytest.FixtureRequest) -> RayExecutor:
    made: RayExecutor = request.getfixturevalue(request.param)
    return made


def by_id(executor: RayExecutor, *jobs: Job) -> dict[str, Result]:
    found = {}
    for result in executor.run(jobs):
        executor.acknowledge(result.job)
        found[result.job.id] = result
    return found


def one(executor: RayExecutor, kind: str, payload: dict[str, Any] | None = None) -> Result:
    return by_id(executor, Job("only", kind, payload or {}))["only"]


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(file: Path) -> list[int]:
    assert until(file.exists)
    return [int(line) for line in file.read_text().split()]


# -- what every executor promises


def test_a_value_comes_back_as_it_was_with_its_job_and_its_seconds(executor: RayExecutor) -> None:
    payload = {"text": "ä\n\u2028 \U0001f600", "list": [1, 2.5, None, True], "tiny": 5e-324}
    job = Job("a.b-c_1", "echo", payload)

    result = by_id(executor, job)["a.b-c_1"]

    assert result.value is not None
    assert result.value["payload"] == payload
    assert (result.value["folder"] == str(executor.folder)) == executor._direct
    assert (result.job, result.error, result.lost) == (job, None, False)
    assert result.seconds > 0


def test_a_payload_and_a_value_of_megabytes_cross(executor: RayExecutor) -> None:
    text = "0123456789" * 300_000

    assert one(executor, "big", {"text": text}).value == {"length": 3_000_000, "text": text}


def test_an_error_keeps_its_type_its_message_and_its_traceback(executor: RayExecutor) -> None:
    result = one(executor, "fail")

    assert not result.lost
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("OddError", "the message – whole")
    assert 'raise OddError("the message – whole")' in result.error.traceback


def test_a_result_stands_in_the_spool_with_its_attempt_and_what_it_is_of_before_it_is_told(
    executor: RayExecutor,
) -> None:
    jobs = [Job("well", "echo", {}, attempt=3, about={"of": "this"}), Job("ill", "fail", {})]
    found: dict[str, Any] = {}

    for result in executor.run(jobs):
        found |= {each.id: each for each in orphans(executor.folder) if each.id == result.job.id}
        executor.acknowledge(result.job)

    assert (found["well"].attempt, found["well"].about, found["well"].value["slot"]) == (3, {"of": "this"}, "0")
    assert found["ill"].error["type"] == "OddError"
    assert list(orphans(executor.folder)) == []


def test_jobs_behind_a_failed_one_are_not_started_and_say_so(executor: RayExecutor) -> None:
    found = by_id(executor, Job("last", "echo", {}, after=("first",)), Job("first", "fail", {}), Job("x", "echo", {}))

    errors = {id: result.error and result.error.type for id, result in found.items()}
    assert errors == {"first": "OddError", "last": "Dependency", "x": None}


def test_an_iterator_is_drawn_from_no_further_than_there_is_room(executor: RayExecutor) -> None:
    drawn: list[str] = []

    def coming() -> Iterator[Job | None]:
        for at in range(6):
            drawn.append(f"j{at}")
            yield Job(f"j{at}", "echo", {})

    ahead = []
    for result in executor.run(coming()):
        executor.acknowledge(result.job)
        ahead.append(len(drawn) - len(ahead))

    assert len(ahead) == 6
    assert max(ahead) <= 3  # two at work, and one whose result was told after the next had been drawn


def test_every_job_has_a_fresh_process_of_one_thread_and_torch_is_not_imported_again_for_it(
    direct: RayExecutor,
) -> None:
    found = by_id(direct, *(Job(f"j{at}", "ancestors", {}) for at in range(6)), Job("look", "process", {"modules": []}))

    look = found.pop("look").value
    values = [result.value for result in found.values() if result.value is not None]
    assert len({value["job"] for value in values}) == 6
    assert len({value["server"] for value in values}) == len({value["worker"] for value in values}) <= 2
    assert look is not None
    assert look["environment"] == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert look["main"].endswith("server.py")


def test_it_describes_the_cluster(direct: RayExecutor) -> None:
    cpus = max(ray_cluster.cores(), 2)

    assert direct.describe() == {"kind": "ray", "workers": 2, "cores": cpus, "gpus": 0}
    with make(direct.folder, workers=None) as other:
        assert other.describe()["workers"] == cpus


# -- files


def test_files_reach_a_node_that_does_not_see_the_folder_and_what_the_job_leaves_comes_back(
    apart: RayExecutor,
) -> None:
    folder, old, new = apart.folder, "a" * 40, "b" * 40
    (folder / "weights" / old).mkdir(parents=True)
    (folder / "weights" / old / "net.safetensors").write_bytes(b"tensors")
    (folder / "checkpoints" / "only").mkdir(parents=True)
    (folder / "checkpoints" / "only" / "1.json").write_text("one")

    value = one(apart, "leave_files", {"weights": old, "new": new}).value

    assert value is not None
    assert value["saw"] == [old, new]
    assert value["checkpoint"] == "one"
    assert not value["folder"].startswith(str(folder))
    assert (folder / "weights" / new / "net.safetensors").read_bytes() == b"TENSORS"
    assert sorted(path.name for path in (folder / "weights").iterdir()) == [old, new]
    assert (folder / "runs" / "a.jsonl").read_bytes() == b"{}\n"
    assert (folder / "runs" / "tensorboard" / "a" / "events").read_bytes() == b"\0\1"
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["a.jsonl", "tensorboard"]
    assert sorted(path.name for path in (folder / "checkpoints" / "a").iterdir()) == ["2.safetensors"]
    assert not (folder / "elsewhere").exists()


def test_a_private_folder_holds_nothing_of_the_job_before(apart: RayExecutor) -> None:
    digest = "c" * 40
    (apart.folder / "weights" / digest).mkdir(parents=True)
    (apart.folder / "weights" / digest / "net.safetensors").write_bytes(b"x")
    alone = make(apart.folder, workers=1, direct=False)

    folders: set[str] = set()
    with alone:
        for at in range(20):  # Ray chooses the worker, and so the folder: until one comes again
            new = f"e{at:039d}"
            value = one(alone, "leave_files", {"weights": digest, "new": new}).value
            assert value is not None
            if value["folder"] in folders:
                break
            folders.add(value["folder"])

    assert value["folder"] in folders, "no worker was given two jobs"
    assert value["saw"] == [digest, new]


def test_a_class_whose_file_is_not_on_the_node_is_refused_with_its_name(apart: RayExecutor, tmp_path: Path) -> None:
    file = str(tmp_path / "script.py")

    error = one(apart, "echo", {"local": [["task", {"name": "local:X", "file": file}]]}).error

    assert error is not None
    assert error.type == "StudyError"
    assert f"has no file {file}" in error.message


# -- output


def test_output_goes_to_the_log_of_the_job_with_the_traceback_of_its_error(executor: RayExecutor) -> None:
    by_id(executor, Job("talk", "talk", {}), Job("fail", "fail", {}))

    talk = (executor.folder / "logs" / "talk.log").read_text().splitlines()
    assert sorted(talk) == ["complained", "said by a child", "said – in letters of all kinds"]
    assert "OddError: the message – whole" in (executor.folder / "logs" / "fail.log").read_text()


def test_a_flood_of_output_is_capped(executor: RayExecutor) -> None:
    result = one(executor, "flood", {"bytes": 20_000_000})

    log = (executor.folder / "logs" / "only.log").read_bytes()
    assert result.value == {"printed": 20_000_000}
    assert 1_000_000 <= len(log) < 1_001_000


# -- every way to lose a job


def test_a_killed_job_is_lost_its_node_is_named_and_no_other_suffers(executor: RayExecutor) -> None:
    found = by_id(executor, Job("a", "echo", {}), Job("dead", "kill", {}), Job("b", "echo", {}))

    error = found["dead"].error
    assert found["dead"].lost
    assert error is not None
    assert error.type == "Lost"
    assert "SIGKILL (9)" in error.message
    assert "It ran on node " in error.message
    assert [found[id].error for id in "ab"] == [None, None]


@pytest.mark.parametrize("way", ["direct", "apart"])
def test_a_killed_ray_worker_takes_its_job_along_which_is_lost(
    request: pytest.FixtureRequest, tmp_path: Path, way: str
) -> None:
    executor: RayExecutor = request.getfixturevalue(way)
    results = executor.run([Job("who", "echo", {}), Job("stay", "stay", {"pids": str(tmp_path / "pids")})])
    executor.acknowledge(next(results).job)
    job, server, worker = pids(tmp_path / "pids")

    os.kill(worker, signal.SIGKILL)
    (result,) = results

    assert result.lost
    assert result.error is not None
    assert result.error.type == "Lost"
    assert "the Ray worker of job stay died on node " in result.error.message
    log = executor.folder / "logs" / "stay.log"
    if way == "direct":
        assert log.read_text() == "still here\n"
    else:
        assert "Nothing of its output could be had" in result.error.message
    assert until(lambda: not (alive(job) or alive(server)))
    assert one(executor, "echo").error is None


def test_a_timeout_ends_the_job_and_its_grandchild(executor: RayExecutor, tmp_path: Path) -> None:
    result = by_id(executor, Job("slow", "family", {"pids": str(tmp_path / "pids")}, timeout=0.5))["slow"]

    assert result.lost
    assert result.error is not None
    assert result.error.type == "Timeout"
    assert "timed out after 0.5 s" in result.error.message
    assert until(lambda: not any(map(alive, pids(tmp_path / "pids"))))


def test_a_cancelled_job_is_terminated_and_says_so_and_one_that_waits_vanishes(
    executor: RayExecutor, tmp_path: Path
) -> None:
    jobs = [Job("first", "echo", {}), Job("long", "stay", {"pids": str(tmp_path / "pids")})]
    results = executor.run(
        [*jobs, Job("behind", "echo", {}, after=("long",)), Job("gone", "echo", {}, after=("long",))]
    )
    executor.acknowledge(next(results).job)
    family = pids(tmp_path / "pids")
    before = executor.running()

    executor.cancel(["long", "gone", "unknown"])
    found = {result.job.id: result for result in results}

    assert before == ("long",)
    assert list(found) == ["long", "behind"]
    assert found["long"].error is not None
    assert (found["long"].error.type, found["long"].lost) == ("Cancelled", True)
    assert not alive(family[0])


def test_a_closed_iterator_ends_its_own_jobs_and_no_others(direct: RayExecutor, tmp_path: Path) -> None:
    mine = direct.run([Job("quick", "echo", {}), Job("mine", "stay", {"pids": str(tmp_path / "mine")})])
    direct.acknowledge(next(mine).job)
    theirs = direct.run([Job("start", "echo", {}), Job("theirs", "sleep", {"pids": str(tmp_path / "x"), "seconds": 2})])
    direct.acknowledge(next(theirs).job)
    family = pids(tmp_path / "mine")

    mine.close()  # type: ignore[attr-defined]
    (result,) = theirs
    direct.acknowledge(result.job)

    assert result.error is None
    assert not alive(family[0])
    assert direct.running() == ()


def test_an_interrupt_while_waiting_ends_the_jobs_before_it_is_raised(direct: RayExecutor, tmp_path: Path) -> None:
    results = direct.run([Job("long", "stay", {"pids": str(tmp_path / "pids")}), Job("never", "echo", {}, ("long",))])
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        pids(tmp_path / "pids")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    thread.join()

    assert direct.running() == ()
    assert not alive(pids(tmp_path / "pids")[0])


# -- clusters that will not do


def test_a_node_with_another_novum_is_refused_and_both_are_named(
    direct: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ray_worker.installed() | {"novum": "9.9"}
    monkeypatch.setattr(ray_worker, "installed", lambda: ours)

    with pytest.raises(StudyError, match=r"node .* of the Ray cluster has novum 0\.\S+; this is novum 9\.9"):
        one(direct, "echo")

    assert direct.running() == ()


def test_a_work_function_that_cannot_be_imported_on_a_node_is_a_clear_error(direct: RayExecutor) -> None:
    with make(direct.folder, perform="no_such_module:perform") as other, pytest.raises(StudyError) as caught:
        one(other, "echo")

    assert "'no_such_module:perform' cannot be imported" in str(caught.value)
    assert "of the Ray cluster cannot run jobs" in str(caught.value)


def test_a_job_too_big_for_every_node_is_refused_with_what_it_wants(direct: RayExecutor) -> None:
    with pytest.raises(StudyError, match="no node of the Ray cluster is big enough for job only, which wants CPU 999"):
        one(direct, "echo", {"resources": {"cpus": 999}})

    assert one(direct, "echo", {"resources": {"cpus": 0.5, "memory": 1e6}}).error is None


@pytest.mark.parametrize("resources", [{"tpus": 1}, {"cpus": -1}, {"memory": "1 GB"}, {"gpus": float("nan")}])
def test_resources_are_numbers_of_known_kinds(tmp_path: Path, resources: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed: cpus, gpus, memory"):
        RayExecutor(tmp_path, resources=resources)


def test_without_ray_the_executor_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(StudyError, match=r"pip install 'novum\[ray\]'"):
        RayExecutor(tmp_path)


def test_the_client_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not supported"):
        RayExecutor(tmp_path, address="ray://somewhere:10001").describe()


# -- a caller's whole life, with a cluster of its own

CLIENT = f"""
import os, sys
from pathlib import Path
from novum.executors import Job
from novum.executors.ray import RayExecutor

here = Path(sys.argv[1])
sys.path.append({str(HERE)!r})

def family():
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    parents = {{int(stat.split()[0]): int(stat.rpartition(")")[2].split()[1]) for stat in stats}}
    mine = {{os.getpid()}}
    for _ in parents:
        mine |= {{pid for pid, parent in parents.items() if parent in mine}}
    return mine - {{os.getpid()}}

executor = RayExecutor(here, workers=2, perform={PERFORM!r}, light=True, grace=5.0)
"""
LIFE = """
executor.close()  # harmless
results = executor.run([Job("kill", "kill", {}), Job("stay", "stay", {"pids": str(here / "stay")})])
assert next(results).lost
while not (here / "stay").exists():
    pass
(here / "part").write_text("\\n".join(map(str, family())))
(here / "part").rename(here / "family")
"""


def start(folder: Path, body: str, **environment: str) -> subprocess.Popen[str]:
    path = folder / "client.py"
    path.write_text(CLIENT + textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("end", ["executor.close()\nprint(list(results))", "print([])"], ids=["closed", "forgotten"])
def test_an_own_cluster_needs_no_home_works_in_a_folder_of_a_long_name_and_ends_without_a_word(
    tmp_path: Path, end: str
) -> None:
    deep = tmp_path / ("long" * 20)
    deep.mkdir()
    body = LIFE + end

    client = start(tmp_path, body, HOME="/nowhere", TMPDIR=str(deep))
    out, err = client.communicate(timeout=PATIENCE)

    assert (client.returncode, err, out) == (0, "", "[]\n")
    everyone = pids(tmp_path / "family")
    assert len(everyone) > 4
    assert until(lambda: not any(map(alive, everyone)))
    assert list(deep.iterdir()) == []
    assert list((tmp_path / "leases").glob("*.ray")) == [] or end == "print([])"


def test_a_killed_caller_leaves_no_job_its_results_stay_and_the_next_one_sweeps_its_folder(tmp_path: Path) -> None:
    body = LIFE.replace('"kill", "kill"', '"who", "echo"').replace("assert next(results).lost", "next(results)")
    home = tmp_path / "home"
    home.mkdir()
    client = start(tmp_path, body + "(here / 'home' / 'of').write_text(executor._cluster.home.name)\nlist(results)")
    family = pids(tmp_path / "stay")
    assert until((home / "of").exists)
    mine = Path(tempfile.gettempdir(), (home / "of").read_text())
    assert all(map(alive, family)) and mine.is_dir()

    client.kill()
    client.communicate()

    assert until(lambda: not any(map(alive, family)))
    assert [found.id for found in orphans(tmp_path)] == ["who"]
    scratch.Scratch(mine.name[:8], mine.parent).end()
    assert not mine.is_dir()


def test_ctrl_c_in_the_terminal_ends_the_jobs_then_the_caller_then_its_cluster(tmp_path: Path) -> None:
    body = (
        LIFE
        + """
try:
    list(results)
except KeyboardInterrupt:
    (here / "interrupted").write_text(repr(executor.running()))
    raise
"""
    )
    client = start(tmp_path, body)
    everyone = pids(tmp_path / "family")

    os.killpg(client.pid, signal.SIGINT)  # it reaches the cluster's processes, too
    _, told = client.communicate(timeout=PATIENCE)

    assert told.strip().endswith("KeyboardInterrupt")
    assert (tmp_path / "interrupted").read_text() == "()"
    assert until(lambda: not any(map(alive, everyone)))


def test_a_folder_whose_owner_lives_is_not_swept(tmp_path: Path) -> None:
    imports = "from novum.executors.scratch import Scratch; from pathlib import Path"
    body = f"{imports}; mine = Scratch('x-', Path({str(tmp_path)!r})); input(); mine.end()"
    owner = subprocess.Popen([sys.executable, "-c", body], stdin=subprocess.PIPE)
    assert until(lambda: any(tmp_path.glob("x-*/lock")))

    scratch.Scratch("x-", tmp_path).end()
    left = list(tmp_path.glob("x-*"))
    owner.communicate(b"\n")

    assert len(left) == 1
    assert list(tmp_path.iterdir()) == []


def test_listing_the_executors_does_not_import_ray() -> None:
    body = "import sys; from novum import plugins; plugins.load('executor', 'ray'); print('ray' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_a_driver_under_uv_run_starts_its_workers_as_any_other() -> None:
    """Ray notices `uv run` among the parents of a driver, and would give every worker that command."""
    code = (
        "from novum.executors.ray_cluster import Cluster\nimport ray\ncluster = Cluster(None, 1)\n"
        "print(ray.get_runtime_context().runtime_env.to_dict())\ncluster.leave()\n"
    )
    uv = shutil.which("uv") or str(Path(__file__).parents[2] / ".tools" / "bin" / "uv")

    ended = subprocess.run(
        [uv, "run", "--no-sync", "--no-project", "--python", sys.executable, "python", "-c", code],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert (ended.returncode, ended.stdout.strip()) == (0, "{}"), ended.stderr
