"""The ledger's part on claims: hypotheses with their experiments, openings of splits, observations, verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from novum.arm import canonical
from novum.errors import RegistrationError, StudyError
from novum.ledger import schema
from novum.ledger.journal import Change, now, sha256
from novum.ledger.records import one, persistent, to_dict, unregistered, without_seq
from novum.ledger.streams import Streams

SHORTEST_PREFIX = 4


class Claims(Streams):
    """What was claimed, on what grounds, and what came of it."""

    @persistent
    def register(self, hypotheses: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Register hypotheses, each with its experiment: all of them or none.

        A hypothesis has "id", "fingerprint", "parent" (an id or None) and whatever else; its experiment has "id"
        and "hypothesis". One that names a goal has "stream", the account of its level: it is spent in this very
        transaction. Raises RegistrationError for an id or a fingerprint that is registered already, and for an
        account that is not the goal's next.
        """
        if not hypotheses:
            return
        with self._database.write() as connection:
            change = Change(connection)
            for hypothesis, experiment in hypotheses:
                self._refuse_known(connection, hypothesis, experiment)
                row = {name: hypothesis[name] for name in ("id", "fingerprint")}
                row |= {"parent": hypothesis.get("parent"), "content": canonical(hypothesis), "time": now()}
                change.insert(schema.hypotheses, [row])
                plan = canonical(experiment)
                row = {"id": experiment["id"], "hypothesis": hypothesis["id"]}
                change.insert(schema.experiments, [row | {"fingerprint": sha256(plan), "content": plan}])
                if hypothesis.get("stream"):
                    self._spend(connection, change, hypothesis["id"], hypothesis["stream"])
            change.event("registered", {"hypotheses": [hypothesis["id"] for hypothesis, _ in hypotheses]})

    def _refuse_known(
        self, connection: Connection, hypothesis: Mapping[str, Any], experiment: Mapping[str, Any]
    ) -> None:
        if experiment["hypothesis"] != hypothesis["id"]:
            raise RegistrationError(
                f"the experiment {experiment['id']!r} names the hypothesis {experiment['hypothesis']!r}, but is "
                f"registered with {hypothesis['id']!r}; register it with the one that it tests."
            )
        for table, column, value in (
            (schema.hypotheses, "fingerprint", hypothesis["fingerprint"]),
            (schema.hypotheses, "id", hypothesis["id"]),
            (schema.experiments, "id", experiment["id"]),
        ):
            row = one(connection, select(table).where(table.c[column] == value))
            if row is not None:
                raise RegistrationError(
                    f"the {column} {value!r} is registered already ({table.name}: {row['id']!r}); run that claim again "
                    "to resume it, or change it, which makes a child hypothesis with an id of its own."
                )

    def hypothesis(self, id_or_prefix: str) -> dict[str, Any] | None:
        """The hypothesis with this id, or the only one whose id begins so (4 characters or more).

        None where there is none. Raises StudyError, with the list, where a prefix fits several.
        """
        if not id_or_prefix.isprintable():  # a lone surrogate, which no database takes, is not printable either
            return None
        table = schema.hypotheses
        close = table.c.id == id_or_prefix
        if len(id_or_prefix) >= SHORTEST_PREFIX:
            close |= table.c.id.startswith(id_or_prefix, autoescape=True)
        rows = self._rows(select(table.c.id, table.c.content).where(close).order_by(table.c.seq))
        found = {row["id"]: row["content"] for row in rows if row["id"].startswith(id_or_prefix)}  # LIKE ignores case
        if id_or_prefix in found:
            return to_dict(found[id_or_prefix])
        if len(found) > 1:
            raise StudyError(
                f"{id_or_prefix!r} begins the ids of {len(found)} hypotheses: {', '.join(found)}; add characters."
            )
        return next((to_dict(content) for content in found.values()), None)

    def hypothesis_by_fingerprint(self, fingerprint: str) -> dict[str, Any] | None:
        """The hypothesis with this fingerprint, or None."""
        table = schema.hypotheses
        rows = self._rows(select(table.c.content).where(table.c.fingerprint == fingerprint))
        return to_dict(rows[0]["content"]) if rows else None

    def hypotheses(self) -> list[dict[str, Any]]:
        """All hypotheses in the order of their registration."""
        rows = self._rows(select(schema.hypotheses.c.content).order_by(schema.hypotheses.c.seq))
        return [to_dict(row["content"]) for row in rows]

    def experiment(self, hypothesis_id: str) -> dict[str, Any]:
        """The registered plan of a hypothesis (its whole id).

        Raises RegistrationError where there is none, or where it was edited since.
        """
        rows = self._rows(select(schema.experiments).where(schema.experiments.c.hypothesis == hypothesis_id))
        if not rows:
            raise unregistered(self.path, hypothesis_id)
        if sha256(rows[0]["content"]) != rows[0]["fingerprint"]:
            raise RegistrationError(
                f"the experiment of {hypothesis_id!r} in {self.path} was edited since it was registered: its "
                f"fingerprint is no longer {rows[0]['fingerprint']}. Restore a copy from before; a change of plan is a "
                "new claim."
            )
        return to_dict(rows[0]["content"])

    @persistent
    def open_split(self, hypothesis_id: str | None, split: str, keys: Sequence[str], purpose: str) -> int:
        """Count one opening of a split, before it is read; gives its number among this ledger's openings of it.

        The same hypothesis, split and purpose are one opening and keep their number, and so are, without a
        hypothesis, the same trials. Raises RegistrationError for a hypothesis that is not registered.
        """
        table = schema.openings
        text = canonical(list(keys))
        same = (table.c.split == split) & (table.c.purpose == purpose) & (table.c.hypothesis == hypothesis_id)
        if hypothesis_id is None:
            same &= table.c["keys"] == text
        with self._database.write() as connection:
            row = one(connection, select(table).where(same))
            if row is None:
                self._registered(connection, hypothesis_id)
                change = Change(connection)
                values = {"hypothesis": hypothesis_id, "split": split, "purpose": purpose, "keys": text, "time": now()}
                change.insert(table, [values])
                change.event("opened", {"hypothesis": hypothesis_id, "split": split, "purpose": purpose})
            count = select(func.count()).select_from(table).where(table.c.split == split)
            return int(connection.scalar(count if row is None else count.where(table.c.seq <= row["seq"])) or 0)

    def openings(self) -> list[dict[str, Any]]:
        """All openings in order: hypothesis (an id or None), split, purpose, keys, time."""
        rows = self._rows(select(schema.openings).order_by(schema.openings.c.seq))
        return [without_seq(row) | {"keys": json.loads(row["keys"])} for row in rows]

    @persistent
    def record_observation(self, key: str, record: Mapping[str, Any]) -> None:
        """Record an observation under the caller's key. The same again adds nothing; another is added beside it."""
        table = schema.observations
        text = canonical(record)
        with self._database.write() as connection:
            last = one(connection, select(table).where(table.c.key == key).order_by(table.c.seq.desc()).limit(1))
            if last is None or last["record"] != text:
                change = Change(connection)
                change.insert(table, [{"key": key, "record": text, "time": now()}])
                change.event("observed", {"key": key})

    def observation(self, key: str) -> dict[str, Any] | None:
        """The latest observation under this key, or None."""
        table = schema.observations
        rows = self._rows(select(table.c.record).where(table.c.key == key).order_by(table.c.seq.desc()).limit(1))
        return to_dict(rows[0]["record"]) if rows else None

    def observations(self, prefix: str = "") -> list[dict[str, Any]]:
        """All observations whose key begins so, in order, earlier ones under a key included: key, record, time."""
        table = schema.observations
        asked = select(table).order_by(table.c.seq)
        if prefix:
            asked = asked.where(table.c.key.startswith(prefix, autoescape=True))
        rows = [row for row in self._rows(asked) if row["key"].startswith(prefix)]  # LIKE ignores case
        return [without_seq(row) | {"record": json.loads(row["record"])} for row in rows]

    @persistent
    def record_verdict(self, hypothesis_id: str, text: str) -> None:
        """Record a verdict's canonical JSON, kept byte for byte; the same text again changes nothing.

        Raises StudyError for another text, RegistrationError for a hypothesis that is not registered.
        """
        table = schema.verdicts
        with self._database.write() as connection:
            row = one(connection, select(table).where(table.c.hypothesis == hypothesis_id))
            if row is not None and row["text"] != text:
                raise StudyError(
                    f"the hypothesis {hypothesis_id!r} has a verdict, and it differs from the one received (SHA-256 "
                    f"{sha256(row['text'])[:12]}…, received {sha256(text)[:12]}…); a verdict never changes. Check with "
                    "`novum verdict ID --recompute` which Novum gave which."
                )
            if row is None:
                self._registered(connection, hypothesis_id)
                change = Change(connection)
                change.insert(table, [{"hypothesis": hypothesis_id, "text": text, "time": now()}])
                change.event("verdict", {"hypothesis": hypothesis_id})

    def verdict(self, hypothesis_id: str) -> str | None:
        """The verdict's text as it was recorded, or None."""
        rows = self._rows(select(schema.verdicts.c.text).where(schema.verdicts.c.hypothesis == hypothesis_id))
        return str(rows[0]["text"]) if rows else None
