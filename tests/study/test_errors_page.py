"""docs/errors.md: every kind of error and every exit code, and no message that the code does not have."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from novum import errors
from novum.cli.app import EXITS

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "novum"
PACKAGES = (CORE, *sorted(ROOT.glob("plugins/*/novum_*")))
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<ticks>`+) ?(?P<message>.+?) ?(?P=ticks) \| [^|]+ \| [^|]+ \|$", re.M)
QUOTED = [row["message"] for row in ROW.finditer(PAGE)]


@pytest.fixture(scope="module")
def messages() -> ModuleType:
    """The module that lists the code's messages for the site."""
    path = ROOT / "docs" / "building" / "messages.py"
    spec = importlib.util.spec_from_file_location("novum_docs_messages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its record looks its types up
    spec.loader.exec_module(module)
    return module


def sections() -> dict[int, str]:
    """The page's parts by exit code."""
    parts = re.split(r"^## ", PAGE, flags=re.M)
    return {int(part[10]): part for part in parts if part.startswith("Exit code ")}


@functools.cache
def kinds() -> dict[str, type[errors.NovumError]]:
    """Every class of error below `NovumError` that the core's code defines, wherever it stands."""
    classes = {
        node.name: (path, [ast.unparse(base).rpartition(".")[2] for base in node.bases])
        for path in CORE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    found, more = {"NovumError"}, True
    while more:
        new = {name for name, (_, bases) in classes.items() if found & set(bases)} - found
        found, more = found | new, bool(new)
    return {name: getattr(importlib.import_module(_module(classes[name][0])), name) for name in found}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_every_kind_of_error_has_an_entry_below_its_exit_code() -> None:
    shown = {code: re.findall(r"^### (\w+)$", part, re.M) for code, part in sections().items()}

    assert {name: code for code, names in shown.items() for name in names} == {
        name: kind.exit_code for name, kind in kinds().items()
    }


def test_every_exit_code_has_a_line() -> None:
    table = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)}

    assert codes == {0, 130, *EXITS.values(), *(kind.exit_code for kind in kinds().values())}


def test_every_line_of_its_tables_of_messages_is_read_by_these_tests() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]

    assert len(rows) == len(QUOTED) > 50


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_of_the_page_stands_in_the_code(message: str, messages: ModuleType) -> None:
    assert any(message in text for text in messages.texts(PACKAGES))


def test_the_list_of_messages_knows_every_kind_and_its_exit_code(messages: ModuleType) -> None:
    assert {name: kind.exit_code for name, kind in kinds().items()} == messages.EXITS


def test_the_list_of_messages_has_those_of_the_core_and_of_the_plugins(messages: ModuleType) -> None:
    page = messages.page(PACKAGES)

    assert "the split is empty: 0 examples; check the file, its filters and the split's shares." in page
    assert "### ConfigError in novum_rl.environment" in page
    assert page.count("\n- `") > 300
