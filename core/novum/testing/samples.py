"""Small tasks of the kit's own, so that a model or an evaluator is tried without any other plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from novum import config as _config
from novum.data import Actions, Classes, Controls, Image, Signature, Text, Vector
from novum.observe import Fact, Observation, Scale
from novum.seeds import Seed
from novum.task import Source, Split, Task

if TYPE_CHECKING:
    import numpy as np

    from novum.recipe import Recipe

CLASSES = ("north", "east", "south", "west")
WORDS = ("river", "stone", "cloud", "ember")
SIZES = {Split.TRAIN: 64, Split.DEV: 48, Split.TEST: 48}
HORIZON = 16


class Sample(Task):
    """Vectors, images or texts of four classes that can be told apart."""

    class Config(_config.Config):
        """Which inputs."""

        inputs: Literal["vector", "image", "text"] = "vector"
        """Kind of the inputs."""

    config: Config

    def signature(self) -> Signature:
        """Eight numbers, an image of 8 x 8 pixels, or a text; one of four classes."""
        spaces = {"vector": Vector((8,)), "image": Image(1, 8, 8), "text": Text()}
        return Signature(spaces[self.config.inputs], Classes(CLASSES))

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        """The same units for every seed."""
        import numpy as np

        from novum.sources import Examples

        draw = Seed(0, ("sample", split)).numpy()
        targets = np.arange(SIZES[split], dtype=np.int64) % len(CLASSES)
        inputs = self._inputs(targets, draw)
        ids = [f"{split}-{row}" for row in range(len(targets))]
        return Examples(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)

    def _inputs(self, targets: np.ndarray, draw: np.random.Generator) -> Any:
        import numpy as np

        if self.config.inputs == "text":
            numbers = draw.integers(0, 1000, size=(len(targets), 2))
            return [f"the {WORDS[at]} of {low} and {high}" for at, (low, high) in zip(targets, numbers, strict=True)]
        noise = draw.normal(size=(len(targets), 8))
        vectors = noise + 3 * np.eye(8)[targets]
        if self.config.inputs == "vector":
            return vectors.astype(np.float32)
        images = np.clip(128 + 25 * np.repeat(vectors[:, :, None], 8, axis=2), 0, 255)
        return images[:, None].astype(np.uint8)

    def observe(self) -> Observation:
        """A quarter is of each class."""
        return Observation((Fact("train.size", SIZES[Split.TRAIN]),), Scale("accuracy", 0.25, 1.0))

    def fingerprint(self) -> str:
        """Of what the units follow from."""
        return f"{self.config.inputs}-{sorted(SIZES.values())}"


class Walk(Task):
    """A walk on a line whose reward is not to stray: the smallest environment."""

    class Config(_config.Config):
        """Which outputs."""

        outputs: Literal["actions", "controls"] = "actions"
        """Kind of the actions."""

    config: Config
    evaluator = "returns"

    def signature(self) -> Signature:
        """Place and step; to the left or the right, or a step of any size from -1 to 1."""
        outputs = Actions(2) if self.config.outputs == "actions" else Controls((-1.0,), (1.0,))
        return Signature(Vector((2,)), outputs)

    def source(self, split: Split, seed: Seed, recipe: Recipe) -> Source:
        """Episodes of 16 steps, four side by side."""
        from novum.episodes import Episodes

        discrete = self.config.outputs == "actions"
        return Episodes(lambda: Line(discrete), split, seed=seed, batch_size=recipe.batch_size, count=4, episodes=8)

    def observe(self) -> Observation:
        """A return of 0 is that of never straying."""
        return Observation((Fact("horizon", HORIZON, "steps"),), Scale("return", -4.0 * HORIZON, 0.0))

    def fingerprint(self) -> str:
        """Of what the walk follows from."""
        return f"line-{self.config.outputs}-{HORIZON}"


class Line:
    """The environment of `Walk`, with as much of Gymnasium's interface as `Episodes` asks for."""

    def __init__(self, discrete: bool) -> None:
        self.action_space = self
        self._discrete = discrete
        self._place, self._steps = 0.0, 0

    def seed(self, seed: int) -> None:
        """Its actions are never sampled."""

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Start anew, at a place that follows from the seed."""
        self._place, self._steps = float(Seed(seed).numpy().normal()), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; the reward is minus the distance from the middle."""
        import numpy as np

        self._place += (2.0 * float(action) - 1.0) if self._discrete else float(np.clip(action[0], -1, 1))
        self._steps += 1
        return self._seen(), -abs(self._place), False, self._steps == HORIZON, {}

    def _seen(self) -> np.ndarray:
        import numpy as np

        return np.array([self._place, self._steps / HORIZON], dtype=np.float32)

    def close(self) -> None:
        """Nothing is open."""


def fitting(cls: Any, kind: str) -> Task | None:
    """A task of these that a model class fits, or that an evaluator class judges; None where there is none."""
    if "classes" in cls.outputs:
        for inputs in ("vector", "image", "text"):
            if kind == "evaluator" or inputs in cls.inputs:
                return Sample(Sample.Config(inputs=inputs))
    for outputs in ("actions", "controls"):
        if outputs in cls.outputs and (kind == "evaluator" or "vector" in cls.inputs):
            return Walk(Walk.Config(outputs=outputs))
    return None
