"""What a process per job makes of every way to die: of a job, of its family, of the server, of the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from novum.errors import StudyError
from novum.executors import Executor, Job, LocalExecutor, Result, orphans

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE)}
PERFORM = "workers_fixture:perform"
PATIENCE = 30.0
"""Seconds until a test gives up waiting; how long anything takes is no test's business."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through Linux's /proc")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    with make(tmp_path_factory.mktemp("local")) as executor:
        yield executor


def make(folder: Path, **options: Any) -> LocalExecutor:
    given = {"workers": 2, "perform": PERFORM, "environment": ENVIRONMENT, "light": True, "grace": 60.0}
    return LocalExecutor(folder, **{**given, **options})


def by_id(executor: Executor, *jobs: Job) -> dict[str, Result]:
    found = {}
    for result in executor.run(jobs):
        executor.acknowledge(result.job)
        found[result.job.id] = result
    return found


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _stat(pid: int | str) -> list[str]:
    """State, parent, group and session of a process; state X where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "", "", ""]


def session(leader: int) -> list[int]:
    """Living processes of a session: a server and all that it started, daemons apart."""
    stats = {int(path.name): _stat(path.name) for path in Path("/proc").glob("[0-9]*")}
    return [pid for pid, (state, _, _, of) in stats.items() if of == str(leader) and state not in "ZX"]


def pids(file: Path) -> list[int]:
    assert until(file.exists)
    return [int(line) for line in file.read_text().split()]


# -- a job's end


def test_a_killed_job_is_lost_and_no_other_suffers(local: LocalExecutor) -> None:
    found = by_id(local, Job("a", "echo", {}), Job("dead", "kill", {}), Job("b", "echo", {}), Job("c", "echo", {}))

    assert found["dead"].lost
    assert found["dead"].error is not None
    assert found["dead"].error.type == "Lost"
    assert "SIGKILL (9)" in found["dead"].error.message
    assert [found[id].error for id in "abc"] == [None, None, None]


def test_a_job_that_exits_without_a_result_is_lost_whatever_its_status(local: LocalExecutor) -> None:
    found = by_id(local, Job("zero", "vanish", {"status": 0}), Job("three", "vanish", {"status": 3}))

    for id, status in (("zero", 0), ("three", 3)):
        error = found[id].error
        assert found[id].lost
        assert error is not None
        assert f"exited with status {status} before it had a result" in error.message


def test_a_result_that_cannot_be_written_is_lost_and_the_disk_is_named(tmp_path: Path) -> None:
    with make(tmp_path) as executor:
        result = by_id(executor, Job("a", "unwritable", {}))["a"]

    assert result.lost
    assert result.error is not None
    assert "could not be written" in result.error.message


def test_a_timeout_ends_the_job_and_its_grandchild(local: LocalExecutor, tmp_path: Path) -> None:
    result = by_id(local, Job("slow", "family", {"pids": str(tmp_path / "pids")}, timeout=0.5))["slow"]

    assert result.lost
    assert result.error is not None
    assert result.error.type == "Timeout"
    assert "timed out after 0.5 s" in result.error.message
    assert until(lambda: not any(map(alive, pids(tmp_path / "pids"))))


def test_a_job_deaf_to_sigterm_is_killed_when_the_grace_has_passed(tmp_path: Path) -> None:
    job = Job("deaf", "sleep", {"pids": str(tmp_path / "pids"), "deaf": True}, timeout=0.5)

    with make(tmp_path, grace=0.3) as executor:
        result = by_id(executor, job)["deaf"]

    assert result.error is not None
    assert result.error.type == "Timeout"
    assert not any(map(alive, pids(tmp_path / "pids")))


@pytest.mark.parametrize("daemon", [False, True], ids=["in its group", "in a session of its own"])
def test_what_a_job_leaves_running_ends_with_it(local: LocalExecutor, tmp_path: Path, daemon: bool) -> None:
    payload = {"pids": str(tmp_path / "pids"), "stay": False, "daemon": daemon}

    result = by_id(local, Job("parent", "family", payload))["parent"]

    assert result.error is None
    assert until(lambda: not any(map(alive, pids(tmp_path / "pids"))))


def test_a_cancelled_job_is_terminated_and_says_so(local: LocalExecutor, tmp_path: Path) -> None:
    results = local.run([Job("first", "echo", {}), Job("long", "sleep", {"pids": str(tmp_path / "pids")})])
    local.acknowledge(next(results).job)
    pids(tmp_path / "pids")
    before = local.running()

    local.cancel(["long"])
    (result,) = results

    assert before == ("long",)
    assert result.error is not None
    assert (result.error.type, result.lost) == ("Cancelled", True)
    assert not any(map(alive, pids(tmp_path / "pids")))


def test_a_closed_iterator_ends_its_own_jobs_and_no_others(local: LocalExecutor, tmp_path: Path) -> None:
    mine = local.run([Job("quick", "echo", {}), Job("mine", "sleep", {"pids": str(tmp_path / "mine")})])
    local.acknowledge(next(mine).job)
    theirs = local.run([Job("start", "echo", {}), Job("theirs", "sleep", {"pids": str(tmp_path / "x"), "seconds": 2})])
    local.acknowledge(next(theirs).job)

    mine.close()  # type: ignore[attr-defined]
    (result,) = theirs
    local.acknowledge(Job("theirs", "echo", {}))

    assert result.error is None
    assert not any(map(alive, pids(tmp_path / "mine")))
    assert local.running() == ()


def test_closing_the_executor_leaves_no_process(tmp_path: Path) -> None:
    executor = make(tmp_path)
    results = executor.run([Job("who", "process", {"modules": []}), Job("a", "family", {"pids": str(tmp_path / "a")})])
    value = next(results).value
    assert value is not None
    family = pids(tmp_path / "a")

    executor.close()

    assert session(value["parent"]) == []
    assert not any(map(alive, family))
    assert list(results) == []


def test_an_interrupt_while_waiting_ends_the_jobs_before_it_is_raised(
    local: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = local.run([Job("long", "sleep", {"pids": str(tmp_path / "pids")}), Job("never", "echo", {}, ("long",))])
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

    assert local.running() == ()
    assert not any(map(alive, pids(tmp_path / "pids")))


# -- the server's end, and its start


def test_a_work_function_that_cannot_be_imported_is_a_clear_error(tmp_path: Path) -> None:
    for perform in ("no_such_module:perform", "workers_fixture:no_such_name"):
        with make(tmp_path, perform=perform) as executor, pytest.raises(StudyError, match=f"'{perform}' cannot be"):
            list(executor.run([Job("a", "echo", {})]))


def test_a_server_that_cannot_start_is_an_error_with_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libmissing.so: no such file')")
    monkeypatch.syspath_prepend(tmp_path)

    with (
        make(tmp_path, light=False) as executor,
        pytest.raises(StudyError, match=r"(?s)could not start.*libmissing\.so"),
    ):
        executor.hello()


def test_a_server_that_dies_takes_its_jobs_along_and_the_next_run_starts_another(tmp_path: Path) -> None:
    with make(tmp_path) as executor:
        jobs = [Job("who", "process", {"modules": []}), Job("long", "family", {"pids": str(tmp_path / "pids")})]
        results = executor.run(jobs)
        value = next(results).value
        assert value is not None
        family = pids(tmp_path / "pids")

        os.kill(value["parent"], signal.SIGKILL)
        with pytest.raises(StudyError, match="died: it ended with status -9"):
            next(results)

        assert until(lambda: not any(map(alive, family)))
        assert by_id(executor, Job("again", "echo", {}))["again"].error is None


def test_a_preload_that_breaks_is_named_and_harms_nothing(tmp_path: Path) -> None:
    sources = {
        "exits_hard": "import os; os._exit(5)",
        "exits": "import sys; sys.exit('no')",
        "raises": "raise ValueError('not today')",
        "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "threads": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "good": "import fractions",
    }
    for name, source in sources.items():
        (tmp_path / f"preload_{name}.py").write_text(source)
    names = [f"preload_{name}" for name in sources]

    with make(tmp_path, preload=names, environment={"PYTHONPATH": f"{tmp_path}:{HERE}"}) as executor:
        refused = executor.hello()["not_preloaded"]
        value = by_id(executor, Job("a", "process", {"modules": [*names, "fractions"]}))["a"].value

    assert refused == {
        "preload_exits_hard": "its import ends the process with status 5",
        "preload_exits": "SystemExit: no",
        "preload_raises": "ValueError: not today",
        "preload_crashes": "its import ends the process by signal 11",
        "preload_threads": "RuntimeError: its import starts threads, which a forked process would not have",
    }
    assert value is not None
    assert value["imported"] == ["preload_good", "fractions"]


# -- the caller's end

CLIENT = f"""
import sys, time
from pathlib import Path
from novum.executors import Job, LocalExecutor

here = Path(sys.argv[1])
options = dict(workers=2, perform={PERFORM!r}, environment={ENVIRONMENT!r}, light=True, grace=60.0)
executor = LocalExecutor(here, **options)
"""
FAMILIES = """
jobs = [Job("who", "process", {"modules": []})]
jobs += [Job(name, kind, {"pids": str(here / name), **more}) for name, kind, more in (
    ("family", "family", {}), ("deaf", "sleep", {"deaf": DEAF}), ("unstarted", "echo", {}))]
try:
    for result in executor.run(jobs):
        (here / "part").write_text(str(result.value["parent"]))
        (here / "part").rename(here / "server")
except KeyboardInterrupt:
    (here / "interrupted").write_text(repr(executor.running()))
    raise
"""


def script(folder: Path, body: str) -> Path:
    path = folder / "client.py"
    path.write_text(CLIENT + textwrap.dedent(body))
    return path


def test_a_killed_caller_leaves_no_process_however_deaf_and_its_results_stay(tmp_path: Path) -> None:
    client = subprocess.Popen([sys.executable, script(tmp_path, FAMILIES.replace("DEAF", "True")), tmp_path])
    (server,) = pids(tmp_path / "server")
    everyone = [server, *pids(tmp_path / "family"), *pids(tmp_path / "deaf")]
    assert all(map(alive, everyone))

    client.kill()
    client.wait()

    assert until(lambda: not any(map(alive, everyone)) and not session(server))
    assert [found.id for found in orphans(tmp_path)] == ["who"]


def test_a_caller_killed_while_its_server_imports_leaves_no_process(tmp_path: Path) -> None:
    source = f"import os, time; open({str(tmp_path / 'part')!r}, 'w').write(f'{{os.getppid()}} {{os.getpid()}}')"
    source += f"\nos.rename({str(tmp_path / 'part')!r}, {str(tmp_path / 'pids')!r}); time.sleep(300)"
    (tmp_path / "preload_sleeps.py").write_text(source)
    body = "LocalExecutor(here, **options, preload=['preload_sleeps']).hello()"
    client = subprocess.Popen([sys.executable, script(tmp_path, body), tmp_path])
    everyone = pids(tmp_path / "pids")

    client.kill()
    client.wait()

    assert until(lambda: not any(map(alive, everyone)))


def test_ctrl_c_ends_the_jobs_then_the_caller(tmp_path: Path) -> None:
    client = subprocess.Popen(
        [sys.executable, script(tmp_path, FAMILIES.replace("DEAF", "False")), tmp_path], stderr=subprocess.PIPE
    )
    (server,) = pids(tmp_path / "server")
    everyone = [server, *pids(tmp_path / "family"), *pids(tmp_path / "deaf")]

    client.send_signal(signal.SIGINT)
    _, told = client.communicate(timeout=PATIENCE)

    assert told.strip().endswith(b"KeyboardInterrupt")
    assert (tmp_path / "interrupted").read_text() == "()"
    assert not any(map(alive, everyone))
    assert not session(server)


def test_a_second_ctrl_c_does_not_wait_for_a_deaf_job(tmp_path: Path) -> None:
    client = subprocess.Popen(
        [sys.executable, script(tmp_path, FAMILIES.replace("DEAF", "True")), tmp_path], stderr=subprocess.PIPE
    )
    (server,) = pids(tmp_path / "server")
    family, deaf = pids(tmp_path / "family"), pids(tmp_path / "deaf")

    client.send_signal(signal.SIGINT)
    assert until(lambda: not any(map(alive, family)))
    still = alive(deaf[0])
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=PATIENCE)

    assert still
    assert not any(map(alive, [server, *deaf]))


COUNTING = """
with (here / "times").open("a") as file:
    file.write("once\\n")
for result in executor.run([Job(f"j{at}", "echo", {}) for at in range(3)]):
    executor.acknowledge(result.job)
    print(result.job.id, result.error)
"""


@pytest.mark.parametrize("way", ["script", "stdin", "command"])
def test_an_unguarded_caller_runs_once_and_ends_without_a_word(tmp_path: Path, way: str) -> None:
    path = script(tmp_path, COUNTING)
    source = path.read_text()
    arguments: dict[str, list[str]] = {"script": [str(path)], "stdin": ["-"], "command": ["-c", source]}

    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments[way], str(tmp_path)],
        input=source if way == "stdin" else "",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["j0 None", "j1 None", "j2 None"]
    assert (tmp_path / "times").read_text() == "once\n"


def test_a_job_imports_what_stands_beside_the_script_of_its_caller(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def perform(kind, payload, folder): return {'from': __file__}")
    body = "print(*(result.value['from'] for result in LocalExecutor(here, light=True, perform=WHAT).run(JOBS)))"
    body = body.replace("WHAT", "'beside:perform'").replace("JOBS", "[Job('a', 'b', {})]")

    done = subprocess.run([sys.executable, script(tmp_path, body), tmp_path], capture_output=True, text=True)

    assert done.stdout.strip() == str(tmp_path / "beside.py")
