"""The ledger against crashes, other processes, damage, and folders that it cannot use."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from novum.errors import RegistrationError, StudyError
from novum.ledger import Ledger, Score, place, schema
from novum.ledger.sqlite import APPLICATION, SqliteDatabase
from sqlalchemy import event

HYPOTHESIS = {"id": "abcd-1", "fingerprint": "fp", "parent": None}
EXPERIMENT = {"id": "x1", "hypothesis": "abcd-1", "looks": [5, 10]}


def jobs(*keys: str) -> list[dict[str, Any]]:
    return [{"key": key, "arm": "a", "block": "b", "index": at, "kind": "train"} for at, key in enumerate(keys)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder whose ledger holds a row in every table."""
    with Ledger.open(tmp_path / "study") as ledger:
        ledger.register([(HYPOTHESIS, EXPERIMENT)])
        ledger.plan_trials(jobs("t1", "t2"))
        attempt = ledger.start("t1")
        ledger.finish("t1", attempt, "done", {"loss": 0.5}, {"dev": Score({"accuracy": 0.75}, {}, {"id": ["u"]}, 1)})
        ledger.keep_weights("w1", 10, "t1")
        ledger.open_split("abcd-1", "test", ["t1"], "confirm")
        ledger.record_observation("digits", {"train.size": 10})
        ledger.record_verdict("abcd-1", '{"effect":0.1}')
    return tmp_path / "study"


def edit(study: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(study / "ledger.sqlite")) as raw, raw:
        assert raw.execute(sql, values).rowcount == 1


# ----------------------------------------------------------------------------- edits are seen


def test_an_untouched_ledger_verifies(study: Path) -> None:
    with Ledger.open(study) as ledger:
        ledger.verify()


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("UPDATE events SET payload = replace(payload, 't1', 't2') WHERE seq = 3", r"event 3 \(started.*its own hash"),
        ("UPDATE events SET kind = 'planned' WHERE seq = 3", r"event 3 \(planned.*its own hash"),
        ("UPDATE events SET previous = hash WHERE seq = 4", r"event 4 \(finished.*does not name the hash"),
        ("DELETE FROM events WHERE seq = 3", r"event 4 \(finished.*does not name the hash"),
        ("DELETE FROM events WHERE seq = 8", r"row verdicts/abcd-1 was added by no event"),
    ],
)
def test_an_edited_or_missing_event_is_named(study: Path, sql: str, fault: str) -> None:
    edit(study, sql)

    with Ledger.open(study) as ledger, pytest.raises(StudyError, match=fault):
        ledger.verify()


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("UPDATE scores SET metrics = replace(metrics, '0.75', '0.76')", "scores/t1/dev"),
        ("UPDATE scores SET seconds = 1.5", "scores/t1/dev"),
        ("UPDATE trials SET result = replace(result, '0.5', '0.4') WHERE key = 't1'", "trials/t1"),
        ("UPDATE trials SET attempts = 2 WHERE key = 't1'", "trials/t1"),
        ("UPDATE hypotheses SET content = replace(content, 'fp', 'fq')", "hypotheses/abcd-1"),
        ("UPDATE experiments SET content = '{}'", "experiments/abcd-1"),
        ("UPDATE verdicts SET text = '{\"effect\":0.2}'", "verdicts/abcd-1"),
        ("UPDATE openings SET keys = '[]'", "openings/1"),
        ("UPDATE observations SET record = '{}'", "observations/1"),
        ("UPDATE weights SET state = 'dropped'", "weights/w1/t1"),
    ],
)
def test_one_changed_value_in_any_table_is_named(study: Path, sql: str, row: str) -> None:
    edit(study, sql)

    with Ledger.open(study) as ledger, pytest.raises(StudyError, match=f"row {row} is not what event [0-9] recorded"):
        ledger.verify()


def test_an_edited_or_broken_block_of_units_is_named(study: Path) -> None:
    for block in (zlib.compress(b'{"id":["v"]}'), b"no zlib"):
        edit(study, "UPDATE scores SET units = ?", block)

        with Ledger.open(study) as ledger, pytest.raises(StudyError, match="row scores/t1/dev is not what event 4"):
            ledger.verify()


def test_the_same_units_compressed_otherwise_are_the_same(study: Path) -> None:
    edit(study, "UPDATE scores SET units = ?", zlib.compress(b'{"id":["u"]}', 0))

    with Ledger.open(study) as ledger:
        ledger.verify()


def test_a_removed_row_is_named(study: Path) -> None:
    edit(study, "DELETE FROM openings")

    with Ledger.open(study) as ledger, pytest.raises(StudyError, match="row openings/1 is missing, though event 6"):
        ledger.verify()


def test_an_edited_experiment_is_refused_when_it_is_read(study: Path) -> None:
    edit(study, "UPDATE experiments SET content = replace(content, '[5,10]', '[5,20]')")

    with Ledger.open(study) as ledger, pytest.raises(RegistrationError, match="was edited since it was registered"):
        ledger.experiment("abcd-1")


# ----------------------------------------------------------------------------- how SQLite is used


def test_the_settings_that_make_commits_durable_are_really_set(study: Path) -> None:
    with closing(SqliteDatabase.open(study, create=False, read_only=False)) as database, database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in (
                "journal_mode",
                "synchronous",
                "busy_timeout",
                "foreign_keys",
                "application_id",
                "user_version",
            )
        }

    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "busy_timeout": 60_000,
        "foreign_keys": 1,
        "application_id": APPLICATION,
        "user_version": schema.VERSION,
    }


def test_every_write_begins_immediate_and_no_read_writes(study: Path) -> None:
    said: list[str] = []
    with Ledger.open(study) as ledger:

        def listen(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement.split("\n")[0])

        event.listen(ledger._database._engine, "before_cursor_execute", listen)
        ledger.register([({"id": "efgh-1", "fingerprint": "f2"}, {"id": "x2", "hypothesis": "efgh-1"})])
        ledger.plan_trials(jobs("t3"))
        ledger.finish("t3", ledger.start("t3"), "done", {}, {})
        ledger.release("t2", "")
        ledger.release_running("")
        ledger.open_split("efgh-1", "test", [], "confirm")
        ledger.record_observation("k", {})
        ledger.record_verdict("efgh-1", "{}")
        ledger.keep_weights("w2", 1, "t3")
        ledger.drop_weights("w2")
        writes = len(said)
        ledger.trials()
        ledger.verify()

    begins = [one for one in said[:writes] if one.startswith("BEGIN")]
    assert begins == ["BEGIN IMMEDIATE"] * 11
    assert {one for one in said[writes:] if one.startswith("BEGIN")} == {"BEGIN"}
    assert not [one for one in said[writes:] if one.startswith(("INSERT", "UPDATE", "DELETE"))]


WRITER = """
import sys
from pathlib import Path
from novum.ledger import Ledger
name, count = sys.argv[2], int(sys.argv[3])
with Ledger.open(Path(sys.argv[1])) as ledger:
    for at in range(count):
        key = f"{name}-{at}"
        ledger.plan_trials([{"key": key, "arm": "a", "block": "b", "index": at, "kind": "train"}])
        print(key, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_processes_make_and_write_one_ledger_without_losing_a_row(tmp_path: Path) -> None:
    workers = [writer(tmp_path / "study", str(at), 25) for at in range(4)]

    ends = [worker.communicate() for worker in workers]

    assert [(worker.returncode, end[1]) for worker, end in zip(workers, ends, strict=True)] == [(0, "")] * 4
    with Ledger.open(tmp_path / "study") as ledger:
        assert {one["key"] for one in ledger.trials()} == {f"{name}-{at}" for name in range(4) for at in range(25)}
        ledger.verify()


def test_threads_that_share_a_ledger_never_get_the_same_attempt(study: Path) -> None:
    with Ledger.open(study) as ledger, ThreadPoolExecutor(4) as threads:
        attempts = list(threads.map(lambda _: ledger.start("t2"), range(40)))
        ledger.verify()

    assert sorted(attempts) == list(range(1, 41))


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    worker = writer(tmp_path / "study", "w", 100_000)
    assert worker.stdout is not None
    for _ in range(20):
        worker.stdout.readline()

    worker.send_signal(signal.SIGKILL)
    rest = worker.stdout.read()  # not communicate, which forgets what the lines above have read ahead
    worker.communicate()
    acknowledged = 20 + rest.count("\n")

    with Ledger.open(tmp_path / "study") as ledger:
        keys = [one["key"] for one in ledger.trials()]
        ledger.verify()
    assert keys[:acknowledged] == [f"w-{at}" for at in range(acknowledged)]
    assert len(keys) - acknowledged in (0, 1)  # committed, and killed before saying so


def test_a_long_reader_hinders_no_writer(study: Path) -> None:
    with (
        closing(SqliteDatabase.open(study, create=False, read_only=True)) as reader,
        reader.read() as connection,
        Ledger.open(study) as ledger,
    ):
        count = connection.exec_driver_sql("SELECT count(*) FROM trials").scalar()
        ledger.plan_trials(jobs("t3"))

        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == count == 2
        assert len(ledger.trials()) == 3


def test_a_ledger_locked_for_too_long_says_so(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novum.ledger.sqlite.BUSY_SECONDS", 0.05)
    with Ledger.open(study) as ledger, closing(sqlite3.connect(study / "ledger.sqlite", isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")

        with pytest.raises(StudyError, match=r"ledger\.sqlite was locked by another process"):
            ledger.start("t2")


def test_a_full_disk_leaves_the_ledger_whole_and_usable(study: Path) -> None:
    with Ledger.open(study) as ledger:
        with ledger._database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        before = ledger.events()

        with pytest.raises(StudyError, match="the disk is full; nothing was half-written"):
            ledger.record_observation("large", {"text": "x" * 100_000})

        assert ledger.events() == before
        with ledger._database.read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        ledger.record_observation("large", {"text": "x" * 100_000})
        ledger.verify()


# ----------------------------------------------------------------------------- what cannot be opened


def test_read_only_reads_and_never_writes(study: Path) -> None:
    content = (study / "ledger.sqlite").read_bytes()

    with Ledger.open(study, read_only=True) as ledger:
        assert len(ledger.trials()) == 2
        ledger.verify()
        for change in (
            lambda: ledger.start("t2"),
            lambda: ledger.plan_trials(jobs("t3")),
            lambda: ledger.release_running(""),
            lambda: ledger.record_observation("k", {}),
        ):
            with pytest.raises(StudyError, match="opened read-only"):
                change()
        with pytest.raises(StudyError, match="not writable"), ledger._database.read() as connection:
            connection.exec_driver_sql("DELETE FROM trials")

    assert (study / "ledger.sqlite").read_bytes() == content


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_missing_study_is_said_and_not_made(tmp_path: Path, options: dict[str, bool]) -> None:
    with pytest.raises(StudyError, match=r"no study at .*nowhere; correct the path"):
        Ledger.open(tmp_path / "nowhere", **options)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_study_to_a_reader(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").touch()

    with pytest.raises(StudyError, match="no study at"):
        Ledger.open(tmp_path, read_only=True)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("mine")

    with pytest.raises(StudyError, match=r"study's folder .*study cannot be made"):
        Ledger.open(tmp_path / "study")

    assert (tmp_path / "study").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_for_writing_and_read(study: Path) -> None:
    study.chmod(0o555)
    try:
        with pytest.raises(StudyError, match="is not writable by this user"):
            Ledger.open(study)
        with Ledger.open(study, read_only=True) as ledger:
            assert len(ledger.trials()) == 2
    finally:
        study.chmod(0o755)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()

    with pytest.raises(StudyError, match="cannot be opened; check that it is a file"):
        Ledger.open(tmp_path)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_text("a diary, not a database\n" * 100)

    for read_only in (False, True):
        with pytest.raises(StudyError, match=r"ledger\.sqlite is not a SQLite database: .* `novum repair` rebuilds"):
            Ledger.open(tmp_path, read_only=read_only)

    assert file.read_text() == "a diary, not a database\n" * 100


def test_a_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as raw, raw:
        raw.execute("CREATE TABLE songs (title TEXT)")
    content = (tmp_path / "ledger.sqlite").read_bytes()

    with pytest.raises(StudyError, match="database of another program"):
        Ledger.open(tmp_path)

    assert (tmp_path / "ledger.sqlite").read_bytes() == content


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwrite(content: bytes) -> bytes:
    return content[:4096] + b"\xa5" * (len(content) - 4096)


@pytest.mark.parametrize("damage", [cut, overwrite])
def test_a_damaged_ledger_is_an_error_that_names_the_way_out(study: Path, damage: Callable[[bytes], bytes]) -> None:
    file = study / "ledger.sqlite"
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(StudyError, match=r"damaged; copy the whole folder"), Ledger.open(study) as ledger:
        ledger.verify()


def test_a_closed_ledger_refuses_to_be_used(study: Path) -> None:
    ledger = Ledger.open(study)
    ledger.close()

    with pytest.raises(StudyError, match="was closed"):
        ledger.trials()


def test_a_network_file_system_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    shared = str(tmp_path.resolve() / "shared")
    mounts.write_text(
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"36 21 0:40 / {shared} rw,relatime shared:2 - nfs4 server:/export rw\n"
    )
    monkeypatch.setattr(place, "MOUNTS", mounts)

    with pytest.raises(StudyError, match=r"network file system \(nfs4\).*NOVUM_LEDGER_ON_NETWORK=1"):
        Ledger.open(tmp_path / "shared" / "study")
    monkeypatch.setenv("NOVUM_LEDGER_ON_NETWORK", "1")
    Ledger.open(tmp_path / "shared" / "study").close()

    assert place.file_system(tmp_path) == "ext4"
    assert (tmp_path / "shared" / "study" / "ledger.sqlite").is_file()
