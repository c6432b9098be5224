"""What is checked: a plugin with its options, and the partners that it is tried with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum import plugins
from novum.config import parse
from novum.errors import MismatchError, NovumError
from novum.testing.laws import Inapplicable

if TYPE_CHECKING:
    from novum.data import Prediction, Signature
    from novum.recipe import Recipe
    from novum.runner.parts import Parts

Reference = str | type[Any] | Mapping[str, Any]
"""A plugin as one names it: an installed name, a class, or {"plugin": either of them, **options}."""


@dataclass(frozen=True)
class Subject:
    """A plugin under check.

    kind: "task", "model", …. plugin: an installed name or a class. options: of its Config. folder: where checks may
    write. partner: the model that a task is tried with, or the task that a model or evaluator is tried with; None
    takes one that fits. recipe: values over those of the model. changed: options of the task by which its data differ.
    inert: options that decide nothing, each with another value than its own. own_splits: the data bring their division,
    so that duplicates across splits are a fact and no fault. perfect: what a model that knows everything would answer,
    for an evaluator of outputs that the kit does not know: (batch) -> Prediction.
    """

    kind: str
    plugin: str | type[Any]
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    partner: Reference | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Any] | None = None
    inert: Mapping[str, Any] = field(default_factory=dict)
    own_splits: bool = False
    perfect: Callable[[Any], Prediction] | None = None

    @functools.cached_property
    def cls(self) -> Any:
        """The class or function itself."""
        return plugins.load(self.kind, self.plugin) if isinstance(self.plugin, str) else self.plugin

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.plugin if isinstance(self.plugin, str) else self.plugin.__name__

    @property
    def module(self) -> str:
        """The module that it is defined in."""
        return str(self.cls.__module__)

    def config(self, **more: Any) -> Any:
        """Its validated options, with some replaced. Raises ConfigError."""
        return parse(self.cls.Config, {**self.options, **more}, f"{self.kind} {self.name!r}")

    def make(self, **more: Any) -> Any:
        """A new one with its options, some of them replaced."""
        return self.cls(self.config(**more))

    def but(self, **changes: Any) -> Subject:
        """A copy with some of its fields replaced."""
        return dataclasses.replace(self, **changes)

    def look(self) -> None:
        """Raise what a person gave wrongly: ConfigError for options that are not the plugin's or are missing,
        PluginError or ConfigError for a partner that cannot be had, MismatchError for one that does not fit.
        """
        fields = getattr(getattr(self.cls, "Config", None), "model_fields", {})
        if fields and (self.options or any(each.is_required() for each in fields.values())):
            self.config()
        if self.partner is None or self.kind not in ("task", "model", "evaluator"):
            return
        other = made("model" if self.kind == "task" else "task", self.partner)
        try:
            signature = (self.make() if self.kind == "task" else other).signature()
            gives = f"{signature.inputs.kind} inputs and {signature.outputs.kind} outputs"
            judged = {"task": type(other), "model": self.cls}.get(self.kind)
            good = signature.outputs.kind in self.cls.outputs if judged is None else plugins.fits(judged, signature)
        except Exception:  # what the plugin itself does wrong is found by its checks
            return
        if not good:
            raise MismatchError(
                f"the {self.kind} {self.name!r} does not fit {self.partner!r}: the task has {gives}. Leave the partner "
                "out to take one that fits, or name another."
            )

    # ----------------------------------------------------------------------------------------------- its partners

    def task(self) -> Any:
        """A new task: itself, or the partner."""
        if self.kind == "task":
            return self.make()
        return made("task", self.partner) if self.partner is not None else self._fitting_task()

    def model(self, signature: Signature) -> Any:
        """A new model: itself, or the partner of a task. Raises Inapplicable where none that is installed fits."""
        if self.kind == "model":
            return self.make()
        if self.kind == "task" and self.partner is not None:
            return made("model", self.partner)
        found = next(plugins.each_fitting(signature, self._owner()), None)
        if found is None:
            raise Inapplicable(
                f"no installed model takes {signature.inputs.kind} inputs and {signature.outputs.kind} outputs; name "
                "one as `model` in the test, or install one"
            )
        core = found in plugins.names_of_core("model")
        return made("model", "mlp" if core and plugins.fits(plugins.load("model", "mlp"), signature) else found)

    def parts(self, model: Any = None, recipe: Mapping[str, Any] | None = None) -> Parts:
        """A task, a model and an evaluator that fit each other, constructed anew, with a recipe of small batches."""
        from novum.recipe import merged
        from novum.runner.parts import Parts

        task = self.task()
        signature = task.signature()
        model = self.model(signature) if model is None else model
        evaluator = self.make() if self.kind == "evaluator" else made("evaluator", task.evaluator)
        defaults: Recipe = model.recipe(signature)
        acts = "actions" in signature.outputs.kind or signature.outputs.kind == "controls"
        small = {"batch_size": min(defaults.batch_size, 64 if acts else 16), "precision": "fp32", "early_stop": None}
        values = merged(merged(defaults.model_dump(), small), {**self.recipe, **(recipe or {})})
        return Parts(task, model, evaluator, type(defaults)(**values), signature)

    def _fitting_task(self) -> Any:
        """A task of the kit's own that fits, or one that is installed: of the same distribution first."""
        from novum.testing import samples

        found = samples.fitting(self.cls, self.kind)
        if found is not None:
            return found
        for name in sorted(plugins.names("task"), key=lambda name: not self._brings("task", name)):
            try:
                task = made("task", name)
                signature = task.signature()
            except NovumError:
                continue
            inputs = self.kind == "evaluator" or signature.inputs.kind in self.cls.inputs
            if inputs and signature.outputs.kind in self.cls.outputs:
                return task
        raise Inapplicable(
            f"no installed task fits it (inputs {getattr(self.cls, 'inputs', 'any')}, outputs {self.cls.outputs}); "
            "name one as `task` in the test, or install one"
        )

    def _brings(self, kind: str, name: str) -> bool:
        """Whether a plugin is of the same top-level package as this one."""
        return any(one.name == name for one in plugins.listings(kind) if self._beside(one))

    def _owner(self) -> str | None:
        """The distribution of this one's package, as far as models tell."""
        return next((one.distribution for one in plugins.listings("model") if self._beside(one)), None)

    def _beside(self, one: plugins.Listing) -> bool:
        return one.value.split(":")[0].split(".")[0] == self.module.split(".")[0]


def made(kind: str, reference: Reference) -> Any:
    """A new task, model or evaluator from how one names it."""
    given = dict(reference) if isinstance(reference, Mapping) else {"plugin": reference}
    named = given.pop("plugin")
    cls = plugins.load(kind, named) if isinstance(named, str) else named
    return cls(parse(cls.Config, given, f"{kind} {named if isinstance(named, str) else named.__name__!r}"))
