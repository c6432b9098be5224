"""Whether what arms name is installed and rightly spelt, told before anything starts; and what to import for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from novum import config, plugins
from novum.arm import Arm
from novum.recipe import Recipe


def _chain(arms: Sequence[Arm]) -> Iterator[Arm]:
    for arm in arms:
        above: Arm | None = arm
        while above is not None:
            yield above
            above = above.start_from


def check_names(arms: Sequence[Arm], tracker: str) -> None:
    """Fail at once, before any worker starts, for a plugin that is not installed or an option that is wrong."""
    plugins.load("tracker", tracker)
    for arm in _chain(arms):
        for part in (arm.task, arm.model, arm.evaluator):
            if part is not None:
                config.parse(plugins.load(part.kind, part.name).Config, part.options, f"{part.kind} {part.name!r}")
        recipe = config.parse(Recipe, arm.recipe, "recipe")
        if "optimizer" in arm.recipe:
            plugins.complete("optimizer", arm.recipe["optimizer"])
        if "schedule" in arm.recipe:
            plugins.load("schedule", arm.recipe["schedule"])
        for name, options in recipe.techniques.items():
            config.parse(plugins.load("technique", name).Config, options, f"technique {name!r}")


def preload(arms: Sequence[Arm]) -> list[str]:
    """The slow modules that these arms' plugins name, for workers to load once."""
    found: Mapping[str, None] = {
        module: None
        for arm in _chain(arms)
        for kind, name in _slow(arm)
        for module in getattr(plugins.load(kind, name), "imports", ())
    }
    return list(found)


def _slow(arm: Arm) -> list[tuple[str, str]]:
    techniques = config.parse(Recipe, arm.recipe, "recipe").techniques
    optimizers = [("optimizer", arm.recipe["optimizer"])] if "optimizer" in arm.recipe else []
    named = [("technique", name) for name in techniques]
    return [("task", arm.task.name), ("model", arm.model.name), *named, *optimizers]
