"""Bring a ledger to the newest schema. The only module that imports Alembic, and only when there is work."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"
_ONE = threading.Lock()  # Alembic keeps the running migration in module globals


def upgrade(connection: Connection) -> None:
    """Run every migration that `connection`'s database lacks, within its open transaction; commit nothing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # "%" interpolates in its options
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _ONE:
        command.upgrade(config, "head")
