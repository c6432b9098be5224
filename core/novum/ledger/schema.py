"""The tables of the ledger, in types that every SQL database has.

Texts named `content`, `plan`, `result`, … are canonical JSON; times are ISO-8601 in UTC. `seq` is the order in
which rows were written; `info["label"]` names the columns that identify a row in an event (see `journal`).
A change here needs a migration in `migrations/versions` and a higher VERSION.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

VERSION = 3
"""The schema that this Novum reads and writes; the newest migration has the same number."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *items: SchemaItem, label: tuple[str, ...]) -> Table:
    seq = Column("seq", Integer, primary_key=True, autoincrement=True)
    return Table(name, metadata, seq, *items, info={"label": label}, sqlite_autoincrement=True)


events = _table(
    "events",
    Column("time", Text, nullable=False),
    Column("kind", Text, nullable=False, index=True),
    Column("payload", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    label=("seq",),
)
hypotheses = _table(
    "hypotheses",
    Column("id", Text, nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("parent", Text),
    Column("content", Text, nullable=False),
    Column("time", Text, nullable=False),
    label=("id",),
)
experiments = _table(
    "experiments",
    Column("id", Text, nullable=False, unique=True),
    Column("hypothesis", Text, ForeignKey("hypotheses.id"), nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False),
    Column("content", Text, nullable=False),
    label=("hypothesis",),
)
trials = _table(
    "trials",
    Column("key", Text, nullable=False, unique=True),
    Column("arm", Text, nullable=False, index=True),
    Column("block", Text, nullable=False, index=True),
    Column("index", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("result", Text),
    Column("started", Text),
    Column("finished", Text),
    Column("session", Text),
    label=("key",),
)
sessions = _table(
    "sessions",
    Column("id", Text, nullable=False, unique=True),
    Column("about", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("started", Text, nullable=False),
    Column("ended", Text),
    label=("id",),
)
beats = _table(
    "beats",
    Column("session", Text, ForeignKey("sessions.id"), nullable=False, unique=True),
    Column("count", Integer, nullable=False),
    label=("session",),
)
files = _table(
    "files",
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("hash", "name", "part"),
    label=("hash", "name", "part"),
)
scores = _table(
    "scores",
    Column("trial", Text, ForeignKey("trials.key"), nullable=False),
    Column("split", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("tables", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("units", LargeBinary, nullable=False),  # last: SQLite reads the other columns without its pages
    UniqueConstraint("trial", "split"),
    label=("trial", "split"),
)
openings = _table(
    "openings",
    Column("hypothesis", Text, ForeignKey("hypotheses.id"), index=True),
    Column("split", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("keys", Text, nullable=False),
    Column("time", Text, nullable=False),
    label=("seq",),
)
observations = _table(
    "observations",
    Column("key", Text, nullable=False, index=True),
    Column("record", Text, nullable=False),
    Column("time", Text, nullable=False),
    label=("seq",),
)
verdicts = _table(
    "verdicts",
    Column("hypothesis", Text, ForeignKey("hypotheses.id"), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("time", Text, nullable=False),
    label=("hypothesis",),
)
streams = _table(
    "streams",
    Column("goal", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("hypothesis", Text, ForeignKey("hypotheses.id"), nullable=False, unique=True),
    Column("rule", Text, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("level", Float, nullable=False),
    Column("wealth_before", Float, nullable=False),
    Column("wealth_after", Float, nullable=False),
    Column("finished", Text, nullable=False),
    Column("rejections", Text, nullable=False),
    Column("time", Text, nullable=False),
    UniqueConstraint("goal", "index"),
    label=("hypothesis",),
)
weights = _table(
    "weights",
    Column("hash", Text, nullable=False),
    Column("size", Integer().with_variant(BigInteger(), "postgresql"), nullable=False),
    Column("trial", Text, ForeignKey("trials.key"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    UniqueConstraint("hash", "trial"),
    label=("hash", "trial"),
)

UNTOLD = (events, beats, files)
"""Tables whose rows are on no event: the events themselves, the counters by which sessions show that they live, and
files, which prove themselves by their hash.
"""
