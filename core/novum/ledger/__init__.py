"""The ledger: the append-only record of a study, and the only part of Novum that knows SQLAlchemy and Alembic."""

from novum.ledger.store import Ledger
from novum.ledger.trials import Score

__all__ = ["Ledger", "Score"]
