"""The first schema. Released migrations are never edited."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of version 1."""
    _create(
        "events",
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        indexed=("kind",),
    )
    _create(
        "hypotheses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_hypotheses_fingerprint")),
        sa.UniqueConstraint("id", name=op.f("uq_hypotheses_id")),
    )
    _create(
        "experiments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hypothesis", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypotheses.id"], name=op.f("fk_experiments_hypothesis")),
        sa.UniqueConstraint("hypothesis", name=op.f("uq_experiments_hypothesis")),
        sa.UniqueConstraint("id", name=op.f("uq_experiments_id")),
    )
    _create(
        "trials",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("block", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("result", sa.Text()),
        sa.Column("started", sa.Text()),
        sa.Column("finished", sa.Text()),
        sa.UniqueConstraint("key", name=op.f("uq_trials_key")),
        indexed=("arm", "block", "state"),
    )
    _create(
        "scores",
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("tables", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("units", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["trial"], ["trials.key"], name=op.f("fk_scores_trial")),
        sa.UniqueConstraint("trial", "split", name=op.f("uq_scores_trial")),
    )
    _create(
        "openings",
        sa.Column("hypothesis", sa.Text()),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypotheses.id"], name=op.f("fk_openings_hypothesis")),
        indexed=("hypothesis",),
    )
    _create(
        "observations",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        indexed=("key",),
    )
    _create(
        "verdicts",
        sa.Column("hypothesis", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypotheses.id"], name=op.f("fk_verdicts_hypothesis")),
        sa.UniqueConstraint("hypothesis", name=op.f("uq_verdicts_hypothesis")),
    )
    _create(
        "weights",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("trial", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trial"], ["trials.key"], name=op.f("fk_weights_trial")),
        sa.UniqueConstraint("hash", "trial", name=op.f("uq_weights_hash")),
        indexed=("trial",),
    )


def _create(name: str, *items: sa.schema.SchemaItem, indexed: tuple[str, ...] = ()) -> None:
    seq = sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True, nullable=False)
    op.create_table(name, seq, *items, sqlite_autoincrement=True)
    for column in indexed:
        op.create_index(op.f(f"ix_{name}_{column}"), name, [column])
