"""What a language model answered: read strictly, and held against where the loop stands. Nothing of it is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from novum.config import flaw, parse, plain, shown
from novum.errors import ConfigError, closest
from novum.proposers.asking import facts
from novum.standing import Change

if TYPE_CHECKING:
    from novum.standing import Standing

LONGEST = 400
"""Characters of a refusal."""
FENCE = re.compile(r"```[A-Za-z]*[ \t]*\r?\n(.*?)```", re.DOTALL)


class Proposed(BaseModel):
    """One hypothesis as the model writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    tasks: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=64)]
    options: Annotated[dict[str, Any], Field(min_length=1, max_length=16)]
    claim: Annotated[str, Field(min_length=1, max_length=300)]
    because: Annotated[str, Field(max_length=1000)] = ""
    rests_on: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=32)] = []
    gain: Annotated[float, Field(gt=0, le=1)] = 0.05


class Answer(BaseModel):
    """The whole answer; each hypothesis is read for itself, so that a bad one spoils no good one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    hypotheses: list[Any]


@dataclass(frozen=True)
class Read:
    """changes: what can be tested, in the order given. refusals: why the rest cannot, one sentence each."""

    changes: tuple[Change, ...]
    refusals: tuple[str, ...]


def content(reply: Mapping[str, Any]) -> str:
    """The text of a chat completion; empty where it has none."""
    try:
        found = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def read(text: str, standing: Standing, most: int) -> Read:
    """The first `most` hypotheses of an answer, those that can be tested and why the others cannot."""
    try:
        answer = parse(Answer, _object(text), "the answer")
    except ConfigError as error:
        return Read((), (_short(str(error)),))
    changes, refusals = list[Change](), list[str]()
    if len(answer.hypotheses) > most:
        refusals.append(f"{len(answer.hypotheses) - most} hypotheses beyond the {most} asked for")
    for at, each in enumerate(answer.hypotheses[:most], 1):
        try:
            change = _change(each, standing)
            if change.key in {other.key for other in changes}:
                _refuse("it is the same change as one before it")
            changes.append(change)
        except ConfigError as error:
            refusals.append(_short(f"hypothesis {at}: {error}"))
    if not answer.hypotheses:
        refusals.append("the answer holds no hypothesis")
    return Read(tuple(changes), tuple(refusals))


def _object(text: str) -> Mapping[str, Any]:
    """The JSON object that a text is, or holds in a fence."""
    fenced = FENCE.search(text)
    for each in (text, *([fenced[1]] if fenced else [])):
        try:
            found = json.loads(each, parse_constant=_constant)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    raise ConfigError(f"the answer is no JSON object with the key 'hypotheses'; it begins {shown(text[:100])}.")


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _change(written: Any, standing: Standing) -> Change:
    if not isinstance(written, dict):
        _refuse(f"it is {shown(written)}, and no object")
    found = parse(Proposed, written, "it")
    words = {name: re.sub(r"[ \t\r\n]+", " ", getattr(found, name)).strip() for name in ("claim", "because")}
    for name, text in words.items():
        wrong = flaw(text)
        if wrong is not None:
            _refuse(f"{name} holds {wrong}")
    group = next((each for each in standing.groups() if sorted(each) == sorted(found.tasks)), None)
    if group is None:
        _refuse(
            f"tasks: received {shown(found.tasks)}; allowed: {' or '.join(str(list(g)) for g in standing.groups())}"
        )
    for path, value in found.options.items():
        _check_option(path, value, group, standing)
    known = facts(standing)
    for name in found.rests_on:
        if name not in known:
            _refuse(f'rests_on: there is no fact {shown(name)}; give ids from "facts" alone')
    whole = {path: standing.spaces[group[0]][path].whole for path in found.options}
    options = {path: int(value) if whole[path] else value for path, value in found.options.items()}
    change = Change(group, options, words["claim"], words["because"], tuple(dict.fromkeys(found.rests_on)), found.gain)
    if not standing.allows(change):
        _refuse("it changes nothing: the baseline has these values")
    if standing.known(change):
        _refuse("this change was claimed before")
    return change


def _check_option(path: str, value: Any, group: tuple[str, ...], standing: Standing) -> None:
    for task in group:
        space = standing.spaces[task]
        if path not in space:
            _refuse(f"options: {shown(path)} may not change on {task}; {closest(path[:100], space)}")
        plain_value = isinstance(value, str | int | float) or value is None or bool(space[path].choices)
        try:
            held = plain_value and space[path].holds(value)
        except (ValueError, RecursionError, OverflowError):
            held = False
        if not held:
            _refuse(f"options: {path}: received {shown(value)}; allowed on {task}: {space[path]}")


def _refuse(why: str) -> NoReturn:
    raise ConfigError(why)


def _short(text: str) -> str:
    return plain(" ".join(text.split()), LONGEST)
