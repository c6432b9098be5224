"""Did it really help? Registered, paired, recomputable verdicts for machine-learning ideas in any domain.

Importing this package loads nothing heavy: every name below is fetched when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

_HOMES = {
    "novum.arm": ("Arm", "arm", "evaluator", "model", "task"),
    "novum.compare": ("compare",),
    "novum.config": ("Config",),
    "novum.data": (
        "Act",
        "Actions",
        "Batch",
        "Classes",
        "Controls",
        "Image",
        "Loss",
        "Metric",
        "Numbers",
        "Prediction",
        "Scores",
        "Signature",
        "Text",
        "Undefined",
        "Vector",
    ),
    "novum.episodes": ("Episodes",),
    "novum.errors": (
        "ConfigError",
        "DataError",
        "InputError",
        "MismatchError",
        "NovumError",
        "PluginError",
        "RegistrationError",
        "SplitClosed",
        "StudyError",
    ),
    "novum.evaluator": ("Evaluator",),
    "novum.executors": ("Executor", "LocalExecutor"),
    "novum.claimfile": ("load", "load_all"),
    "novum.goal": ("Budget", "Goal", "Start", "Target"),
    "novum.goalfile": ("load_goal",),
    "novum.idea": ("optimizer", "plugin", "schedule", "technique"),
    "novum.hypothesize": ("Comparison", "Hypothesis"),
    "novum.lineage": ("Lineage",),
    "novum.labels": ("Labels",),
    "novum.model": ("Model", "Preparation", "Weights"),
    "novum.observe": ("Fact", "Observation", "Scale", "majority"),
    "novum.plugins": ("CONTRACT",),
    "novum.proposers": ("Proposer",),
    "novum.recipe": ("Recipe",),
    "novum.rules": ("Held", "Rule", "Sign", "Step"),
    "novum.seeds": ("Seed",),
    "novum.sources": ("Examples", "content_hash", "split"),
    "novum.run": ("Run",),
    "novum.standing": ("Change", "Standing"),
    "novum.study": ("Study",),
    "novum.task": ("Source", "Split", "Task"),
    "novum.technique": ("Technique",),
    "novum.tuning": ("Tuning",),
    "novum.validate": ("Verdict",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "CONTRACT",
    "Act",
    "Actions",
    "Arm",
    "Batch",
    "Budget",
    "Change",
    "Classes",
    "Comparison",
    "Config",
    "ConfigError",
    "Controls",
    "DataError",
    "Episodes",
    "Evaluator",
    "Examples",
    "Executor",
    "Fact",
    "Goal",
    "Held",
    "Hypothesis",
    "Image",
    "InputError",
    "Labels",
    "Lineage",
    "LocalExecutor",
    "Loss",
    "Metric",
    "MismatchError",
    "Model",
    "NovumError",
    "Numbers",
    "Observation",
    "PluginError",
    "Prediction",
    "Preparation",
    "Proposer",
    "Recipe",
    "RegistrationError",
    "Rule",
    "Run",
    "Scale",
    "Scores",
    "Seed",
    "Sign",
    "Signature",
    "Source",
    "Split",
    "SplitClosed",
    "Standing",
    "Start",
    "Step",
    "Study",
    "StudyError",
    "Target",
    "Task",
    "Technique",
    "Text",
    "Tuning",
    "Undefined",
    "Vector",
    "Verdict",
    "Weights",
    "__version__",
    "arm",
    "compare",
    "content_hash",
    "evaluator",
    "load",
    "load_all",
    "load_goal",
    "majority",
    "model",
    "optimizer",
    "plugin",
    "schedule",
    "split",
    "task",
    "technique",
]

if TYPE_CHECKING:
    from novum.arm import Arm as Arm
    from novum.arm import arm as arm
    from novum.arm import evaluator as evaluator
    from novum.arm import model as model
    from novum.arm import task as task
    from novum.claimfile import load as load
    from novum.claimfile import load_all as load_all
    from novum.compare import compare as compare
    from novum.config import Config as Config
    from novum.data import (
        Act as Act,
    )
    from novum.data import (
        Actions as Actions,
    )
    from novum.data import (
        Batch as Batch,
    )
    from novum.data import (
        Classes as Classes,
    )
    from novum.data import (
        Controls as Controls,
    )
    from novum.data import (
        Image as Image,
    )
    from novum.data import (
        Loss as Loss,
    )
    from novum.data import (
        Metric as Metric,
    )
    from novum.data import (
        Numbers as Numbers,
    )
    from novum.data import (
        Prediction as Prediction,
    )
    from novum.data import (
        Scores as Scores,
    )
    from novum.data import (
        Signature as Signature,
    )
    from novum.data import (
        Text as Text,
    )
    from novum.data import (
        Undefined as Undefined,
    )
    from novum.data import (
        Vector as Vector,
    )
    from novum.episodes import Episodes as Episodes
    from novum.errors import (
        ConfigError as ConfigError,
    )
    from novum.errors import (
        DataError as DataError,
    )
    from novum.errors import (
        InputError as InputError,
    )
    from novum.errors import (
        MismatchError as MismatchError,
    )
    from novum.errors import (
        NovumError as NovumError,
    )
    from novum.errors import (
        PluginError as PluginError,
    )
    from novum.errors import (
        RegistrationError as RegistrationError,
    )
    from novum.errors import (
        SplitClosed as SplitClosed,
    )
    from novum.errors import (
        StudyError as StudyError,
    )
    from novum.evaluator import Evaluator as Evaluator
    from novum.executors import Executor as Executor
    from novum.executors import LocalExecutor as LocalExecutor
    from novum.goal import Budget as Budget
    from novum.goal import Goal as Goal
    from novum.goal import Start as Start
    from novum.goal import Target as Target
    from novum.goalfile import load_goal as load_goal
    from novum.hypothesize import Comparison as Comparison
    from novum.hypothesize import Hypothesis as Hypothesis
    from novum.idea import optimizer as optimizer
    from novum.idea import plugin as plugin
    from novum.idea import schedule as schedule
    from novum.idea import technique as technique
    from novum.labels import Labels as Labels
    from novum.lineage import Lineage as Lineage
    from novum.model import Model as Model
    from novum.model import Preparation as Preparation
    from novum.model import Weights as Weights
    from novum.observe import Fact as Fact
    from novum.observe import Observation as Observation
    from novum.observe import Scale as Scale
    from novum.observe import majority as majority
    from novum.plugins import CONTRACT as CONTRACT
    from novum.proposers import Proposer as Proposer
    from novum.recipe import Recipe as Recipe
    from novum.rules import Held as Held
    from novum.rules import Rule as Rule
    from novum.rules import Sign as Sign
    from novum.rules import Step as Step
    from novum.run import Run as Run
    from novum.seeds import Seed as Seed
    from novum.sources import Examples as Examples
    from novum.sources import content_hash as content_hash
    from novum.sources import split as split
    from novum.standing import Change as Change
    from novum.standing import Standing as Standing
    from novum.study import Study as Study
    from novum.task import Source as Source
    from novum.task import Split as Split
    from novum.task import Task as Task
    from novum.technique import Technique as Technique
    from novum.tuning import Tuning as Tuning
    from novum.validate import Verdict as Verdict


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'novum' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """`novum.task("gym")` is a function and `novum/task.py` a module: on this package the name means the function.

    The import system binds each submodule as an attribute of its package; here it must not for these names.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
