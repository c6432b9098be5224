"""What a person wrote, as plain tables: claim files in TOML, and KEY=VALUE words of a command line.

Nothing here trusts what it reads: size, depth and count have limits, a value is text, a finite number, true or false,
and no text can steer a terminal. Every refusal comes before anything is made or imported.
"""

from __future__ import annotations

import math
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novum.config import flaw, plain, shown
from novum.errors import ConfigError, DataError

MAX_BYTES = 1_000_000
DEEPEST = 32
"""Levels of tables and lists within each other; a claim needs about six."""
MOST_VALUES = 20_000
MOST_TOKENS = 10 * MOST_VALUES
LONGEST_KEY = 200
LONGEST_TEXT = 10_000
WHOLE = 2**63
"""Whole numbers lie from -2**63 to 2**63 - 1, as TOML has them."""

_TOKEN = re.compile(
    r"""(?P<text>"{3}(?:[^\\"]|\\.|"(?!""))*+"{3,5}|'{3}(?:[^']|'(?!''))*+'{3,5}"""
    r"""|"(?!"")(?:[^"\\\n]|\\.)*+"|'(?!'')[^'\n]*+')|(?P<broken>["'])|(?P<comment>\#[^\n]*+)"""
    r"""|(?P<open>[\[{])|(?P<close>[\]}])|(?P<dot>\.)|(?P<word>[\w \t-]++)|(?P<other>[^\w \t\-"'#\[\]{}.]++)""",
    re.DOTALL,
)


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MB. Raises DataError or ConfigError with the place of the fault."""
    name = plain(str(path), 300)
    content = _content(path)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        raise ConfigError(
            f"{name}: a claim file is TOML, and this is called {path.suffix}; write a .toml file: `claim: x` or "
            '"claim": "x" is claim = "x" there, and a nested table begins with its own line, [tasks.NAME].'
        )
    bare = content.removeprefix(b"\xef\xbb\xbf")  # the mark that some editors put before UTF-8
    try:
        text = bare.decode()
    except UnicodeDecodeError as error:
        where = _place(content, error.start + len(content) - len(bare))
        raise ConfigError(
            f"{name}: not valid TOML: byte 0x{bare[error.start]:02x} at {where} is not UTF-8; save the file as UTF-8."
        ) from None
    if "\0" in text:
        raise ConfigError(
            f"{name}: not valid TOML: a NUL byte at {_place(content, content.index(0))}; this is no text file, or it "
            "is damaged: write it anew."
        )
    try:
        return _loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: not valid TOML: {plain(str(error), 300)}.") from None


def _content(path: Path) -> bytes:
    """The bytes of a file: never more than 1 MB is read, and only a regular file is opened."""
    name = shown(str(path), 300)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
            raise DataError(f"{name} is {kind}, no claim file; give the path of a .toml file.")
        if found.st_size > MAX_BYTES:
            raise ConfigError(f"{plain(str(path), 300)}: {found.st_size} bytes; a claim file has at most {MAX_BYTES}.")
        # it may have become a pipe since; without O_NONBLOCK its opening would wait for a writer
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        raise DataError(f"no claim file at {name}; give the path of a .toml file.") from None
    except OSError as error:
        raise DataError(f"the claim file {name} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:  # such as those of /proc, which say that they are empty
        raise ConfigError(f"{plain(str(path), 300)}: too large; a claim file has at most {MAX_BYTES} bytes.")
    return content


def _place(content: bytes, offset: int) -> str:
    line = content.count(b"\n", 0, offset) + 1
    return f"offset {offset} (line {line})"


def _loads(text: str) -> dict[str, Any]:
    """Parse TOML; ValueError says why not."""
    reason = _too_much(text)
    if reason is not None:
        raise ValueError(reason)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError):  # int() has a limit of its own
        raise ValueError("it holds a number of thousands of digits") from None


def _too_much(text: str) -> str | None:
    """Why a text is not given to the parser, else None. Linear in the text.

    The parser recurses, and takes time quadratic in the length of a dotted key. This looks no further than the first
    text between quotes that does not end, where the parser will stop as well.
    """
    depth = chain = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        kind = token.lastgroup
        if kind == "broken":
            return None
        depth = max(0, depth + (kind == "open") - (kind == "close"))
        chain = chain + 1 if kind == "dot" else chain if kind in ("word", "text") else 0
        if max(depth, chain) > DEEPEST:
            line = text.count("\n", 0, token.start()) + 1
            return f"line {line} lies more than {DEEPEST} levels deep; a claim has flatter tables"
        if count > MOST_TOKENS:
            return f"it has more than {MOST_TOKENS} words and signs, many more than a claim; put data into a file"
    return None


def sound(data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError, with the option's path, for what no option may be.

    That is: not-a-number and infinity, dates, whole numbers beyond 64 bits, control characters and broken Unicode,
    more than DEEPEST levels, and texts, keys and counts beyond their limits.
    """
    left: list[tuple[tuple[str, ...], Any]] = [((), data)]
    count = 0
    while left:
        path, value = left.pop()
        at = f"{where}: {plain('.'.join(path))}" if path else where
        count += 1
        if count > MOST_VALUES:
            raise ConfigError(f"{where}: more than {MOST_VALUES} values; put what is so much into a file of data.")
        if len(path) > DEEPEST:
            raise ConfigError(f"{at}: lies more than {DEEPEST} levels deep; write flatter tables.")
        if isinstance(value, Mapping):
            for key in value:
                _check_key(key, at)
            left += reversed([((*path, key), each) for key, each in value.items()])
        elif isinstance(value, list):
            left += reversed([((*path, str(place)), each) for place, each in enumerate(value)])
        else:
            _check_value(value, path, at)


def _check_key(key: str, at: str) -> None:
    if len(key) > LONGEST_KEY:
        raise ConfigError(f"{at}: the key {shown(key)} is longer than {LONGEST_KEY} characters; shorten it.")
    bad = flaw(key)
    if bad is not None:
        raise ConfigError(f"{at}: the key {shown(key)} holds {bad}; take it out.")


def _check_value(value: Any, path: tuple[str, ...], at: str) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ConfigError(f"{at}: received {shown(value)}; a text has at most {LONGEST_TEXT} characters.")
        bad = flaw(value, allowed="\t\n\r")
        if bad is not None:
            raise ConfigError(f"{at}: received {shown(value)}, which holds {bad}; take it out.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            what = "a bar is" if path[-1] == "control" else "give"
            raise ConfigError(f"{at}: received {value!r}; {what} a finite number.")
    elif isinstance(value, int):
        if not -WHOLE <= value < WHOLE:
            raise ConfigError(f"{at}: received {shown(value)}; a whole number has at most 64 bits.")
    else:
        raise ConfigError(f"{at}: received {value}, which cannot be written as JSON; put it between quotes.")


def put(data: dict[str, Any], text: str) -> None:
    """Put what "tasks.digits.recipe.clip=1.0" says into nested tables. Raises ConfigError where it says no place."""
    path, equals, value = text.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(
            f"override {shown(text)}: write a dotted key and a value, such as tasks.digits.recipe.clip=1.0."
        )
    if len(parts) > DEEPEST:
        raise ConfigError(f"override {shown(text)}: lies more than {DEEPEST} levels deep; name an option of the claim.")
    place: Any = data
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ConfigError(f"override {shown(text)}: {shown(part)} holds a value, not a table.")
    place[parts[-1]] = value_of(value)


def value_of(text: str) -> Any:
    """A TOML value typed on a command line; what is no TOML value is taken as bare text.

    Raises ConfigError for one that is nested too deep, or a number of thousands of digits.
    """
    try:
        found = _loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    except ValueError as error:
        raise ConfigError(f"the value {shown(text)} cannot be used: {error}.") from None
    return found["value"] if len(found) == 1 else text.strip()  # a text of several lines may hold further keys
