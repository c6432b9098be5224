"""The ledger's part on trials: planned, run at most once to an end, scored; and the weights they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, select

from novum.arm import canonical
from novum.errors import StudyError
from novum.ledger import journal, schema
from novum.ledger.journal import Change, now
from novum.ledger.records import Records, one, persistent, to_dict, where_in, without_seq

State = Literal["planned", "running", "done", "diverged", "failed"]
FINISHED: tuple[State, ...] = ("done", "diverged", "failed")


@dataclass(frozen=True)
class Score:
    """One trial's scores on one split, as plain JSON: an undefined number is what the caller writes for it.

    metrics: name → value. tables: table → row → column → value. units: columns of equal length, one row per
    unit; kept as one compressed block. seconds: how long the scoring took.
    """

    metrics: Mapping[str, Any]
    tables: Mapping[str, Any]
    units: Mapping[str, Sequence[Any]]
    seconds: float


class Trials(Records):
    """Trials, their scores and their weights."""

    @persistent
    def plan_trials(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Add planned trials; those whose "key" is known are left as they are.

        Each has "key", "arm", "block" (texts), "index" (int), "kind" and whatever describes its job.
        """
        with self._database.write() as connection:
            keys = [trial["key"] for trial in trials]
            known = {
                row["key"] for row in where_in(connection, select(schema.trials.c.key), schema.trials, "key", keys)
            }
            rows: dict[str, dict[str, Any]] = {}
            for trial in trials:
                if trial["key"] not in known:
                    row = {name: trial[name] for name in ("key", "arm", "block", "index", "kind")}
                    row |= {"state": "planned", "attempts": 0, "plan": canonical(trial)}
                    rows.setdefault(
                        trial["key"], row | {"result": None, "started": None, "finished": None, "session": None}
                    )
            if rows:
                change = Change(connection)
                change.insert(schema.trials, list(rows.values()))
                change.event("planned", {"trials": list(rows)})

    def trial(self, key: str) -> dict[str, Any] | None:
        """The trial with this key, or None.

        Its fields: key, arm, block, index, kind; state, "planned", "running", "done", "diverged" or "failed";
        attempts, the number started; plan, as it was given; result, None until it is finished; started, the time
        of the running or last attempt, and finished, both None before; session, who ran that attempt, or None.
        """
        return next(iter(self.trials([key])), None)

    @persistent
    def trials(
        self, keys: Sequence[str] | None = None, arm: str | None = None, block: str | None = None
    ) -> list[dict[str, Any]]:
        """Trials in the order they were planned: all, or those with one of these keys, of this arm, in this block."""
        table = schema.trials
        query = select(table).order_by(table.c.seq)
        if arm is not None:
            query = query.where(table.c.arm == arm)
        if block is not None:
            query = query.where(table.c.block == block)
        with self._database.read() as connection:
            rows = list(where_in(connection, query, table, "key", keys))
        return [_trial(row) for row in sorted(rows, key=lambda row: int(row["seq"]))]

    def finished(self) -> set[str]:
        """Keys of the trials that have ended, however."""
        rows = self._rows(select(schema.trials.c.key).where(schema.trials.c.state.in_(FINISHED)))
        return {str(row["key"]) for row in rows}

    @persistent
    def start(self, key: str, session: str | None = None) -> int:
        """Begin the next attempt and give its number, from 1; an attempt still running loses its right to finish.

        session: who runs it. Raises RegistrationError for a trial that was never planned, StudyError for a finished
        one.
        """
        with self._database.write() as connection:
            row = self._planned(connection, key)
            if row["state"] in FINISHED:
                raise StudyError(
                    f"the trial {key!r} is {row['state']} and is never run twice; read its result instead."
                )
            return self._begin(connection, row, session)

    @persistent
    def claim(self, key: str, session: str) -> int | None:
        """Begin the next attempt of a trial that nobody runs, and give its number; None where another session runs it
        or it is finished. Of sessions that claim at the same time, one gets it.

        Raises RegistrationError for a trial that was never planned.
        """
        with self._database.write() as connection:
            row = self._planned(connection, key)
            taken = row["state"] == "running" and row["session"] not in (None, session)
            return None if taken or row["state"] in FINISHED else self._begin(connection, row, session)

    def _begin(self, connection: Connection, row: RowMapping, session: str | None) -> int:
        attempt = int(row["attempts"]) + 1
        change = Change(connection)
        change.update(schema.trials, row, state="running", attempts=attempt, started=now(), session=session)
        change.event("started", {"trial": row["key"], "attempt": attempt, "session": session})
        return attempt

    @persistent
    def finish(
        self, key: str, attempt: int, state: State, result: Mapping[str, Any], scores: Mapping[str, Score]
    ) -> bool:
        """Record how an attempt ended ("done", "diverged" or "failed"), its result and its scores by split.

        True when accepted; the same result of the same attempt once more is accepted, and changes nothing. False,
        and an event "superseded", when the trial is finished otherwise or `attempt` is not its latest. The latest
        attempt of a trial that was released is accepted: its result is as good.
        Raises RegistrationError for a trial that was never planned, ValueError for another state.
        """
        if state not in FINISHED:
            raise ValueError(f"a trial finishes as one of {', '.join(FINISHED)}; received {state!r}.")
        blocks = {split: journal.pack(score.units) for split, score in scores.items()}  # outside the write lock
        text = canonical(result)
        with self._database.write() as connection:
            row = self._planned(connection, key)
            if (row["attempts"], row["state"], row["result"]) == (attempt, state, text):
                return True
            change = Change(connection)
            if row["state"] in FINISHED or row["attempts"] != attempt or attempt < 1:
                told = {"trial": key, "attempt": attempt, "state": state}
                change.event("superseded", told | {"current": [row["state"], row["attempts"]]})
                return False
            change.update(schema.trials, row, state=state, result=text, finished=now())
            change.insert(
                schema.scores,
                [
                    {
                        "trial": key,
                        "split": split,
                        "metrics": canonical(score.metrics),
                        "tables": canonical(score.tables),
                        "seconds": float(score.seconds),
                        "units": blocks[split],
                    }
                    for split, score in scores.items()
                ],
            )
            change.event("finished", {"trial": key, "attempt": attempt, "state": state, "splits": sorted(scores)})
        return True

    def release(self, key: str, reason: str, attempt: int | None = None) -> bool:
        """Put a running trial back among the planned, after a crash. False where it is not running.

        attempt: only if this one is its latest, so that a late session never takes a trial from the next.
        """
        which = schema.trials.c.key == key
        return bool(self._release(which if attempt is None else which & (schema.trials.c.attempts == attempt), reason))

    def release_running(self, reason: str, session: str | None = None) -> list[str]:
        """Put every running trial back among the planned; gives their keys. For the start of the only loop.

        session: only those of a session that is lost.
        """
        return self._release(None if session is None else schema.trials.c.session == session, reason)

    @persistent
    def _release(self, which: Any, reason: str) -> list[str]:
        query = select(schema.trials).where(schema.trials.c.state == "running").order_by(schema.trials.c.seq)
        with self._database.write() as connection:
            rows = connection.execute(query if which is None else query.where(which)).mappings().all()
            change = Change(connection)
            for row in rows:
                change.update(schema.trials, row, state="planned")
            keys = [str(row["key"]) for row in rows]
            if keys:
                change.event("released", {"trials": keys, "reason": reason})
        return keys

    @persistent
    def scores(self, keys: Sequence[str], split: str) -> dict[str, dict[str, Any]]:
        """By trial key: metrics, tables and seconds on this split, for those of `keys` that have them."""
        table = schema.scores
        query = select(table.c.trial, table.c.metrics, table.c.tables, table.c.seconds).where(table.c.split == split)
        with self._database.read() as connection:
            found = {row["trial"]: row for row in where_in(connection, query, table, "trial", keys)}
        return {
            key: {
                "metrics": to_dict(found[key]["metrics"]),
                "tables": to_dict(found[key]["tables"]),
                "seconds": float(found[key]["seconds"]),
            }
            for key in keys
            if key in found
        }

    def units(self, key: str, split: str) -> dict[str, Any] | None:
        """Columns of per-unit values of a trial on a split, of equal length; None where it has no scores there."""
        table = schema.scores
        rows = self._rows(select(table.c.units).where(table.c.trial == key, table.c.split == split))
        return journal.unpack(rows[0]["units"]) if rows else None

    @persistent
    def keep_weights(self, content_hash: str, bytes_size: int, trial_key: str) -> None:
        """Note that a trial's weights of this content hash and size in bytes are kept; twice is once.

        Raises RegistrationError for a trial that was never planned.
        """
        table = schema.weights
        with self._database.write() as connection:
            self._planned(connection, trial_key)
            same = select(table).where(table.c.hash == content_hash, table.c.trial == trial_key)
            row = one(connection, same)
            change = Change(connection)
            if row is None:
                values = {"hash": content_hash, "size": bytes_size, "trial": trial_key, "state": "kept"}
                change.insert(table, [values])
            elif row["state"] != "kept":
                change.update(table, row, state="kept")
            else:
                return
            change.event("weights-kept", {"hash": content_hash, "trial": trial_key})

    @persistent
    def drop_weights(self, content_hash: str) -> None:
        """Note that the weights of this content hash were deleted, for every trial that had them; twice is once."""
        table = schema.weights
        with self._database.write() as connection:
            kept = select(table).where(table.c.hash == content_hash, table.c.state == "kept")
            rows = connection.execute(kept).mappings().all()
            change = Change(connection)
            for row in rows:
                change.update(table, row, state="dropped")
            if rows:
                change.event("weights-dropped", {"hash": content_hash})

    def weights(self) -> list[dict[str, Any]]:
        """All weights ever kept, in order: hash, size in bytes, trial, state ("kept" or "dropped")."""
        return [without_seq(row) for row in self._rows(select(schema.weights).order_by(schema.weights.c.seq))]


def _trial(row: RowMapping) -> dict[str, Any]:
    result = row["result"]
    return without_seq(row) | {"plan": to_dict(row["plan"]), "result": None if result is None else to_dict(result)}
