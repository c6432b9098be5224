"""docs/write-a-plugin.md, followed from an empty folder to its verdict: each command prints what the page says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-a-plugin.md"
FAILS = "--only another_seed_gives_other_batches"
"""The page's one command that ends with a complaint, for it shows one."""
PROGRESS = re.compile(r"^\s*\d+ (?:of \d+ )?trials (?:done|took)|^\s*\d+ trials took")
"""Lines that come as often as time allows."""
NUMBER = re.compile(r"[-+]?\d[\d.,_e]*(?:\s?(?:min|ms|s|h|MB|GB)\b)?")
IDS = re.compile(r"\bh-[0-9a-f]{10}\b|\b[0-9a-f]{32,40}\b")


@pytest.fixture(scope="module")
def walk() -> ModuleType:
    """The module that follows a page."""
    spec = importlib.util.spec_from_file_location("novum_docs_walk", ROOT / "docs" / "building" / "walk.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def steps(walk: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Every command of the page with what it printed."""
    return list(walk.steps(PAGE.read_text(encoding="utf-8"), tmp_path_factory.mktemp("walk")))


def told(text: str) -> list[str]:
    """What a text tells, but for ids, numbers, spaces, and lines of progress: machines and moments decide those."""
    lines = (
        " ".join(NUMBER.sub("#", IDS.sub("ID", line)).split()) for line in text.splitlines() if not PROGRESS.match(line)
    )
    return [re.sub(r"^[.s]+ \[", "[", line) for line in lines if line]


def test_the_page_begins_with_an_empty_folder_and_ends_with_a_verdict(steps: list[Any]) -> None:
    commands = [step.command for step in steps]

    assert commands[0].startswith("novum plugins new ")
    assert "supported: " in next(step.printed for step in steps if step.command == "novum run claim.toml")


def test_every_command_ends_well_except_the_one_that_shows_a_failure(steps: list[Any]) -> None:
    codes = {step.command: step.code for step in steps if step.code}

    assert [code for command, code in codes.items() if FAILS in command] == [2]
    assert len(codes) == 1, codes


def test_every_command_prints_what_the_page_says(steps: list[Any]) -> None:
    other = {step.command: (told(step.shown), told(step.printed)) for step in steps}

    assert {command: pair for command, pair in other.items() if pair[0] != pair[1]} == {}


def test_the_page_changes_at_most_a_hundred_lines_of_the_scaffold(walk: ModuleType) -> None:
    written = [block for block in walk.BLOCK.finditer(PAGE.read_text(encoding="utf-8")) if block["path"]]
    code = [block["text"] for block in written if block["path"].endswith(".py")]

    assert len(code) == 2
    assert sum(len(text.splitlines()) for text in code) <= 100
