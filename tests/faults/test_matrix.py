"""The fault matrix as a table: each row, and where it is injected. A row without a test fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROWS = {
    1: "SIGKILL of a worker in mid-trial",
    2: "SIGKILL of the loop",
    3: "SIGKILL within a commit",
    4: "Ctrl-C, SIGTERM, a second Ctrl-C",
    5: "two loops on one ledger",
    6: "a stalled worker or machine that comes back",
    7: "a full disk",
    8: "a limit on the size of files",
    9: "a checkpoint that cannot be written",
    10: "a kill while a checkpoint is written",
    11: "a corrupted checkpoint",
    12: "a damaged ledger",
    13: "a loss that is NaN or infinite",
    14: "a metric that is missing or no number",
    15: "a device out of memory",
    16: "a host out of memory",
    17: "a hang",
    18: "a clock that jumps",
    19: "a plugin that breaks, exits or crashes",
    20: "a plugin that prints, closes, changes or leaks",
    21: "malformed input",
    22: "a killed process of a data loader",
    23: "a long reader",
    24: "many writers",
    25: "a result delivered twice",
    26: "a trial resumed in the middle",
    27: "code, data or environment changed in between",
    28: "ledgers of newer and older schemas",
    29: "a kill at any event",
    30: "peeking, and results out of order",
    32: "malicious checkpoints and configurations",
}
"""Row 31 is of the web page, which does not exist yet."""


def test_the_table_names_every_row_but_the_web_page_s() -> None:
    assert sorted(ROWS) == [row for row in range(1, 33) if row != 31]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_row_of_the_fault_matrix_is_injected(row: int) -> None:
    found = re.compile(rf"^def test_row_{row}_\w+\(", re.MULTILINE)

    tests = [name for path in HERE.glob("test_*.py") for name in found.findall(path.read_text())]

    assert tests, f"no test injects row {row}: {ROWS[row]}"
