from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from types import FunctionType

import novum
import pytest

FACE = [
    "Actions",
    "Batch",
    "Classes",
    "Comparison",
    "Config",
    "Controls",
    "Episodes",
    "Evaluator",
    "Examples",
    "Fact",
    "Hypothesis",
    "Image",
    "Loss",
    "Metric",
    "Model",
    "Observation",
    "Prediction",
    "Preparation",
    "Recipe",
    "Run",
    "Scale",
    "Scores",
    "Seed",
    "Signature",
    "Source",
    "Split",
    "Study",
    "Task",
    "Technique",
    "Text",
    "Undefined",
    "Vector",
    "Verdict",
    "Weights",
    "arm",
    "evaluator",
    "load",
    "load_all",
    "majority",
    "model",
    "optimizer",
    "plugin",
    "schedule",
    "split",
    "task",
    "technique",
]
"""What documents and plugins are written with; a name leaves this list only with a deprecation."""


def test_all_is_sorted_and_complete() -> None:
    assert novum.__all__ == sorted(set(novum.__all__), key=lambda name: (not name.isupper(), name))  # constants first
    assert set(novum.__all__) == set(novum._HOME) | {"__version__"}
    assert dir(novum) == sorted(novum.__all__)


@pytest.mark.parametrize("name", novum.__all__)
def test_every_public_name_resolves_to_the_thing_of_its_home(name: str) -> None:
    value = getattr(novum, name)

    assert name == "__version__" or value is getattr(importlib.import_module(novum._HOME[name]), name)


def test_the_names_that_documents_use_are_public() -> None:
    assert sorted(set(FACE) - set(novum.__all__)) == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'novum' has no attribute 'trian'"):
        novum.trian  # noqa: B018


@pytest.mark.parametrize("module", ["novum.task", "novum.model", "novum.evaluator", "novum.arm", "novum.technique"])
def test_a_function_named_as_a_module_stays_a_function_once_the_module_is_imported(module: str) -> None:
    code = f"import {module}, novum; from novum import {module[6:]} as it; print(type(it).__name__, it.__module__)"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert told.split() == ["function", novum._HOME[module[6:]]]
    assert isinstance(getattr(novum, module[6:]), FunctionType)


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("novum") == novum.__version__
