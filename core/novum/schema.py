"""The JSON Schema of claim files, so that editors complete and check them while a person writes.

It is made anew from what is installed: the keys of `ClaimFile`, the recipe, and for each plugin its `Config`. It says
what a table may hold; what only the whole claim can tell (a plugin that nobody names, arms that are equal) is found
when the claim is loaded. Draft 7, which is what editors for TOML read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from novum import plugins
from novum.claimfile import LONGEST_CLAIM, LONGEST_NAME, ClaimFile, Override, TaskTable
from novum.errors import PluginError
from novum.recipe import Recipe

DRAFT = "http://json-schema.org/draft-07/schema#"
TABLES = ("task", "model", "evaluator")
"""Kinds of plugins that have a table of their own in an arm."""
CODED = (*TABLES, "technique")
"""Kinds of plugins that are imported for the schema."""
UNITS = ("epoch", "epochs", "sample", "samples", "step", "steps", "unit", "units")
"""What may follow the number of a budget, in small or capital letters (see `novum.recipe.amount`)."""
_WORD = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in unit) for unit in UNITS)
BUDGET = rf"^\s*[0-9]+(_[0-9]+)*(\.[0-9]+)?\s*({_WORD})?\s*$"
NAMED = rf"^(?![.\- ])[^/\\]{{1,{LONGEST_NAME}}}(?<! )$"
SCOPE = r"^(all|average|at_least\(\s*[1-9][0-9]*\s*\))$"

Schema = dict[str, Any]
Unsound = Mapping[tuple[str, str], str]


def claim_files(unsound: Unsound = MappingProxyType({})) -> tuple[Schema, dict[str, str]]:
    """The schema, and the plugins whose options it leaves free because they cannot be loaded: {"kind name": why}.

    Imports every task, model, evaluator and technique that is installed or was handed in by `novum --load`, but for
    those of which it is known that they do not load: `unsound`, {(kind, name): why}.
    """
    left_out: dict[str, str] = {}
    definitions: Schema = {}
    for kind in TABLES:
        definitions[kind] = _table(kind, definitions, left_out, unsound)
    definitions["techniques"] = _techniques(definitions, left_out, unsound)
    definitions["recipe"] = _recipe(definitions)
    own, names = _own(Override, definitions)
    definitions["changes"] = _closed(own | _arm_tables() | {"start_from": _ref("changes")}, names)
    task, names = _own(TaskTable, definitions)
    task |= _arm_tables() | {"start_from": _ref("changes"), "control": _control(), "treatments": _many("changes")}
    definitions["taskTable"] = _closed(task | _effects(task), names)
    return {**_top(definitions), "definitions": dict(sorted(definitions.items()))}, left_out


def _top(definitions: Schema) -> Schema:
    top, names = _own(ClaimFile, definitions)
    top["claim"] |= {"minLength": 1, "maxLength": LONGEST_CLAIM}
    top["max_seeds"] = {
        "description": top["max_seeds"]["description"],
        "default": 10,
        "oneOf": [{"type": "integer", "minimum": 3, "maximum": 1000}, {"const": "open"}],
    }
    top["batch"] |= {"minimum": 1, "maximum": 1000}
    top["seed"] |= {"minimum": 0}
    top["futility"] |= {"minimum": 0, "exclusiveMaximum": 0.5}
    top["scope"] |= {"pattern": SCOPE}
    top["keep"] |= {"enum": ["none", "first", "all"]}
    for name in ("expected_effect", "price_per_hour"):
        top[name] = {"type": "number", "exclusiveMinimum": 0, "description": top[name]["description"]}
    top |= _effects(top)
    top |= {"control": _control(), "treatments": {**_many("changes"), "minProperties": 1}}
    top["tasks"] = {**_many("taskTable"), "minProperties": 1, "description": top["tasks"]["description"]}
    whole = _closed(top, names)
    return {
        "$schema": DRAFT,
        **whole,
        "title": "Claim of a Novum study",
        "description": "What is to be tested, and how: docs/claim-files.md.",
        "required": ["claim", "tasks", "treatments"],
    }


def _own(model: type[BaseModel], definitions: Schema) -> tuple[Schema, dict[str, str]]:
    """Properties of a model of the claim file, and its own description; what it refers to is put beside."""
    found = model.model_json_schema(ref_template="#/definitions/{model}")
    found.pop("$defs", None)  # the tables of a claim are written here, by the plugins that they name
    return {name: _bare(each) for name, each in found["properties"].items()}, {"title": model.__name__}


def _effects(table: Schema) -> Schema:
    return {
        name: {"type": "number", "minimum": 0, "description": table[name]["description"]}
        for name in ("minimum_effect", "minimum_effect_raw")
    }


def _closed(properties: Schema, names: Mapping[str, str]) -> Schema:
    """A table with these keys and no others, and with at most one of the two ways to say a least effect."""
    both = {"not": {"required": ["minimum_effect", "minimum_effect_raw"]}}
    rest = both if "minimum_effect" in properties else {}
    return {**names, "type": "object", "additionalProperties": False, "properties": properties, **rest}


def _arm_tables() -> Schema:
    return {name: _ref(name) for name in (*TABLES, "recipe")}


def _control() -> Schema:
    about = "What the control changes; or a number: the bar that the treatment is to reach."
    return {"description": about, "anyOf": [_ref("changes"), {"type": "number"}]}


def _many(definition: str) -> Schema:
    """Tables by names that people choose."""
    return {
        "type": "object",
        "propertyNames": {"pattern": NAMED},
        "additionalProperties": _ref(definition),
    }


def _table(kind: str, definitions: Schema, left_out: dict[str, str], unsound: Unsound) -> Schema:
    """A plugin and its options: any option of any plugin where none is named, only its own where one is."""
    about = f"The {kind}: a plugin's name, and its options. One that names no plugin changes options of the one above."
    known: Schema = {}
    cases = []
    free = False
    for name in _loadable(kind):
        try:
            options = _options(kind, name, definitions, unsound)
        except PluginError as error:
            left_out[f"{kind} {name}"] = str(error)
            free = True
            continue
        key = _key(kind, name)
        definitions[key] = {**options, "properties": {"plugin": {"const": name}, **options["properties"]}}
        for option in options["properties"]:
            known.setdefault(option, []).append(_ref(f"{key}/properties/{_pointer(option)}"))
        named = {"properties": {"plugin": {"const": name}}, "required": ["plugin"]}
        cases.append({"if": named, "then": _ref(key)})
    properties = {option: each[0] if len(each) == 1 else {"anyOf": each} for option, each in sorted(known.items())}
    plugin = {"description": f"Name of an installed {kind}.", "enum": _loadable(kind)}
    closed = {} if free else {"additionalProperties": False}
    table = {"description": about, "type": "object", **closed, "properties": {"plugin": plugin, **properties}}
    return {**table, "allOf": cases} if cases else table


def _techniques(definitions: Schema, left_out: dict[str, str], unsound: Unsound) -> Schema:
    properties: Schema = {}
    for name in _loadable("technique"):
        table: Schema = {"type": "object"}
        try:
            options = _options("technique", name, definitions, unsound)
        except PluginError as error:
            left_out[f"technique {name}"] = str(error)
        else:
            key = _key("technique", name)
            definitions[key] = options
            table = _ref(key)
        properties[name] = {"anyOf": [table, {"type": "boolean"}]}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _recipe(definitions: Schema) -> Schema:
    found = Recipe.model_json_schema(ref_template="#/definitions/recipe.{model}")
    properties = {name: _bare(each) for name, each in found["properties"].items()}
    about = properties["budget"]
    text = {"type": "string", "pattern": BUDGET}
    properties["budget"] = {"description": about["description"], "anyOf": [text, {"type": "integer", "minimum": 1}]}
    for name in ("optimizer", "schedule"):
        properties[name] = {**properties[name], "enum": _loadable(name)}
        del properties[name]["type"]
    properties["techniques"] = {"allOf": [_ref("techniques")], "description": properties["techniques"]["description"]}
    return {
        "description": "How to train; what is left out is the model's own default.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _options(kind: str, name: str, definitions: Schema, unsound: Unsound) -> Schema:
    """The options of a plugin as a schema; what they refer to is put beside. None is required: another table of the
    claim may give it.
    """
    if (kind, name) in unsound:
        raise PluginError(unsound[kind, name])
    cls = plugins.load(kind, name)
    try:
        found = cls.Config.model_json_schema(ref_template=f"#/definitions/{_key(kind, name)}.{{model}}")
    except Exception as error:  # another's code: a type of its own may have no schema
        raise PluginError(
            f"the options of the {kind} {name!r} have no JSON Schema: {type(error).__name__}: {error}. Use plain types "
            "in its Config, or pydantic's WithJsonSchema."
        ) from error
    for each, inner in found.pop("$defs", {}).items():
        definitions[f"{_key(kind, name)}.{each}"] = inner
    properties = {option: _bare(each) for option, each in found.get("properties", {}).items()}
    about = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    return {"description": about, "type": "object", "additionalProperties": False, "properties": properties}


def _bare(property_: Schema) -> Schema:
    """Without the title that pydantic makes of the name; descriptions on one line; no null, which TOML has not."""
    found = {name: value for name, value in property_.items() if name != "title"}
    if "description" in found:
        found["description"] = " ".join(found["description"].split())
    if "anyOf" in found:
        left = [each for each in found["anyOf"] if each != {"type": "null"}]
        found = {**{name: value for name, value in found.items() if name != "anyOf"}, **_either(left)}
    if "default" in found and found["default"] is None:
        del found["default"]
    if "$ref" in found and len(found) > 1:  # in draft 7 nothing counts beside a reference
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _either(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _loadable(kind: str) -> list[str]:
    """Names that a claim file may write: not those of a script's own classes."""
    return [name for name in plugins.names(kind) if not name.startswith(plugins.LOCAL)]


def _key(kind: str, name: str) -> str:
    return f"{kind}.{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"


def _pointer(option: str) -> str:
    return option.replace("~", "~0").replace("/", "~1")


def _ref(definition: str) -> Schema:
    return {"$ref": f"#/definitions/{definition}"}
