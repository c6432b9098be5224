"""The contracts as classes for pytest: subclass one, give it a fixture `plugin`, and each check is a test.

::

    from novum.testing import TaskContract

    class TestTumours(TaskContract):
        options = {"dev": 0.3}

        @pytest.fixture
        def plugin(self):
            return Tumours          # the class, or the name of an installed plugin

Checks run in this very process, so that a debugger reaches them; `novum plugins check` isolates each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from novum.testing.laws import Broken, Check, Inapplicable, failure, of
from novum.testing.subject import Reference, Subject
from novum.testing.watch import TookTooLong, limited


class Contract:
    """The base of all contracts.

    options: of the plugin's Config. recipe: values over those of the model that is trained. inert: options that decide
    nothing, each with another value than its own. limit: seconds that one check may take.
    """

    kind: ClassVar[str] = ""
    options: Mapping[str, Any] = {}
    recipe: Mapping[str, Any] = {}
    inert: Mapping[str, Any] = {}
    limit: float = 120.0

    def subject(self, plugin: str | type[Any], folder: Path) -> Subject:
        """What is checked, from the class's attributes."""
        return Subject(
            kind=self.kind,
            plugin=plugin,
            folder=folder,
            options=self.options,
            recipe=self.recipe,
            inert=self.inert,
            partner=getattr(self, "model", None) or getattr(self, "task", None),
            changed=getattr(self, "changed", None),
            own_splits=getattr(self, "own_splits", False),
            perfect=getattr(self, "perfect", None),
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            for check in of(cls.kind):
                setattr(cls, f"test_{check.name}", _test(check))


def _test(check: Check) -> Callable[..., None]:
    def test(self: Contract, plugin: Any, tmp_path: Path) -> None:
        hold(check, self.subject(plugin, tmp_path), self.limit)

    test.__name__ = test.__qualname__ = f"test_{check.name}"
    test.__doc__ = check.contract
    return test


def hold(check: Check, subject: Subject, limit: float) -> None:
    """Run a check in this process, as a test. Raises AssertionError where the contract does not hold."""
    import pytest

    __tracebackhide__ = True
    try:
        with limited(limit):
            check.run(subject)
    except Inapplicable as why:
        pytest.skip(f"not for this plugin: {why}")
    except Broken as seen:
        raise AssertionError(check.told(str(seen))) from None
    except TookTooLong as error:
        raise AssertionError(check.told(str(error))) from error
    except (Exception, SystemExit) as error:
        raise AssertionError(check.told(failure(error))) from error


class TaskContract(Contract):
    """Of a task.

    model: the model that it is tried with. changed: options by which its data differ, such as another file.
    own_splits: True where the data bring their division, so that duplicates across splits are a fact and no fault.
    """

    kind = "task"
    model: Reference | None = None
    changed: Mapping[str, Any] | None = None
    own_splits: bool = False


class ModelContract(Contract):
    """Of a model. task: the task that it is tried on; None takes one of the kit's that fits."""

    kind = "model"
    task: Reference | None = None


class EvaluatorContract(Contract):
    """Of an evaluator. task: the task whose `dev` is scored; None takes one of the kit's that fits.

    Where outputs are of a kind of the plugin's own, give a method `perfect(self, batch)`: the novum.Prediction that is
    right for the one unit in that batch.
    """

    kind = "evaluator"
    task: Reference | None = None


class ProposerContract(Contract):
    """Of a proposer."""

    kind = "proposer"


class RuleContract(Contract):
    """Of a rule."""

    kind = "rule"


class ExecutorContract(Contract):
    """Of an executor. options: further arguments of its constructor."""

    kind = "executor"


class TechniqueContract(Contract):
    """Of a technique."""

    kind = "technique"


class OptimizerContract(Contract):
    """Of an optimiser: the function that makes one."""

    kind = "optimizer"


class ScheduleContract(Contract):
    """Of a schedule: the function itself."""

    kind = "schedule"
