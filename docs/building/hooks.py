"""What the site needs beyond the pages in docs/: pages that are made while it is built, and links out of it.

The README, the changes and the notes for contributors stand at the root of the repository; a notebook is a page too;
and the list of every message is read from the code. All of them are made here, offline, and a link that leads nowhere
fails the build. Pages are written for GitHub, so links are followed from where the source of a page stands.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import messages
import notebooks

log = get_plugin_logger("novum")
ROOT = Path(__file__).parents[2]
OUTSIDE = {"README.md": "readme.md", "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages at the root of the repository, and what the site calls them."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def slug(text: str, separator: str) -> str:
    """A heading's anchor as GitHub makes it, so that one link serves there and here."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def on_config(config: Any) -> Any:
    """Anchors like those of GitHub; in the navigation every decision by its number, and pages that it does not name."""
    docs = ROOT / "docs"
    named = set(_named(config.nav))
    more = sorted(path.name for path in docs.glob("*.md") if path.name not in named)
    decisions = sorted(path.name for path in (docs / "decisions").glob("[0-9]*.md"))
    config.nav += [{"More": more}] if more else []
    config.nav.append({"Decisions": ["decisions/index.md", *(f"decisions/{name}" for name in decisions)]})
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def _named(nav: Any) -> Iterator[str]:
    """The pages of a navigation, as written: lists, {title: page or list}, pages."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(each)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are no Markdown file in docs/; a notebook's own file stays beside its page, to be fetched."""
    made = {name: (ROOT / source).read_text(encoding="utf-8") for source, name in OUTSIDE.items()}
    made["messages.md"] = messages.page([ROOT / "core" / "novum", *sorted(ROOT.glob("plugins/*/novum_*"))])
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{path.stem}.md"] = notebooks.page(path)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Turn links as GitHub follows them into links as the site does. A link to code becomes the path it names."""
    here = source_of(page.file.src_uri)
    pieces, at = [], 0
    for fence in FENCE.finditer(markdown):
        pieces += [LINK.sub(lambda link: _link(link, here, files), markdown[at : fence.start()]), fence.group()]
        at = fence.end()
    pieces.append(LINK.sub(lambda link: _link(link, here, files), markdown[at:]))
    return "".join(pieces)


def source_of(name: str) -> str:
    """Where the source of a page of the site stands in the repository."""
    outside = {there: source for source, there in OUTSIDE.items()}
    return outside.get(name, f"docs/{name}")


def _link(link: re.Match[str], here: str, files: Files) -> str:
    image, text, target = link.groups()
    path, hash_, anchor = target.partition("#")
    if not path or "://" in target or target.startswith("mailto:"):
        return link.group()
    there = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    name = OUTSIDE.get(there, there.removeprefix("docs/") if there.startswith("docs/") else None)
    if name is None:  # code, which is no part of the site
        if not (ROOT / there).exists():
            log.warning("%s: the link %r leads to nothing.", here, target)
        return text if text.strip("`") == there else f"{text} (`{there}`)"
    if name.endswith(".ipynb") and files.get_file_from_path(name.removesuffix("ipynb") + "md") is not None:
        name = name.removesuffix("ipynb") + "md"
    back = posixpath.relpath(name, posixpath.dirname(_site_name(here)) or ".")
    return f"{image}[{text}]({back}{hash_}{anchor})"


def _site_name(here: str) -> str:
    return OUTSIDE.get(here, here.removeprefix("docs/"))
