"""The report of a hypothesis: one self-contained HTML file that opens anywhere and loads nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from novum.errors import StudyError
from novum.report.gather import gather
from novum.report.html import render

if TYPE_CHECKING:
    from novum.ledger import Ledger
    from novum.lineage import Lineage

__all__ = ["gather", "render", "write", "write_loop"]


def write(ledger: Ledger, folder: Path, hypothesis_id: str) -> Path:
    """Write `folder/reports/<id>.html`, all of it or nothing, and return its path.

    Raises StudyError for an unknown hypothesis or a folder that cannot be written, RegistrationError where the plan
    was edited.
    """
    return _put(folder / "reports" / f"{hypothesis_id}.html", render(gather(ledger, hypothesis_id)))


def write_loop(lineage: Lineage, folder: Path) -> Path:
    """Write `folder/reports/loop-<name>.html`, all of it or nothing, and return its path. Raises StudyError where the
    folder cannot be written.
    """
    from novum.report.lineage import render as page

    name = "".join(each if each.isalnum() or each in "-_" else "-" for each in lineage.goal.name)
    return _put(folder / "reports" / f"loop-{name}.html", page(lineage))


def _put(path: Path, page: str) -> Path:
    draft = path.with_suffix(".html.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StudyError(
            f"the report {path} cannot be written ({error.strerror or error}); free some space or change the "
            "folder's permissions, and write it again."
        ) from None
    return path
