"""The documentation's site: what `make docs` builds, and that whoever reads it fetches nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import novum
import pytest

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
TOOLS = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python")
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Tags that make a browser fetch something, each with the attribute that says what."""
LOADED_BY_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import")
OFFLINE = ("unshare", "--map-root-user", "--net")
"""Starts a program where no other machine can be reached, on Linux."""


class Reader(HTMLParser):
    """Collects what a page fetches, and its anchors."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.anchors.add(str(named["id"]))
        fetches = tag != "link" or named.get("rel") not in ("canonical", "prev", "next")
        if tag in FETCHED and fetches and named.get(FETCHED[tag]):
            self.fetched.append(str(named[FETCHED[tag]]))


def installed(tool: str) -> bool:
    """Whether a module can be imported, its packages among them."""
    try:
        return importlib.util.find_spec(tool) is not None
    except ModuleNotFoundError:
        return False


def offline() -> list[str]:
    """How a command is begun without a network; as it is where the system offers no way."""
    begun = shutil.which("unshare") and subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode
    return list(OFFLINE) if begun == 0 else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a freshly built site."""
    if not all(installed(tool) for tool in TOOLS):
        pytest.skip("the tools of `make docs` are not installed")
    folder = tmp_path_factory.mktemp("site")
    words = [*offline(), sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}

    done = subprocess.run(words, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Reader]:
    """Every page of the site by its path."""
    return {
        path.relative_to(site).as_posix(): Reader(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }


def test_every_public_name_is_in_the_reference() -> None:
    listed = {line.removeprefix("::: ") for line in API.splitlines() if line.startswith("::: ")}

    homes = {name: novum._HOME[name] for name in novum.__all__ if name != "__version__"}

    assert {f"{home}.{name}" for name, home in homes.items()} - listed == set()


def test_every_page_and_notebook_has_a_page_of_the_site(pages: dict[str, Reader]) -> None:
    docs = ROOT / "docs"
    sources = [path for path in docs.rglob("*.md") if "building" not in path.parts and "examples" not in path.parts]
    sources += docs.glob("notebooks/*.ipynb")

    wanted = {path.relative_to(docs).with_suffix(".html").as_posix() for path in sources}

    assert wanted - set(pages) == set()
    assert {"readme.html", "changes.html", "contributing.html", "messages.html"} <= set(pages)


def test_the_reference_shows_every_public_name(pages: dict[str, Reader]) -> None:
    homes = {f"{novum._HOME[name]}.{name}" for name in novum.__all__ if name != "__version__"}

    assert homes - pages["api.html"].anchors == set()


def test_reading_it_fetches_nothing_from_elsewhere(site: Path, pages: dict[str, Reader]) -> None:
    fetched = {(page, url) for page, read in pages.items() for url in read.fetched if "//" in url.partition("?")[0]}
    styles = {path.name for path in site.rglob("*.css") if LOADED_BY_STYLE.search(path.read_text(encoding="utf-8"))}

    assert fetched == set()
    assert styles == set()


def test_a_notebook_shows_its_cells_and_what_they_printed(site: Path) -> None:
    page = (site / "notebooks" / "script.html").read_text(encoding="utf-8")

    assert "supported." in page and "exploratory run, seed 0" in page
    assert "<table" in page.partition("exploratory run, seed 0")[2]


def test_a_broken_link_fails_the_build(site: Path, tmp_path: Path) -> None:
    for name in ("docs", "core", "plugins", "mkdocs.yml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").unlink()
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "soak.md").open("a") as page:
        page.write("\n[nothing](../core/nothing.py) and [nowhere](nowhere.md)\n")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "'../core/nothing.py' leads to nothing" in done.stderr
    assert "nowhere.md" in done.stderr


def test_the_anchors_of_the_site_are_those_that_links_in_the_repository_use(pages: dict[str, Reader]) -> None:
    assert "scores-from-any-trainer" in pages["scripting.html"].anchors
    assert "a-trap-of-toml" in pages["claim-files.html"].anchors
