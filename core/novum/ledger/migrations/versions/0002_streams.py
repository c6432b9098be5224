"""Streams: the account of a goal's error rate. Released migrations are never edited."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of version 2."""
    op.create_table(
        "streams",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=True, nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("hypothesis", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("wealth_before", sa.Float(), nullable=False),
        sa.Column("wealth_after", sa.Float(), nullable=False),
        sa.Column("finished", sa.Text(), nullable=False),
        sa.Column("rejections", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["hypothesis"], ["hypotheses.id"], name=op.f("fk_streams_hypothesis")),
        sa.UniqueConstraint("goal", "index", name=op.f("uq_streams_goal")),
        sa.UniqueConstraint("hypothesis", name=op.f("uq_streams_hypothesis")),
        sqlite_autoincrement=True,
    )
