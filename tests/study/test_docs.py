"""The README and the documents: links, claims, code and commands are what they say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from jsonschema import Draft7Validator
from novum import plugins
from novum.claimfile import hypotheses
from novum.cli.app import app
from novum.schema import claim_files

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^\$? ?|`)novum ([a-z]+)(?: ([a-z]+))?", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `file` is where it is written before code runs, None where nowhere."""

    page: str
    line: int
    kind: str
    text: str
    file: str | None
    run: bool

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    text = read(page)
    for found in BLOCK.finditer(text):
        words = [word.strip() for word in (found["mark"] or "").split(",")]
        files = [word.removeprefix("file: ") for word in words if word.startswith("file: ")]
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["kind"], found["text"], files[0] if files else None, "run" in words)


BLOCKS = [block for page in PAGES for block in blocks(page)]
CLAIMS = [block for block in BLOCKS if block.kind == "toml" and re.search(r"^claim\s*=", block.text, re.M)]
CODE = [block for block in BLOCKS if block.kind == "python"]
RUN = [block for block in CODE if block.run]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", BLOCK.sub("", read(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands() -> dict[str, set[str]]:
    """Commands of the command line, each with its subcommands."""
    group = typer.main.get_command(app)
    return {name: set(getattr(command, "commands", {})) for name, command in getattr(group, "commands", {}).items()}


def test_there_are_blocks_of_every_kind() -> None:
    assert len(CLAIMS) >= 3
    assert len(RUN) >= 4
    assert len(CODE) > len(RUN)


def test_the_readme_begins_with_the_question() -> None:
    assert read("README.md").splitlines()[0] == "# Did it really help?"


def test_the_readme_shows_what_the_demo_printed() -> None:
    text = read("README.md").partition("<!-- demo:begin -->")[2].partition("<!-- demo:end -->")[0].strip()

    assert text.startswith("```text\n")
    assert text.endswith("\n```")
    assert "1 observe" in text
    assert "4 validate" in text


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    dead = []
    for target in LINK.findall(BLOCK.sub("", read(page))):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (ROOT / page).parent / path if path else ROOT / page
        if not there.exists() or (anchor and anchor not in anchors(there.resolve().relative_to(ROOT).as_posix())):
            dead.append(target)

    assert dead == []


def test_every_page_of_the_documents_is_linked_from_another() -> None:
    linked = {
        ((ROOT / page).parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(read(page))
    }

    assert [page for page in PAGES if page.startswith("docs/") and (ROOT / page).resolve() not in linked] == [
        "docs/index.md"
    ]


@pytest.mark.parametrize("block", CLAIMS, ids=lambda block: block.name)
def test_every_claim_loads(block: Block) -> None:
    found = hypotheses(tomllib.loads(block.text), block.name)

    assert len(found) == len(tomllib.loads(block.text)["treatments"])


INSTALLED = [block for block in CLAIMS if block.page != "docs/write-a-plugin.md"]
"""Claims about what is here or is shown as code: the plugin of that other page is installed by its walk alone."""


@pytest.mark.parametrize("block", INSTALLED, ids=lambda block: block.name)
def test_every_claim_fits_the_schema_that_editors_get(block: Block, tmp_path: Path) -> None:
    for number, idea in enumerate(each for each in CODE if each.page == block.page and "@novum." in each.text):
        (tmp_path / f"idea_{number}.py").write_text(idea.text, encoding="utf-8")
        plugins.read(tmp_path / f"idea_{number}.py")

    schema = Draft7Validator(claim_files()[0])

    assert [error.message for error in schema.iter_errors(tomllib.loads(block.text))] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "toml"], ids=lambda block: block.name)
def test_every_toml_block_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", CODE, ids=lambda block: block.name)
def test_every_python_block_compiles(block: Block) -> None:
    assert ast.parse(block.text, block.name).body


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_every_block_that_says_so_runs(block: Block, tmp_path: Path) -> None:
    for other in BLOCKS:
        if other.page == block.page and other.file is not None:
            (tmp_path / other.file).write_text(other.text, encoding="utf-8")
    script = tmp_path / (block.file or "script.py")
    script.write_text(block.text, encoding="utf-8")

    done = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_mentioned_exists(page: str) -> None:
    known = commands()
    unknown = [
        f"{first} {second}".strip()
        for first, second in COMMAND.findall(read(page))
        if first not in known or (known[first] and second not in known[first])
    ]

    assert unknown == []


def test_the_readme_lists_every_command() -> None:
    table = read("README.md").partition("## Commands")[2].partition("## Status")[0]
    listed = {" ".join(words).strip() for words in COMMAND.findall(table)}
    every = {f"{name} {sub}".strip() for name, subs in commands().items() for sub in subs or {""}}

    assert {name for name in every if not any(f"{line} ".startswith(f"{name} ") for line in listed)} == set()


def test_the_readme_lists_every_exit_code() -> None:
    from novum import errors
    from novum.cli.app import EXITS

    table = read("README.md").partition("| exit code |")[2].partition("## Status")[0]
    shown = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(",")}

    assert shown == {0, 130, *EXITS.values(), *(kind.exit_code for kind in errors.KINDS.values())}
