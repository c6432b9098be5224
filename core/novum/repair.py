"""Rebuild a damaged ledger from what of it can still be trusted and from the results kept beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import archive, disk, pieces
from novum.arm import canonical
from novum.errors import NovumError, StudyError
from novum.executors import spool

if TYPE_CHECKING:
    from novum.ledger import Ledger
    from novum.ledger.salvage import Salvage

FILE = "ledger.sqlite"
SCRATCH = ".repairing"
GRAVE = f"{FILE}.damaged-"


@dataclass(frozen=True)
class Repair:
    """What a repair did. fault: what was wrong, None where nothing was, and then nothing was changed.

    moved: where the damaged file lies now. restored: counts by what they are, from the file and from kept results.
    lost: in sentences, what could not be rebuilt.
    """

    fault: str | None
    moved: Path | None
    restored: dict[str, int]
    lost: tuple[str, ...]


def repair(folder: Path) -> Repair:
    """Repair the ledger in `folder`, whose lock the caller holds. The damaged file is moved aside, never deleted.

    No verdict is made: what the old ledger's intact events vouch for is kept, and a claim that has no verdict then is
    run again, which trains what is missing. Raises StudyError where there is nothing to rebuild from.
    """
    from novum.ledger import Ledger
    from novum.ledger.salvage import Salvage, salvage

    damaged = _damaged(folder)
    if damaged is not None and damaged.name == FILE:
        fault = _fault(folder)
        if fault is None:
            return Repair(None, None, {}, ())
    told = Salvage() if damaged is None else salvage(damaged)
    if not told.found and not archive.names(folder) and not archive.names(folder, "hypotheses"):
        raise StudyError(
            f"nothing can be rebuilt in {folder}: {told.fault or 'there is no ledger'}, and no results are kept beside "
            "it. Restore a copy of the folder."
        )
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    with Ledger.open(scratch) as ledger:
        restored, lost = _fill(ledger, folder, told, damaged)
        ledger.verify()
    moved = _swap(folder, scratch)
    fault = told.fault or ("it lacks what is kept beside it" if damaged is not None else "it is gone")
    return Repair(fault, moved or damaged, restored, lost)


def _damaged(folder: Path) -> Path | None:
    """The file to read: the ledger, or the one that an interrupted repair moved aside; None where both are gone."""
    if (folder / FILE).exists():
        return folder / FILE
    graves = sorted(folder.glob(f"{GRAVE}[0-9]*"), key=lambda path: int(path.name.removeprefix(GRAVE).split("-")[0]))
    whole = [path for path in graves if path.name.removeprefix(GRAVE).isdigit()]
    return whole[-1] if whole else None


def _fault(folder: Path) -> str | None:
    """What is wrong with the ledger, in words; None where it is whole and holds all that is kept beside it."""
    from novum.ledger import Ledger

    try:
        with Ledger.open(folder, create=False) as ledger:
            ledger.verify()
            lacking = archive.behind(ledger, folder)
    except NovumError as error:
        if "newer Novum" in str(error) or "another program" in str(error):
            raise
        return str(error)
    return f"it lacks {', '.join(lacking)}" if lacking else None


def _fill(ledger: Ledger, folder: Path, told: Salvage, damaged: Path | None) -> tuple[dict[str, int], tuple[str, ...]]:
    from novum.ledger.salvage import rebuild

    _leave_out_the_torn(told)
    rebuild(ledger, told.rows, {"file": None if damaged is None else damaged.name, "fault": told.fault})
    from_file = {name: len(rows) for name, rows in told.rows.items() if rows}
    unreadable: list[str] = []
    claims = 0
    for path, record in archive.read(folder, "hypotheses"):
        if record is None:
            unreadable.append(_aside(folder, path))
        elif ledger.hypothesis_by_fingerprint(record["hypothesis"]["fingerprint"]) is None:
            claims += _claim(ledger, record)
    results = 0
    for path in sorted((folder / spool.KEPT).glob(f"*{spool.SUFFIX}")):
        found = _quietly(path)
        if found is None:
            unreadable.append(_aside(folder, path))
        else:
            results += _result(ledger, found)
    openings = 0
    known = {row["purpose"] + str(row["hypothesis"]) + row["split"] for row in ledger.openings()}
    for path, record in archive.read(folder, "openings"):
        if record is None:
            unreadable.append(_aside(folder, path))
        elif record["purpose"] + str(record["hypothesis"]) + record["split"] not in known:
            openings += _opening(ledger, record)
    for row in ledger.weights():
        if row["state"] == "kept" and not (folder / "weights" / row["hash"]).is_dir():
            ledger.drop_weights(row["hash"])
    restored = {f"{name} from the ledger": count for name, count in from_file.items()}
    kept = {"claims": claims, "results of trials": results, "openings": openings}
    restored |= {f"{name} from kept files": count for name, count in kept.items() if count}
    return restored, tuple(_lost(ledger, told, unreadable))


def _leave_out_the_torn(told: Salvage) -> None:
    """A trial whose scores or whose plan are missing comes back from its kept result, or runs again."""
    torn = {name.split("/")[1] for name in told.missing if name.startswith("scores/")}
    for table, column in (("trials", "key"), ("scores", "trial"), ("weights", "trial")):
        told.rows[table] = [row for row in told.rows.get(table, []) if row[column] not in torn]
    trials = {row["key"] for row in told.rows["trials"]}
    for table in ("scores", "weights"):
        told.rows[table] = [row for row in told.rows[table] if row["trial"] in trials]
    hypotheses = {row["id"] for row in told.rows.get("hypotheses", [])}
    for table in ("experiments", "streams", "openings", "verdicts"):
        told.rows[table] = [row for row in told.rows.get(table, []) if row["hypothesis"] in (None, *hypotheses)]
    planned = {row["hypothesis"] for row in told.rows["experiments"]}
    told.rows["hypotheses"] = [row for row in told.rows.get("hypotheses", []) if row["id"] in planned]
    for table in ("streams", "openings", "verdicts"):
        told.rows[table] = [row for row in told.rows[table] if row["hypothesis"] in (None, *planned)]
    known = {row["hypothesis"] for row in told.rows["streams"]}
    for row in told.rows["hypotheses"]:  # a claim's record tells what it took from its goal's account
        account = json.loads(row["content"]).get("stream")
        if account and row["id"] not in known:
            lists = {name: canonical(list(account[name])) for name in ("finished", "rejections")}
            told.rows["streams"].append({**account, **lists, "hypothesis": row["id"], "time": row["time"]})
    for row in told.rows.get("trials", []):
        if row["state"] == "running":
            row["state"] = "planned"


def _aside(folder: Path, path: Path) -> str:
    """Put a file that cannot be read out of the way, and name it."""
    path.replace(path.with_name(f"{path.name}.unreadable"))
    return str(path.relative_to(folder))


def _claim(ledger: Ledger, record: Any) -> bool:
    hypothesis, experiment = record["hypothesis"], record["experiment"]
    try:
        ledger.register([(hypothesis, experiment)])
    except NovumError:  # an account of its goal before it is lost: it stands alone, and is told of below
        return False
    return True


def _result(ledger: Ledger, found: spool.Spooled) -> bool:
    """Put a kept result into the ledger where it is missing there."""
    if found.value is None or not found.about:
        return False
    row = ledger.trial(found.id)
    if row is None:
        ledger.plan_trials([found.about])
        row = ledger.trial(found.id)
    assert row is not None
    attempt = int(row["attempts"])
    if row["state"] in ("done", "diverged", "failed") or attempt > found.attempt:
        return False
    while attempt < found.attempt:
        attempt = ledger.start(found.id)
    return pieces.keep(ledger, found.id, found.attempt, found.value) != "superseded"


def _opening(ledger: Ledger, record: Any) -> bool:
    try:
        ledger.open_split(record["hypothesis"], record["split"], record["keys"], record["purpose"])
    except NovumError:  # of a hypothesis that is lost
        return False
    return True


def _quietly(path: Path) -> spool.Spooled | None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told at the end, with all the others
        return spool.load(path, "it stays where it is")


def _lost(ledger: Ledger, told: Salvage, unreadable: list[str]) -> list[str]:
    """What the old ledger's events promised and the new one does not hold, in sentences."""
    trials = {row["key"]: str(row["state"]) for row in ledger.trials()}
    registered = {row["id"] for row in ledger.hypotheses()}
    lost = []
    names: dict[str, list[str]] = {}
    for name in sorted(told.missing):
        table, _, label = name.partition("/")
        names.setdefault(table, []).append(label)
    again = [key for key in names.get("trials", []) if trials.get(key) not in ("done", "diverged", "failed")]
    if again:
        lost.append(f"{len(again)} trials, which run again when their claim does: {_some(again)}")
    claims = [id for id in names.get("hypotheses", []) if id not in registered]
    if claims:
        lost.append(f"{len(claims)} registered claims, which have to be registered anew: {_some(claims)}")
    accounts = [id for id in names.get("streams", []) if id in registered and not _has_account(ledger, id)]
    if accounts:
        lost.append(f"the accounts of {_some(accounts)}: what they spent of their goal's error rate is not known")
    verdicts = [id for id in names.get("verdicts", []) if id in registered]
    if verdicts:
        lost.append(f"the verdicts of {_some(verdicts)}: run their claims again, which decides from the same rows")
    for table, what in (
        ("observations", "observations"),
        ("openings", "openings of a split"),
        ("sessions", "sessions"),
    ):
        if table in names:
            lost.append(f"{len(names[table])} {what}, as they stood in the damaged file")
    if unreadable:
        lost.append(f"{len(unreadable)} kept files that cannot be read: {_some(unreadable)}")
    return lost


def _has_account(ledger: Ledger, hypothesis: str) -> bool:
    return any(row["hypothesis"] == hypothesis for row in ledger.streams())


def _some(names: list[str]) -> str:
    shown = [name[:40] for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _swap(folder: Path, scratch: Path) -> Path | None:
    """Put the new ledger in the old one's place; returns where the old one lies now."""
    old = [path for suffix in ("", "-wal", "-shm") if (path := folder / f"{FILE}{suffix}").exists()]
    moved = None
    if old:
        number = 1 + sum(path.name.removeprefix(GRAVE).isdigit() for path in folder.glob(f"{GRAVE}*"))
        for path in reversed(old):  # the file itself last: as long as it stands, the repair is to be done again
            path.replace(folder / f"{GRAVE}{number}{path.name.removeprefix(FILE)}")
        moved = folder / f"{GRAVE}{number}"
    (scratch / FILE).replace(folder / FILE)
    disk.sync(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    return moved
