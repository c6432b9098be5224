"""HTML by construction: whatever is not `Markup` is escaped, so that no text of a claim can become a tag."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset(("meta", "br"))


class Markup(str):
    """Text that is HTML already. Only this module makes it, from escaped parts."""

    __slots__ = ()


Content = str | int | float | None | Iterable["Content"]
"""What an element may hold: text and numbers (escaped), Markup (kept), None (left out), or several of these."""


def element(name: str, /, *content: Content, **attributes: object) -> Markup:
    """One element. `class_` gives class, further underscores give hyphens; an attribute that is None is left out."""
    spelled = {"class" if key == "class_" else key.replace("_", "-"): value for key, value in attributes.items()}
    words = "".join(f' {key}="{escape(str(value))}"' for key, value in spelled.items() if value is not None)
    return Markup(f"<{name}{words}>" if name in VOID else f"<{name}{words}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Markup:
    """Several pieces, one after the other."""
    return Markup("".join(_piece(each) for each in content))


def trusted(text: str) -> Markup:
    """Text of this package (a style sheet, a document type), as it stands. Never for text from outside."""
    return Markup(text)


def _piece(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str | int | float):
        return escape(str(content))
    return joined(*content)
