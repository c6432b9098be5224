"""What stands beside the ledger so that it can be rebuilt: `kept/` in the study's folder.

`kept/<trial>.json.gz` are results (see `novum.executors.spool`), `kept/hypotheses/` registered claims with their plans
and accounts, `kept/openings/` openings of splits. Each file is written after its row was committed, so that whatever
stands here and not in the ledger tells that the ledger lost it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.arm import canonical, fingerprint
from novum.errors import StudyError
from novum.executors import spool

if TYPE_CHECKING:
    from novum.ledger import Ledger

PARTS = ("hypotheses", "openings")


def sync(ledger: Ledger, folder: Path) -> None:
    """Write the files that are missing. Raises OSError where the disk refuses; the ledger has it all the same."""
    hypotheses = {row["id"]: row for row in ledger.hypotheses()}
    for id in hypotheses.keys() - names(folder, "hypotheses"):
        _write(folder, "hypotheses", id, {"hypothesis": hypotheses[id], "experiment": ledger.experiment(id)})
    openings = {_name(row): row for row in ledger.openings()}
    for name in openings.keys() - names(folder, "openings"):
        _write(folder, "openings", name, openings[name])


def behind(ledger: Ledger, folder: Path) -> list[str]:
    """What stands in the files and not in the ledger, in words; empty for a ledger that has lost nothing."""
    found = []
    hypotheses = names(folder, "hypotheses") - {row["id"] for row in ledger.hypotheses()}
    if hypotheses:
        found.append(f"{len(hypotheses)} registered claims")
    openings = names(folder, "openings") - {_name(row) for row in ledger.openings()}
    if openings:
        found.append(f"{len(openings)} openings of a split")
    kept = names(folder)
    if kept:
        results = kept - ledger.finished()
        if results:
            found.append(f"{len(results)} results of trials")
    return found


def refuse_headless(folder: Path) -> None:
    """Raise StudyError where results are kept but the ledger is gone: a new one would not know of them."""
    file = folder / "ledger.sqlite"
    gone = not file.exists() or file.stat().st_size == 0
    if gone and (names(folder) or names(folder, "hypotheses") or any(folder.glob("ledger.sqlite.damaged-*"))):
        raise StudyError(
            f"the ledger of {folder} is gone, and its results are still there; `novum repair` rebuilds it from them, "
            "or put the file back. Nothing was changed."
        )


def names(folder: Path, part: str = "") -> set[str]:
    """Names of the files that are kept, without reading them: of results, hypotheses or openings."""
    return {path.name.removesuffix(spool.SUFFIX) for path in (folder / spool.KEPT / part).glob(f"*{spool.SUFFIX}")}


def read(folder: Path, part: str) -> Iterator[tuple[Path, Mapping[str, Any] | None]]:
    """The files of a part, in order; None for one that cannot be read."""
    for path in sorted((folder / spool.KEPT / part).glob(f"*{spool.SUFFIX}")):
        try:
            yield path, dict(json.loads(gzip.decompress(path.read_bytes())))
        except (OSError, EOFError, ValueError, TypeError, zlib.error):
            yield path, None


def _name(opening: Mapping[str, Any]) -> str:

    return fingerprint({name: opening[name] for name in ("hypothesis", "split", "purpose", "keys")})


def _write(folder: Path, part: str, name: str, record: Mapping[str, Any]) -> None:
    home = folder / spool.KEPT / part
    home.mkdir(parents=True, exist_ok=True)
    spool.put(home / f"{name}{spool.SUFFIX}", gzip.compress(canonical(record).encode(), compresslevel=1, mtime=0))
