"""Strict, documented, immutable configuration: the base of every plugin's `Config`.

Unknown keys are errors with the closest known key; not-a-number is refused; every field is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from novum.errors import ConfigError, closest


class Config(BaseModel):
    """Base of a plugin's nested `Config`. Use tuples, not lists, in fields: the whole is immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


C = TypeVar("C", bound=BaseModel)


def parse(kind: type[C], options: Mapping[str, Any], where: str) -> C:
    """Validate `options` as `kind`.

    Raises ConfigError, one line per fault: the path, the value received, what is allowed. `where` names the
    place the options came from, such as "task 'gym'".
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(kind, fault, where) for fault in error.errors())) from None


def _line(kind: type[BaseModel], fault: Any, where: str) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        owner = _owner(kind, fault["loc"])
        allowed = closest(str(fault["loc"][-1]), owner.model_fields) if owner else "remove it"
        return f"{where}: unknown option {path!r} (value {fault['input']!r}); {allowed}."
    if fault["type"] == "missing":
        field = kind.model_fields.get(path)
        about = f" ({field.description})" if field is not None and field.description else ""
        return f"{where}: option {path!r} is required{about}; add it."
    message = fault["msg"].removeprefix("Value error, ")
    at = f" option {path!r} received {fault['input']!r}:" if path else ""
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
