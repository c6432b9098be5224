"""Old, current and newer ledgers."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import novum
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from novum.errors import StudyError
from novum.ledger import Ledger, schema, upgrade
from novum.ledger.sqlite import SqliteDatabase
from sqlalchemy import create_engine

JOB = {"key": "t1", "arm": "a", "block": "b", "index": 0, "kind": "train"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    with Ledger.open(tmp_path / "study") as ledger:
        ledger.plan_trials([JOB])
    return tmp_path / "study"


def query(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as raw:
        return raw.execute(sql).fetchall()


NOW = schema.VERSION
NEXT = NOW + 1


def pretend_a_next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    shutil.copytree(upgrade.MIGRATIONS, tmp_path / "migrations")
    head = f'revision = "{NEXT:04d}"\ndown_revision = "{NOW:04d}"\n'
    (tmp_path / "migrations" / "versions" / f"{NEXT:04d}_next.py").write_text(
        f"from alembic import op\n{head}def upgrade():\n    {body}\n"
    )
    monkeypatch.setattr(upgrade, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "VERSION", NEXT)


def test_the_newest_migration_is_the_version_that_novum_knows(study: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    config.set_main_option("path_separator", "os")

    heads = ScriptDirectory.from_config(config).get_heads()

    assert heads == [f"{schema.VERSION:04d}"]
    assert query(study / "ledger.sqlite", "SELECT version_num FROM alembic_version") == [(heads[0],)]
    assert query(study / "ledger.sqlite", "PRAGMA user_version") == [(schema.VERSION,)]


def test_the_migrations_build_exactly_the_tables_that_novum_uses(study: Path) -> None:
    with closing(SqliteDatabase.open(study, create=False, read_only=False)) as database, database.read() as connection:
        migrations = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})

        assert compare_metadata(migrations, schema.metadata) == []


def test_the_migrations_write_the_same_sql_as_the_tables_that_novum_uses(study: Path, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.sqlite'}")
    schema.metadata.create_all(engine)
    engine.dispose()
    everything = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND sql NOT NULL ORDER BY name"

    migrated, direct = query(study / "ledger.sqlite", everything), query(tmp_path / "direct.sqlite", everything)

    assert [name for name, _ in migrated] == [name for name, _ in direct]
    for (name, ours), (_, theirs) in zip(migrated, direct, strict=True):
        assert parts(ours) == parts(theirs), name


def parts(sql: str) -> list[str]:
    """A table's columns and constraints in any order: a migration may name them in another."""
    inside = sql.replace("\n", " ").removesuffix(")").strip()
    return sorted(" ".join(each.split()) for each in re.split(r",(?![^()]*\))(?=\s)", inside.partition("(")[2]))


def test_upgrading_a_current_ledger_changes_nothing(study: Path) -> None:
    before = query(study / "ledger.sqlite", "SELECT name, sql FROM sqlite_master")

    with closing(SqliteDatabase.open(study, create=False, read_only=False)) as database, database.write() as connection:
        upgrade.upgrade(connection)

    assert query(study / "ledger.sqlite", "SELECT name, sql FROM sqlite_master") == before
    assert sorted(file.name for file in study.iterdir()) == ["ledger.sqlite"]


def test_opening_a_current_ledger_imports_no_alembic(study: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom novum.ledger import Ledger\n"
        "with Ledger.open(Path(sys.argv[1])) as ledger: print(len(ledger.trials()), 'alembic' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, str(study)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1 False"


def test_an_older_ledger_is_copied_then_upgraded(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_a_next_version(tmp_path, monkeypatch, "op.execute('ALTER TABLE trials ADD COLUMN note TEXT')")

    with Ledger.open(study) as ledger:
        ledger.verify()  # new empty columns leave the digests of old rows as they were

    backup = study / f"ledger.sqlite.backup-{NOW:04d}"
    assert query(study / "ledger.sqlite", "PRAGMA user_version") == [(NEXT,)]
    assert query(study / "ledger.sqlite", "SELECT key, note FROM trials") == [("t1", None)]
    assert query(backup, "PRAGMA user_version") == [(NOW,)]
    assert query(backup, "SELECT key FROM trials") == [("t1",)]
    assert "note" not in query(backup, "SELECT sql FROM sqlite_master WHERE name = 'trials'")[0][0]
    assert sorted(file.name for file in study.iterdir()) == ["ledger.sqlite", backup.name]


def test_an_upgrade_that_fails_leaves_the_old_ledger(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = query(study / "ledger.sqlite", "SELECT name, sql FROM sqlite_master")
    body = "op.execute('ALTER TABLE trials ADD COLUMN note TEXT'); raise RuntimeError('power cut')"
    pretend_a_next_version(tmp_path, monkeypatch, body)

    with pytest.raises(RuntimeError, match="power cut"):
        Ledger.open(study)

    assert query(study / "ledger.sqlite", "SELECT name, sql FROM sqlite_master") == before
    assert query(study / "ledger.sqlite", "PRAGMA user_version") == [(NOW,)]


def test_an_older_ledger_is_not_upgraded_by_a_reader(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", NEXT)

    with pytest.raises(
        StudyError, match=f"older schema {NOW} and this Novum reads {NEXT}; open the study once for writing"
    ):
        Ledger.open(study, read_only=True)

    assert list(study.glob("*.backup-*")) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_ledger_is_refused_and_left_as_it_is(study: Path, read_only: bool) -> None:
    with closing(sqlite3.connect(study / "ledger.sqlite")) as raw:
        raw.execute("PRAGMA user_version = 7")
    content = (study / "ledger.sqlite").read_bytes()

    with pytest.raises(StudyError, match=rf"has schema 7, .* knows schemas up to {NOW}\. Upgrade Novum"):
        Ledger.open(study, read_only=read_only)

    assert (study / "ledger.sqlite").read_bytes() == content


# --------------------------------------------------------------------------------------------- ledgers of every schema

LEDGERS = sorted((Path(__file__).parent / "ledgers").glob("schema-*.sqlite.gz"))


def test_a_ledger_of_every_older_schema_is_kept() -> None:
    assert [file.name for file in LEDGERS] == [f"schema-{version:04d}.sqlite.gz" for version in range(1, NOW)]


@pytest.mark.parametrize("file", LEDGERS, ids=lambda file: file.name[:11])
def test_an_old_ledger_is_upgraded_with_a_backup_and_all_that_it_held(file: Path, tmp_path: Path) -> None:
    old = gzip.decompress(file.read_bytes())
    (tmp_path / "ledger.sqlite").write_bytes(old)
    held = query(tmp_path / "ledger.sqlite", "SELECT hash FROM events ORDER BY seq")
    version = query(tmp_path / "ledger.sqlite", "PRAGMA user_version")[0][0]

    with Ledger.open(tmp_path) as ledger:
        ledger.verify()
        (row,) = ledger.hypotheses()
        text = ledger.verdict(row["id"])
        states = {trial["state"] for trial in ledger.trials()}
        goals = [stream["goal"] for stream in ledger.streams()]
        sessions = ledger.sessions()

    assert json.loads(text or "{}")["outcome"] == "supported"
    assert (states, sessions) == ({"done"}, [])
    assert goals == ([] if version == 1 else ["longer"])
    assert query(tmp_path / "ledger.sqlite", "SELECT hash FROM events ORDER BY seq") == held
    assert query(tmp_path / f"ledger.sqlite.backup-{version:04d}", "SELECT hash FROM events ORDER BY seq") == held


def test_a_verdict_of_the_first_method_is_read_and_never_recomputed_by_another(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(gzip.decompress(LEDGERS[0].read_bytes()))
    Ledger.open(tmp_path).close()
    study = novum.Study(tmp_path)
    (row,) = study.hypotheses()

    assert study.verdict(row["id"]).outcome == "supported"
    with pytest.raises(StudyError, match="'paired-t', 'version': 1}, which this Novum lacks"):
        study.verdict(row["id"], recompute=True)
