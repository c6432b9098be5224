"""Rows 3, 12, 23, 24, 25 and 28: what happens to the ledger's file, and who may write it at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.ledger import Ledger, schema

JOB = {"arm": "a", "block": "b", "index": 0, "kind": "train"}
WRITER = """
import sys
from pathlib import Path
from novum.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    for at in range(int(sys.argv[3])):
        ledger.plan_trials([{"key": f"{sys.argv[2]}-{at}", "arm": "a", "block": "b", "index": at, "kind": "train"}])
        print(at, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_row_3_a_writer_killed_at_any_moment_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    draw = random.Random(3)
    for kill in range(15):
        process = writer(tmp_path, f"w{kill}", 100_000)
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(draw.randrange(1, 12))]
        time.sleep(draw.uniform(0.0, 0.01))
        process.kill()
        rest = process.stdout.read()
        process.communicate()
        acknowledged = len(seen) + rest.count("\n")

        with Ledger.open(tmp_path) as ledger:
            ledger.verify()
            mine = [row["key"] for row in ledger.trials() if row["key"].startswith(f"w{kill}-")]
        assert len(mine) - acknowledged in (0, 1)


# ------------------------------------------------------------------------------------------------ row 12: damage


@pytest.fixture
def ended(tmp_path: Path, start: Any, words: Any) -> Path:
    """A study that has its verdict, closed, in one file."""
    folder = tmp_path / "study"
    code, _, err = start(folder, *words, SOAK_SECONDS="0.02").end()
    assert code == 0, err
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        (folder / f"ledger.sqlite{suffix}").unlink(missing_ok=True)
    return folder


def smash_the_header(file: Path) -> None:
    file.write_bytes(os.urandom(4096) + file.read_bytes()[4096:])


def smash_a_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    file.write_bytes(bytes(content))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def change_a_digit(file: Path) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE scores SET metrics = replace(metrics, '0.6', '0.7') WHERE split = 'dev'")
        raw.commit()


def change_an_event(file: Path) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE events SET payload = replace(payload, 'attempt\":1', 'attempt\":2') WHERE seq = 30")
        raw.commit()


def lose_a_row(file: Path) -> None:
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("DELETE FROM scores WHERE seq = (SELECT max(seq) FROM scores)")
        raw.commit()


def delete(file: Path) -> None:
    file.unlink()


DAMAGES = [smash_the_header, smash_a_page, cut, empty, change_a_digit, change_an_event, lose_a_row, delete]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_row_12_a_damaged_ledger_gives_no_verdict_and_is_rebuilt_to_the_same_one(
    ended: Path, start: Any, whole: Any, words: Any, tools: Any, damage: Any
) -> None:
    held = tools.rows(ended)
    damage(ended / "ledger.sqlite")
    before = {path: path.read_bytes() for path in ended.glob("ledger.sqlite*")}

    code, out, err = start(ended, *words, SOAK_SECONDS="0.02").end()

    assert (code, out) == (3, ""), err
    assert "novum repair" in err
    assert {path: path.read_bytes() for path in before} == before
    repair = novum.Study(ended).repair()
    assert repair.fault is not None
    code, out, err = start(ended, *words, SOAK_SECONDS="0.02").end()
    assert code == 0, err
    tools.check_whole(ended, whole, out)
    assert tools.rows(ended) == held, "a result was lost though its file was kept"
    if damage is not delete:
        assert repair.moved is not None and repair.moved.exists()


def test_row_12_a_ledger_that_lost_its_log_is_noticed_and_rebuilt(
    tmp_path: Path, start: Any, whole: Any, words: Any, tools: Any
) -> None:
    loop = start(tmp_path, *words, SOAK_SECONDS="0.1")
    tools.wait_for(lambda: loop.ended() >= 4, "four trials")
    loop.kill()
    loop.process.communicate()
    held = tools.rows(tmp_path)
    assert (tmp_path / "ledger.sqlite-wal").stat().st_size > 0
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"ledger.sqlite{suffix}").unlink()

    code, out, err = start(tmp_path, *words).end()

    assert (code, out) == (3, "")
    assert "novum repair" in err
    repair = novum.Study(tmp_path).repair()
    assert set(held) <= set(tools.rows(tmp_path))
    assert any("kept" in name for name in repair.restored)
    code, out, err = start(tmp_path, *words).end()
    assert code == 0, err
    tools.check_whole(tmp_path, whole, out)


def test_row_12_a_repair_says_what_it_could_not(ended: Path) -> None:
    for path in list((ended / "kept").glob("*.json.gz"))[:2]:
        path.unlink()
    (next((ended / "kept").glob("*.json.gz"))).write_bytes(b"torn")
    smash_the_header(ended / "ledger.sqlite")

    repair = novum.Study(ended).repair()

    assert any("1 kept files that cannot be read" in what for what in repair.lost)
    assert novum.Study(ended).status()["fault"] is None


def test_row_12_nothing_is_repaired_where_nothing_is_wrong(ended: Path) -> None:
    before = sorted(path.name for path in ended.iterdir() if not path.name.startswith("ledger.sqlite-"))

    repair = novum.Study(ended).repair()

    assert (repair.fault, repair.moved) == (None, None)
    assert sorted(path.name for path in ended.iterdir() if not path.name.startswith("ledger.sqlite-")) == before


def test_row_12_a_repair_that_was_cut_short_is_done_again(
    ended: Path, monkeypatch: pytest.MonkeyPatch, tools: Any
) -> None:
    held = tools.rows(ended)
    smash_a_page(ended / "ledger.sqlite")
    real, calls = Path.replace, [0]

    def replace(path: Path, target: Any) -> Any:
        if path.name == "ledger.sqlite" and path.parent.name == ".repairing":
            calls[0] += 1
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            novum.Study(ended).repair()
    with pytest.raises(novum.StudyError, match="novum repair"):
        novum.Study(ended).rows()

    novum.Study(ended).repair()

    assert calls == [1]
    assert tools.rows(ended) == held


# ------------------------------------------------------------------------------------- rows 23 to 25: who writes


def test_row_23_a_long_reader_never_locks_a_writer_out_and_the_log_is_cut_after_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.plan_trials([{"key": "first", **JOB}])
        with closing(sqlite3.connect(f"{(tmp_path / 'ledger.sqlite').as_uri()}?mode=ro", uri=True)) as reader:
            reader.isolation_level = None
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM trials").fetchone()

            for at in range(1500):
                ledger.plan_trials([{"key": f"t{at}", **JOB}])

            held = (tmp_path / "ledger.sqlite-wal").stat().st_size
            assert reader.execute("SELECT count(*) FROM trials").fetchone() == (1,)
            reader.execute("COMMIT")
        for at in range(5):
            ledger.plan_trials([{"key": f"after{at}", **JOB}])
        assert len(ledger.trials()) == 1506
    assert held < 1505 * 50_000  # some pages a commit
    assert not (tmp_path / "ledger.sqlite-wal").exists()


def test_row_24_thirty_two_processes_write_side_by_side_without_an_error(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()

    processes = [writer(tmp_path, f"p{at}", 50) for at in range(32)]
    ends = [process.communicate(timeout=240) for process in processes]

    assert [process.returncode for process in processes] == [0] * 32, [err for _, err in ends if err]
    with Ledger.open(tmp_path) as ledger:
        ledger.verify()
        assert len(ledger.trials()) == 32 * 50


def test_row_25_a_result_delivered_twice_at_once_is_one_row(tmp_path: Path) -> None:
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        with Ledger.open(folder) as ledger:
            ledger.plan_trials([{"key": "t", **JOB}])
            number = ledger.start("t")
            barrier, told = threading.Barrier(4), Counter[bool]()

            def deliver(
                value: float, ledger: Any = ledger, number: int = number, told: Any = told, barrier: Any = barrier
            ) -> None:
                barrier.wait()
                score = novum.ledger.Score({"accuracy": value}, {}, {}, 1.0)
                told[ledger.finish("t", number, "done", {"value": value}, {"dev": score})] += 1

            threads = [threading.Thread(target=deliver, args=(float(at),)) for at in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert told == {True: 1, False: 3}
            row = ledger.trial("t")
            assert row is not None
            assert ledger.scores(["t"], "dev")["t"]["metrics"] == {"accuracy": row["result"]["value"]}
            assert len(ledger.events(kind="superseded")) == 3
            ledger.verify()


# --------------------------------------------------------------------------------------------- row 28: schemas


def test_row_28_a_ledger_of_a_newer_novum_is_refused_clearly_and_left_as_it_is(
    ended: Path, start: Any, words: Any
) -> None:
    with closing(sqlite3.connect(ended / "ledger.sqlite")) as raw:
        raw.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    content = (ended / "ledger.sqlite").read_bytes()

    code, out, err = start(ended, *words).end()

    assert (code, out) == (3, "")
    assert "written by a newer Novum" in err and "Upgrade Novum" in err
    assert (ended / "ledger.sqlite").read_bytes() == content
    with pytest.raises(novum.StudyError, match="newer Novum"):
        novum.Study(ended).repair()


def test_row_28_every_older_schema_is_kept_copied_and_migrated(tmp_path: Path) -> None:
    import gzip

    kept = sorted((Path(__file__).parents[1] / "core" / "ledgers").glob("schema-*.sqlite.gz"))
    assert [path.name for path in kept] == [f"schema-{at:04d}.sqlite.gz" for at in range(1, schema.VERSION)]
    for path in kept:
        folder = tmp_path / path.name
        folder.mkdir()
        (folder / "ledger.sqlite").write_bytes(gzip.decompress(path.read_bytes()))

        with Ledger.open(folder) as ledger:
            ledger.verify()
            assert ledger.sessions() == []

        assert (folder / f"ledger.sqlite.backup-{path.name[7:11]}").exists()


def test_row_28_what_a_migration_does_is_undone_when_it_is_killed(tmp_path: Path) -> None:
    import gzip

    kept = Path(__file__).parents[1] / "core" / "ledgers" / "schema-0001.sqlite.gz"
    for at in range(3):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "ledger.sqlite").write_bytes(gzip.decompress(kept.read_bytes()))
        process = writer(folder, "w", 1)
        time.sleep(0.35 + 0.1 * at)
        process.send_signal(signal.SIGKILL)
        process.communicate()

        shutil.rmtree(folder / "nothing", ignore_errors=True)
        with Ledger.open(folder) as ledger:
            ledger.verify()
            (row,) = ledger.hypotheses()
            assert json.loads(ledger.verdict(row["id"]) or "")["outcome"] == "supported"
