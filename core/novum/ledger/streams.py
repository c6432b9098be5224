"""The ledger's part on streams: what each hypothesis of a goal was tested at, fixed when it is registered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from novum.arm import canonical
from novum.errors import RegistrationError
from novum.ledger import schema
from novum.ledger.journal import Change, now
from novum.ledger.records import Records, one, without_seq

NUMBERS = ("alpha", "level", "wealth_before", "wealth_after")


class Streams(Records):
    """Accounts of error rates, a row per hypothesis that names a goal."""

    def streams(self, goal: str | None = None) -> list[dict[str, Any]]:
        """The accounts of one goal, or of all, in order.

        Each has goal, index (from 1), hypothesis, rule, alpha, level, wealth_before, wealth_after; finished and
        rejections, the earlier indices whose outcome counted; time.
        """
        table = schema.streams
        query = select(table).order_by(table.c.seq)
        rows = self._rows(query if goal is None else query.where(table.c.goal == goal))
        listed = ("finished", "rejections")
        return [without_seq(row) | {name: json.loads(row[name]) for name in listed} for row in rows]

    def _spend(self, connection: Connection, change: Change, hypothesis: str, account: Mapping[str, Any]) -> None:
        """Add a hypothesis' account within the transaction that registers it.

        Raises RegistrationError where its index is not the next one, or its rule or rate is not the goal's.
        """
        table = schema.streams
        mine = select(table).where(table.c.goal == account["goal"])
        first = one(connection, mine.order_by(table.c.index))
        last = one(connection, mine.order_by(table.c.index.desc()))
        expected = 1 if last is None else int(last["index"]) + 1
        if account["index"] != expected:
            raise RegistrationError(
                f"the goal {account['goal']!r} was given index {account['index']!r}, but its next one is {expected}: "
                "another hypothesis was registered meanwhile. Run the claim again, which takes its level from the "
                "account as it is now."
            )
        if first is not None and (first["rule"], first["alpha"]) != (account["rule"], account["alpha"]):
            raise RegistrationError(
                f"the goal {account['goal']!r} spends its error rate by {first['rule']!r} at {first['alpha']!r}, "
                f"received {account['rule']!r} at {account['alpha']!r}; a goal has one of each: use those, or name "
                "another goal."
            )
        row = {name: account[name] for name in ("goal", "index", "rule")}
        row |= {name: float(account[name]) for name in NUMBERS}
        row |= {name: canonical(list(account[name])) for name in ("finished", "rejections")}
        change.insert(table, [row | {"hypothesis": hypothesis, "time": now()}])
