"""A plugin at work as a trial would have it, in small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum.seeds import Seed, installed
from novum.task import Split, only
from novum.testing.batches import digest
from novum.testing.laws import Broken

if TYPE_CHECKING:
    from novum.data import Act, Batch
    from novum.runner.parts import Parts
    from novum.testing.subject import Subject

SCORED = 64
"""Units, at least, of a scoring pass."""


class Training:
    """A plugin at work as a trial would have it, on the CPU: a few batches, and a score of a few units.

    `stop` and `go on` change nothing: what a trial does between batches (scoring, a checkpoint) happens there.
    """

    def __init__(self, subject: Subject, seed: int, parts: Parts | None = None, batches: int = 8) -> None:
        from novum.runner.train import Trainer

        self.parts = subject.parts() if parts is None else parts
        self.units = batches * self.parts.recipe.batch_size
        self.trainer = Trainer(
            self.parts, Seed(seed, ("contract",)), units=self.units, device_kind="cpu", precision="fp32"
        )
        self.batch_size = self.parts.recipe.batch_size

    def steps(self, count: int) -> None:
        """Learn from so many further batches. Raises Broken where a loss or a weight is not finite."""
        self.trainer.used, why = self.trainer.stretch(self.trainer.used, self.trainer.used + count * self.batch_size)
        if why is not None:
            raise Broken(f"{why}; look for a division by zero, a logarithm of zero, or too high a rate in `recipe`")

    def weights(self) -> str:
        """A hash of every tensor of the network."""
        from novum.runner.resume import tensors_of

        return digest(tensors_of(self.trainer.net))

    def actor(self) -> Act:
        """The network as evaluators see it."""
        from novum.runner.parts import Actor, Encoder

        trainer = self.trainer
        trainer.net.eval()
        return Actor(self.parts.model, trainer.net, Encoder(trainer.preparation, trainer.device))

    def score(self) -> Any:
        """The scores of the first units of `dev`."""
        from novum.runner import strict
        from novum.runner.jobs import Head

        parts, stream = self.parts, Seed(0, ("contract", "score"))
        with only(Split.DEV), installed(stream):
            source = Head(parts.task.source(Split.DEV, stream, parts.recipe), SCORED)
            given = parts.evaluator.score(self.actor(), source, parts.signature)
        return strict.scores(given, parts.evaluator.metrics, type(parts.evaluator).__name__)

    def batch(self) -> Batch:
        """The next training batch as the model takes it; it learns nothing from it."""
        from novum.runner.parts import Actor, Encoder

        trainer = self.trainer
        encoder = Encoder(trainer.preparation, trainer.device)
        with only(Split.TRAIN):
            trainer.net.eval()
            raw = trainer.source.next(Actor(self.parts.model, trainer.net, encoder))
            return encoder.batch(raw)


def stream(seed: int = 0) -> Any:
    """The ordinary generators at the start of a stream of the checks."""
    return installed(Seed(seed, ("contract", "check")))


def nobody(*given: Any, **more: Any) -> Any:
    """Stands for the model where a source of ready data is asked for a batch: it must not be asked."""
    raise Broken("a source of ready data asked the model to act")
