"""The ledger on a PostgreSQL server: the same record, several sessions, lost connections.

What it shares with the file is in test_ledger.py and test_ledger_files.py, on both databases.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from novum.errors import StudyError
from novum.ledger import Ledger, Score, journal, schema
from novum.ledger import postgres as module


def load(name: str) -> Any:
    """A module beside this one, by path: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixture = load("postgres_fixture")
edit, fill, study_of, jobs = fixture.edit, fixture.fill, fixture.study_of, fixture.jobs
url, open_ledger, ledger = fixture.url, fixture.open_ledger, fixture.ledger
Server = Any


# ----------------------------------------------------------------------------- the same record


def test_the_chain_of_events_is_the_same_in_both_databases(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("claims", "trials", "sessions", "streams", "journal"):
        monkeypatch.setattr(f"novum.ledger.{name}.now", lambda: "2026-01-01T00:00:00.000+00:00")

    fill(ledger)
    with Ledger.open(tmp_path / "file") as file:
        fill(file)

        assert ledger.events() == file.events()
        assert len(ledger.events()) == 9
        ledger.verify()
        assert (ledger.streams(), ledger.weights(), ledger.trials()) == (file.streams(), file.weights(), file.trials())
        assert (ledger.scores(["t1"], "dev"), ledger.units("t1", "dev")) == (
            file.scores(["t1"], "dev"),
            file.units("t1", "dev"),
        )
        assert (ledger.shared, file.shared) == (True, False)


def test_the_migrations_build_exactly_the_tables_that_novum_uses(ledger: Ledger) -> None:
    with ledger._database.read() as connection:
        migrations = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(migrations, schema.metadata) == []


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("UPDATE events SET payload = replace(payload, 't1', 't2') WHERE kind = 'started'", r"\(started.*its own hash"),
        ("DELETE FROM events WHERE kind = 'finished'", r"does not name the hash"),
        ("UPDATE scores SET metrics = replace(metrics, '0.333', '0.433')", "row scores/t1/dev is not what event"),
        ("UPDATE scores SET seconds = 0.1::real", "row scores/t1/dev is not what event"),
        ("UPDATE streams SET level = level * (1 + 1e-15)", "row streams/abcd-1 is not what event"),
        ("UPDATE trials SET attempts = 2 WHERE key = 't1'", "row trials/t1 is not what event"),
        ("UPDATE trials SET session = 's2' WHERE key = 't1'", "row trials/t1 is not what event"),
        ("UPDATE sessions SET state = 'ended'", "row sessions/s1 is not what event"),
        ("DELETE FROM openings", "row openings/1 is missing"),
    ],
)
def test_an_edited_event_or_row_is_named(postgres: Server, url: str, ledger: Ledger, sql: str, fault: str) -> None:
    fill(ledger)

    edit(postgres, url, sql)

    with pytest.raises(StudyError, match=fault):
        ledger.verify()


def test_an_edited_block_of_units_is_named_and_one_compressed_otherwise_is_the_same(
    postgres: Server, url: str, ledger: Ledger
) -> None:
    fill(ledger)
    same = zlib.compress(b'{"id":["u"],"loss":[5e-324]}', 0)

    edit(postgres, url, "UPDATE scores SET units = %s", same)
    ledger.verify()

    edit(postgres, url, "UPDATE scores SET units = %s", b"no zlib")
    with pytest.raises(StudyError, match="row scores/t1/dev is not what event"):
        ledger.verify()


def test_studies_of_one_database_know_nothing_of_each_other(postgres: Server, ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)

    with Ledger.open(tmp_path, url=postgres.url()) as other:
        assert other.trials() == []
        fill(other)
        other.verify()

    assert len(ledger.trials()) == 2


# ----------------------------------------------------------------------------- several sessions

CLAIMER = """
import sys
from pathlib import Path
from novum.ledger import Ledger
folder, url, name, count = sys.argv[1:]
with Ledger.open(Path(folder), url=url) as ledger:
    ledger.begin_session(name, {})
    ledger.plan_trials([{"key": f"t{at}", "arm": "a", "block": "b", "index": at, "kind": "train"} for at in range(20)])
    for at in range(int(count)):
        attempt = ledger.claim(f"t{at % 20}", name)
        if attempt is not None:
            print(f"t{at % 20}", attempt, flush=True)
"""


def claimer(folder: Path, url: str, name: str, count: int = 20) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLAIMER, str(folder), url, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_eight_processes_that_make_one_study_and_claim_its_trials_each_trial_has_one(
    url: str, tmp_path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    workers = [claimer(tmp_path, url, f"s{at}") for at in range(8)]

    ends = [worker.communicate() for worker in workers]

    assert [(worker.returncode, end[1]) for worker, end in zip(workers, ends, strict=True)] == [(0, "")] * 8
    claimed = {f"s{at}": end[0].split("\n")[:-1] for at, end in enumerate(ends)}
    assert sorted(line for lines in claimed.values() for line in lines) == sorted(f"t{at} 1" for at in range(20))
    with open_ledger() as ledger:
        stored = {(trial["session"], f"{trial['key']} {trial['attempts']}") for trial in ledger.trials()}
        assert stored == {(name, line) for name, lines in claimed.items() for line in lines}
        ledger.verify()


def test_a_killed_session_loses_nothing_that_it_acknowledged_and_holds_nobody_up(
    url: str, tmp_path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    worker = claimer(tmp_path, url, "s1", 100_000)
    assert worker.stdout is not None
    for _ in range(30):
        worker.stdout.readline()

    worker.kill()
    acknowledged = 30 + worker.communicate()[0].count("\n")

    ledger = open_ledger()
    started = ledger.events(kind="started")
    assert len(started) - acknowledged in (0, 1)  # committed, and killed before saying so
    assert ledger.release_running("s1 was killed", session="s1") == [f"t{at}" for at in range(20)]
    ledger.verify()


def test_one_result_that_two_threads_deliver_at_once_is_one_row(open_ledger: Callable[..., Ledger]) -> None:
    ledgers = [open_ledger(), open_ledger()]
    keys = [f"t{at}" for at in range(10)]
    ledgers[0].plan_trials(jobs(*keys))
    scores = {"dev": Score({"accuracy": 0.5}, {}, {"id": ["u"]}, 1)}

    for key in keys:
        attempt, meet = ledgers[0].start(key), threading.Barrier(2)

        def deliver(ledger: Ledger, key: str = key, attempt: int = attempt, meet: threading.Barrier = meet) -> bool:
            meet.wait()
            return ledger.finish(key, attempt, "done", {"loss": 1}, scores)

        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(deliver, ledgers)) == [True, True]

    assert len(ledgers[0].events(kind="finished")) == len(keys)
    assert ledgers[0].events(kind="superseded") == []
    assert set(ledgers[0].scores(keys, "dev")) == set(keys)
    ledgers[0].verify()


def test_a_reader_keeps_its_view_and_hinders_no_writer(open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger()
    ledger.plan_trials(jobs("t1"))

    with open_ledger(read_only=True)._database.read() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM trials").scalar()
        ledger.plan_trials(jobs("t2"))

        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == count == 1
        assert len(ledger.trials()) == 2


def test_a_writer_that_says_nothing_loses_its_turn_and_leaves_no_trace(
    open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, other = open_ledger(), open_ledger()
    stalled.plan_trials(jobs("t1", "t2"))
    other.begin_session("s1", {})
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.4)

    with (
        pytest.raises(StudyError, match="broke, and nothing was half-written"),
        stalled._database.write() as connection,
    ):
        connection.exec_driver_sql("UPDATE trials SET attempts = 7")
        monkeypatch.setattr(module, "LOCK_SECONDS", 60.0)
        assert other.claim("t1", "s1") == 1

    other.verify()


def test_a_study_that_is_locked_for_too_long_says_so(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.plan_trials(jobs("t1"))

    with ledger._database.write():
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
        with pytest.raises(StudyError, match=r"study=\w+ was locked by another session for more than 0\.1 s; end"):
            ledger.start("t1")


# ----------------------------------------------------------------------------- lost connections


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once."""
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.05))


def cut(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, at: int, *, arrives: bool) -> None:
    """Break the connection of commit number `at` from now: before the server has it, or after, unacknowledged."""
    dialect = ledger._database._engine.dialect  # type: ignore[attr-defined]
    real, left = dialect.do_commit, [at]

    def commit(raw: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and arrives:
            real(raw)
        if left[0] == 0:
            raw.driver_connection.close()
        real(raw)

    monkeypatch.setattr(dialect, "do_commit", commit)


WRITES: dict[str, Callable[[Ledger], Any]] = {
    "register": lambda ledger: ledger.register(
        [({"id": "efgh-1", "fingerprint": "f2"}, {"id": "x2", "hypothesis": "efgh-1"})]
    ),
    "plan_trials": lambda ledger: ledger.plan_trials(jobs("t8", "t9")),
    "start": lambda ledger: ledger.start("t2"),
    "claim": lambda ledger: ledger.claim("t2", "s1"),
    "finish": lambda ledger: ledger.finish("t2", 1, "done", {"loss": 1}, {"dev": Score({}, {}, {"id": ["u"]}, 1)}),
    "superseded": lambda ledger: ledger.finish("t1", 1, "done", {"loss": 9}, {}),
    "release": lambda ledger: ledger.release("t2", "why"),
    "release_running": lambda ledger: ledger.release_running("why"),
    "open_split": lambda ledger: ledger.open_split("abcd-1", "dev", ["t1"], "look"),
    "record_observation": lambda ledger: ledger.record_observation("digits", {"train.size": 11}),
    "record_verdict": lambda ledger: ledger.record_verdict("abcd-1", '{"effect":0.1}'),
    "keep_weights": lambda ledger: ledger.keep_weights("w2", 1, "t2"),
    "drop_weights": lambda ledger: ledger.drop_weights("w1"),
    "begin_session": lambda ledger: ledger.begin_session("s2", {}),
    "end_session": lambda ledger: ledger.end_session("s1", "ended"),
    "put_files": lambda ledger: ledger.put_files("h2", {"a": b"1", "b": b"2"}),
    "drop_files": lambda ledger: ledger.drop_files("h1"),
}


@pytest.mark.parametrize("arrives", [False, True], ids=["before-the-commit", "before-its-answer"])
def test_every_write_is_done_once_when_the_connection_breaks_at_its_commit(
    postgres: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,
    quick: None,
) -> None:
    for name in ("claims", "trials", "sessions", "streams", "journal"):
        monkeypatch.setattr(f"novum.ledger.{name}.now", lambda: "2026-01-01T00:00:00.000+00:00")

    def told(ledger: Ledger) -> list[tuple[Any, ...]]:
        # Rolled back writes leave gaps in `seq`, by which some rows go.
        return [
            (event["kind"], event["payload"] | {"rows": len(event["payload"]["rows"])}) for event in ledger.events()
        ]

    with Ledger.open(tmp_path, url=postgres.url()) as calm, Ledger.open(tmp_path, url=postgres.url()) as cutting:
        for ledger in (calm, cutting):
            fill(ledger)
            ledger.start("t2")
        for name, write in WRITES.items():
            expected = write(calm)
            with monkeypatch.context() as patch:
                cut(cutting, patch, 1, arrives=arrives)

                assert write(cutting) == expected, name
            assert told(cutting) == told(calm), name
        cutting.verify()
        assert cutting.get_files("h2") == {"a": b"1", "b": b"2"}


def test_a_connection_that_breaks_within_a_write_leaves_no_trace_and_the_write_is_done_again(
    postgres: Server, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    ledger.plan_trials(jobs("t1"))
    ledger.begin_session("s1", {})
    real, tries = journal.Change.event, [0]

    def broken(self: journal.Change, kind: str, payload: Any) -> None:
        tries[0] += 1
        if tries[0] == 1:
            pid = self._connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with postgres.connect() as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        real(self, kind, payload)

    monkeypatch.setattr(journal.Change, "event", broken)

    assert ledger.claim("t1", "s1") == 1
    assert tries == [2]
    ledger.verify()


def test_a_study_is_made_although_the_connection_breaks_while_it_is_made(
    postgres: Server, open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    real, tries = module.upgrade, [0]

    def broken(connection: Any) -> None:
        tries[0] += 1
        real(connection)
        if tries[0] == 1:
            postgres.restart("immediate")

    monkeypatch.setattr(module, "upgrade", broken)

    ledger = open_ledger()

    assert tries == [2]
    fill(ledger)
    ledger.verify()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_between_calls_is_not_noticed(postgres: Server, ledger: Ledger, mode: str) -> None:
    fill(ledger)

    postgres.restart(mode)
    assert len(ledger.trials()) == 2

    postgres.restart(mode)
    assert ledger.start("t2") == 1
    ledger.verify()


def test_sessions_go_on_while_their_server_crashes_and_comes_back(
    postgres: Server, open_ledger: Callable[..., Ledger]
) -> None:
    ledgers = [open_ledger() for _ in range(3)]
    keys = [f"t{at}" for at in range(200)]
    ledgers[0].plan_trials(jobs(*keys))
    done = threading.Event()

    def work(at: int) -> list[str]:
        ledger, mine = ledgers[at], []
        ledger.begin_session(f"s{at}", {})
        for key in keys:
            attempt = ledger.claim(key, f"s{at}")
            if attempt is not None:
                assert ledger.finish(key, attempt, "done", {"by": at}, {})
                mine.append(f"{key} {attempt} {at}")
        return mine

    def crash() -> int:
        count = 0
        while not done.wait(0.3) and count < 20:
            postgres.restart("immediate")
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        crashes = threads.submit(crash)
        working = [threads.submit(work, at) for at in range(3)]
        try:
            claimed = [line for each in working for line in each.result()]
        finally:
            done.set()

    assert crashes.result() > 0
    trials = ledgers[0].trials()
    assert sorted(claimed) == sorted(f"{one['key']} {one['attempts']} {one['result']['by']}" for one in trials)
    assert [one["attempts"] for one in trials] == [1] * len(keys)  # no commit was made twice
    ledgers[0].verify()


def test_a_server_that_stays_away_is_an_error_that_names_it(
    postgres: Server, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    ledger.plan_trials(jobs("t1"))
    postgres.stop()
    try:
        with pytest.raises(StudyError, match=r"ledger postgresql://127.* cannot be reached.* was tried for 0\.3 s"):
            ledger.start("t1")
    finally:
        postgres.start()

    assert ledger.start("t1") == 1
