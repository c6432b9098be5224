"""Servers, urls and versions of a ledger on PostgreSQL that cannot be used, and what a person is told."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from novum.errors import ConfigError, StudyError
from novum.ledger import Ledger, schema, upgrade


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


# ----------------------------------------------------------------------------- what cannot be opened


def test_read_only_reads_and_never_writes(open_ledger: Callable[..., Ledger]) -> None:
    fill(open_ledger())
    ledger = open_ledger(read_only=True)

    ledger.verify()

    for change in (lambda: ledger.start("t2"), lambda: ledger.put_files("h2", {}), lambda: ledger.drop_files("h1")):
        with pytest.raises(StudyError, match="opened read-only"):
            change()
    with pytest.raises(StudyError, match="is not writable"), ledger._database.read() as connection:
        connection.exec_driver_sql("DELETE FROM trials")


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_missing_study_is_said_and_not_made(
    postgres: Server, url: str, open_ledger: Callable[..., Ledger], options: dict[str, bool]
) -> None:
    with pytest.raises(StudyError, match=rf"no study at postgresql://127\S*{study_of(url)}; correct the url"):
        open_ledger(**options)

    with postgres.connect() as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [study_of(url)]).fetchall()
    assert found == []


def test_a_schema_of_another_program_is_refused_and_kept(
    postgres: Server, url: str, open_ledger: Callable[..., Ledger]
) -> None:
    with postgres.connect() as connection:
        connection.execute(f"CREATE SCHEMA {study_of(url)} CREATE TABLE songs (title text)")

    with pytest.raises(StudyError, match=r"tables of another program \(songs\); name another study"):
        open_ledger()


def test_a_user_without_rights_is_told_and_may_use_a_schema_made_for_them(
    postgres: Server, url: str, tmp_path: Path
) -> None:
    mine = url.replace("novum@", "guarded:correct%20horse@")
    with pytest.raises(StudyError, match="is not open to this user; have its owner grant"):
        Ledger.open(tmp_path, url=mine)

    with postgres.connect() as connection:
        connection.execute(f"CREATE SCHEMA {study_of(url)} AUTHORIZATION guarded")
    with Ledger.open(tmp_path, url=mine) as ledger:
        fill(ledger)
        ledger.verify()


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Server, url: str, tmp_path: Path) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")

    with pytest.raises(StudyError, match="has the encoding SQL_ASCII, which cannot hold every text"):
        Ledger.open(tmp_path, url=url.replace("/novum?", "/ascii?"))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("mysql://me:geheim@db/novum", "begins with 'mysql'; options are postgresql and"),
        ("postgresql://me:ge/heim@db:x/novum", "is not the url of a ledger; it reads postgresql://user@host"),
        ("postgresql://me:geheim@db", "names no database"),
        ("postgresql://me:geheim@db/novum?study=Mine", "names the study 'Mine'; a name has small letters"),
        ('postgresql://me:geheim@db/novum?study=a"b', "names the study 'a\"b'"),
        ("postgresql://me:geheim@db/novum?study=pg_mine", "names the study 'pg_mine'"),
        ("postgresql://me:geheim@db/novum?study=a&study=b", r"names the study \('a', 'b'\)"),
        ("postgresql://me:geheim@db/novum?sslmod=require", "option 'sslmod', .*did you mean 'sslmode'"),
        ("postgresql://me@db/novum?password=geheim", "option 'password', which it cannot have"),
        ("postgresql://me:geheim@db/novum?sslmode=a&sslmode=b", "option 'sslmode' more than once"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(tmp_path: Path, url: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        Ledger.open(tmp_path, url=url)

    assert not re.search("ge/?heim", "".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("novum@", "guarded:geheim@"), "is refused to this user; check the user and the password"),
        (("novum@", "guarded@"), "is refused to this user"),
        (("novum@", "nobody:geheim@"), "is refused to this user"),
        (("/novum?", "/nowhere?"), "has no database of this name on its server"),
    ],
)
def test_a_server_that_refuses_is_told_at_once_and_without_the_password(
    postgres: Server, url: str, tmp_path: Path, change: tuple[str, str], fault: str
) -> None:
    with pytest.raises(StudyError, match=fault) as caught:
        Ledger.open(tmp_path, url=url.replace(*change))

    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_told_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(StudyError, match=r"pip install 'novum\[postgres\]'"):
        Ledger.open(tmp_path, url="postgresql://db/novum")


def test_a_ledger_in_a_file_needs_no_driver(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom novum.ledger import Ledger\n"
        "with Ledger.open(Path(sys.argv[1])) as ledger: print('psycopg' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


# ----------------------------------------------------------------------------- other versions

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


def columns(postgres: Server, url: str) -> list[str]:
    with postgres.connect() as connection:
        sql = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 'trials'"
        return [row[0] for row in connection.execute(sql, [study_of(url)])]


def test_an_older_ledger_is_upgraded_only_when_a_copy_was_made(
    postgres: Server, url: str, open_ledger: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(open_ledger())
    pretend_a_next_version(tmp_path, monkeypatch, "op.execute('ALTER TABLE trials ADD COLUMN note TEXT')")

    with pytest.raises(
        StudyError, match=rf"older schema {NOW}.*pg_dump --schema={study_of(url)}.*NOVUM_LEDGER_UPGRADE"
    ):
        open_ledger()
    with pytest.raises(StudyError, match=f"older schema {NOW}.*NOVUM_LEDGER_UPGRADE=1"):
        open_ledger(read_only=True)
    assert "note" not in columns(postgres, url)

    monkeypatch.setenv("NOVUM_LEDGER_UPGRADE", "1")
    open_ledger().verify()

    assert "note" in columns(postgres, url)


def test_an_upgrade_that_fails_leaves_the_old_ledger(
    postgres: Server, url: str, open_ledger: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(open_ledger())
    monkeypatch.setenv("NOVUM_LEDGER_UPGRADE", "1")
    with monkeypatch.context() as patch:
        body = "op.execute('ALTER TABLE trials ADD COLUMN note TEXT'); raise RuntimeError('power cut')"
        pretend_a_next_version(tmp_path, patch, body)

        with pytest.raises(RuntimeError, match="power cut"):
            open_ledger()

    assert "note" not in columns(postgres, url)
    open_ledger().verify()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_ledger_is_refused(
    postgres: Server, url: str, open_ledger: Callable[..., Ledger], read_only: bool
) -> None:
    open_ledger()
    edit(postgres, url, "UPDATE alembic_version SET version_num = '0007'")

    with pytest.raises(StudyError, match=rf"has schema 7, .* knows schemas up to {NOW}\. Upgrade Novum"):
        open_ledger(read_only=read_only)
