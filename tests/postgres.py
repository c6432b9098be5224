"""A PostgreSQL server of the tests' own: made in a folder below the system's, and gone with it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
"""Where Debian and its kin keep the server's programs, the newest first."""
WAIT_SECONDS = 60.0
PASSWORD = "correct horse"  # noqa: S105 - of a role that lives as long as the tests
SETTINGS = {
    "fsync": "off",  # the machine does not lose its power during a test
    "max_connections": "60",
    "shared_buffers": "16MB",
    "logging_collector": "off",
}


def programs() -> Path | None:
    """The folder of the server's programs; None where there is no server."""
    found = shutil.which("initdb")
    folders = [*([Path(found).parent] if found else []), *PLACES]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


class Server:
    """A server on a free port of 127.0.0.1, with the database "novum" that everybody may enter as "novum".

    The role "guarded" needs PASSWORD. `start`, `stop` and `restart` keep the data and the port.
    """

    def __init__(self) -> None:
        self._bin = programs()
        assert self._bin is not None, "no PostgreSQL server is installed"
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="novum-pg-", dir="/tmp"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def url(self, study: str | None = None, user: str = "novum", **options: str) -> str:
        """The url of a study, or of a new one: each call without a name gives another."""
        name = study or f"study_{next(self._names)}"
        more = "".join(f"&{key}={value}" for key, value in options.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/novum?study={name}{more}"

    def connect(self, user: str = "novum", database: str = "novum") -> Any:
        """A connection of psycopg's in which every statement commits."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, dbname=database, autocommit=True)

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None, "the server runs already"
        ports = [self.port] if self.port else [_free_port() for _ in range(3)]  # one may be taken meanwhile
        for port in ports:
            self.port = port
            options = [f"-p{port}", f"-k{self.folder}", *(f"-c{name}={value}" for name, value in SETTINGS.items())]
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [f"{self._bin}/postgres", "-D", self.folder / "data", "-h127.0.0.1", *options],
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    **self._user,
                )
            if self._answers():
                return
            self.stop("immediate")
        raise RuntimeError(f"the PostgreSQL server does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self, mode: str = "fast") -> None:
        """Stop: "fast" ends every session first; "immediate" is a crash, and the next start recovers."""
        if self._process is None:
            return
        self._process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self._process.wait(WAIT_SECONDS)
        self._process = None

    def restart(self, mode: str = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop, and delete all data."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> None:
        data = self.folder / "data"
        command = [f"{self._bin}/initdb", "-D", str(data), "-N", "-A", "trust", "-U", "novum", "-E", "UTF8"]
        subprocess.run([*command, "--locale=C"], check=True, capture_output=True, cwd="/", **self._user)
        rules = data / "pg_hba.conf"
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.start()
        with self.connect(database="postgres") as connection:
            connection.execute("CREATE DATABASE novum")
            connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")

    def _answers(self) -> bool:
        import psycopg

        end = time.monotonic() + WAIT_SECONDS
        while self._process is not None and self._process.poll() is None and time.monotonic() < end:
            try:
                self.connect(database="postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _unprivileged() -> dict[str, Any]:
    """Whom a root user starts the server as, for it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    one = names.get("postgres") or names["nobody"]
    return {"user": one.pw_uid, "group": one.pw_gid, "extra_groups": []}
