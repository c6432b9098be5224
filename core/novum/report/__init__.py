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

__all__ = ["gather", "render", "write"]


def write(ledger: Ledger, folder: Path, hypothesis_id: str) -> Path:
    """Write `folder/reports/<id>.html`, all of it or nothing, and return its path.

    Raises StudyError for an unknown hypothesis or a folder that cannot be written, RegistrationError where the plan
    was edited.
    """
    page = render(gather(ledger, hypothesis_id))
    path = folder / "reports" / f"{hypothesis_id}.html"
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
