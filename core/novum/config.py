"""Strict, documented, immutable configuration: the base of every plugin's `Config`.

Unknown keys are errors with the closest known key; not-a-number is refused; every field is described.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from novum.errors import ConfigError, closest


class Config(BaseModel):
    """Base of a plugin's nested `Config`. Use tuples, not lists, in fields: the whole is immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


C = TypeVar("C", bound=BaseModel)

LONGEST = 80
"""Characters of a value that an error message shows."""
FAULTS = 10
"""Faults that one error message tells; a file may have thousands."""
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a text read otherwise than it is written."""


def shown(value: object, most: int = LONGEST) -> str:
    """A value as an error message shows it: on one line, with nothing that steers a terminal, and shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits has no decimal text
        text = f"<{type(value).__name__}, too large to show>"
    return plain(text, most)


def plain(text: str, most: int = LONGEST) -> str:
    """A text on one line, unprintable characters escaped, with the length told where it is cut at `most`."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
    return cut if cut.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in cut)


def flaw(text: str, allowed: str = "") -> str | None:
    """What no text from a file may hold, with its place: control characters, broken Unicode, turned reading directions.

    None where there is nothing of it; `allowed` names control characters that may be there.
    """
    if text.isprintable():
        return None
    for place, each in enumerate(text, 1):
        if each not in allowed and (unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in _DIRECTIONS):
            return f"the unprintable character U+{ord(each):04X} at character {place}"
    return None


def parse(kind: type[C], options: Mapping[str, Any], where: str) -> C:
    """Validate `options` as `kind`.

    Raises ConfigError, one line per fault (the first ten): the path, the value received, what is allowed. `where`
    names the place the options came from, such as "task 'gym'".
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = _shortened(_line(kind, fault, where) for fault in faults[:FAULTS])
        more = [f"{where}: and {len(faults) - FAULTS} faults more."] if len(faults) > FAULTS else []
        raise ConfigError("\n".join(lines + more)) from None


def _shortened(lines: Iterable[str]) -> list[str]:
    """Lines that say what is allowed in full only the first time."""
    found: list[str] = []
    told: set[str] = set()
    for line in lines:
        head, word, allowed = line.partition("allowed: ")
        found.append(f"{head}{word}as above." if allowed in told and len(allowed) > LONGEST else line)
        told.add(allowed)
    return found


def _line(kind: type[BaseModel], fault: Any, where: str) -> str:
    path = plain(".".join(str(part) for part in fault["loc"]))
    if fault["type"] == "extra_forbidden":
        owner = _owner(kind, fault["loc"])
        allowed = closest(str(fault["loc"][-1])[:LONGEST], owner.model_fields) if owner else "remove it"
        return f"{where}: unknown option {path!r} (value {shown(fault['input'])}); {allowed}."
    if fault["type"] == "missing":
        field = kind.model_fields.get(path)
        about = f" ({field.description})" if field is not None and field.description else ""
        return f"{where}: option {path!r} is required{about}; add it."
    message = plain(fault["msg"].removeprefix("Value error, "), 1000)
    at = f" option {path!r} received {shown(fault['input'])}:" if path else ""
    return f"{where}:{at} {message[:1].lower()}{message[1:]}."


def _owner(kind: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that the last part of a path was looked up in; None where the path leads through no models."""
    found, parts = kind, iter(path[:-1])
    for part in parts:
        field = found.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        if get_origin(annotation) in (dict, list, tuple):
            next(parts, None)  # a name or a position within the collection
        inner = next((each for each in (annotation, *get_args(annotation)) if _is_model(each)), None)
        if inner is None:
            return None
        found = inner
    return found


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
