"""Plugins that are broken in one way each, for the kit to catch, and sound ones beside them. Loaded by path."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import novum
import numpy as np
from novum import (
    Batch,
    Classes,
    Evaluator,
    Examples,
    Loss,
    Metric,
    Observation,
    Prediction,
    Scale,
    Scores,
    Seed,
    Signature,
    Split,
    Task,
    Undefined,
    Vector,
)
from novum.executors import InlineExecutor
from novum.mlp import Mlp
from novum.proposers import Proposer
from novum.standing import Change

HOME = Path(__file__).parent
CALLS: list[int] = []


class Sound(Task):
    """Points of two classes; nothing is wrong with it."""

    class Config(novum.Config):
        size: int = 60
        """Points in each split."""
        note: str = "a"
        """Inert: nothing reads it."""

    def signature(self) -> Signature:
        return Signature(Vector((4,)), Classes(("left", "right")))

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        draw = Seed(0, ("sound", split)).numpy()
        inputs = draw.normal(size=(self.config.size, 4)).astype("float32")
        return inputs, (inputs[:, 0] > 0).astype("int64"), [f"{split}-{row}" for row in range(len(inputs))]

    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        return Examples(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)

    def observe(self) -> Observation:
        return Observation((), Scale("accuracy", 0.5, 1.0))

    def fingerprint(self) -> str:
        return "-".join(novum.content_hash(part) for split in Split for part in self.arrays(split)[:2])


class Raises(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        raise RuntimeError("the file is gone")


class Hangs(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        while True:
            time.sleep(0.01)


class Exits(Sound):
    def fingerprint(self) -> str:
        os._exit(7)


class LeaksAThread(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        threading.Thread(target=time.sleep, args=(4,), name="leaked", daemon=True).start()
        return super().source(split, seed, recipe)


class ChangesTheEnvironment(Sound):
    def observe(self) -> Observation:
        os.environ["HOSTILE"] = str(len(CALLS))
        CALLS.append(1)
        return super().observe()


class PrintsMegabytes(Sound):
    def fingerprint(self) -> str:
        sys.stdout.write("loading…\n" * 200_000)
        return super().fingerprint()


class PrintsMegabytesBelowPython(Sound):
    def fingerprint(self) -> str:
        os.write(1, b"x" * 2_000_000)
        return super().fingerprint()


class WritesBesideItself(Sound):
    def observe(self) -> Observation:
        target = Path(os.environ["HOSTILE_FOLDER"], "cache.bin")
        target.write_bytes(b"0")
        return super().observe()


class OpensWhenConstructed(Sound):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        (HOME / "README.txt").exists()
        with Path(os.environ["HOSTILE_FOLDER"], "data.csv").open() as file:
            file.read()


class SharesIds(Sound):
    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        inputs, targets, ids = super().arrays(split)
        return inputs, targets, [unit.replace("dev", "train") for unit in ids]


class SharesContent(Sound):
    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        inputs, targets, ids = super().arrays(split)
        if split == "test":
            inputs, targets = inputs.copy(), targets.copy()
            inputs[0], targets[0] = (part[0] for part in super().arrays("train")[:2])
        return inputs, targets, ids


class HidesItsDuplicates(SharesContent):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        return Examples(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size, hashes=ids)


class SeedsGlobally(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        np.random.seed(0)
        random.seed(0)
        return super().source(split, seed, recipe)


class IgnoresTheSeed(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        return super().source(split, Seed(7), recipe)


class DrawsFromTheClock(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        return super().source(split, Seed(time.time_ns()) if split == "train" else seed, recipe)


class HashesText(Sound):
    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        inputs, targets, ids = super().arrays(split)
        order = sorted(range(len(ids)), key=lambda row: hash(ids[row]))
        return inputs[order], targets[order], [ids[row] for row in order]


class Unordered(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        order = seed.numpy().permutation(len(ids))
        return Examples(
            inputs[order], targets[order], [ids[row] for row in order], seed=seed, batch_size=recipe.batch_size
        )


class Once(Examples):
    def next(self, act: Any) -> Batch:
        self.left = getattr(self, "left", self.size) - self._batch_size
        if self.left < 0:
            raise StopIteration
        return super().next(act)


class Ends(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        return Once(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)


class Endless(Examples):
    def each(self, act: Any) -> Iterator[Batch]:
        while True:
            yield from super().each(act)


class ScoresForever(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        return Endless(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)


class Forgetful(Examples):
    def state_dict(self) -> dict[str, Any]:
        return {"nothing": 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It stays at its beginning."""


class ResumesAtTheBeginning(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        inputs, targets, ids = self.arrays(split)
        return Forgetful(inputs, targets, ids, seed=seed, batch_size=recipe.batch_size)


class OutOfRange(Sound):
    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        inputs, targets, ids = super().arrays(split)
        return inputs, targets + 1, ids


class NotANumber(Sound):
    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        inputs, targets, ids = super().arrays(split)
        inputs = inputs.copy()
        inputs[5, 2] = np.nan
        return inputs, targets, ids


class OtherShape(Sound):
    def signature(self) -> Signature:
        return Signature(Vector((5,)), Classes(("left", "right")))


class FingerprintOfItsName(Sound):
    def fingerprint(self) -> str:
        return "points-1"


class NotInert(Sound):
    def source(self, split: Split, seed: Seed, recipe: Any) -> Any:
        return super().source(split, seed.child(self.config.note), recipe)


class Undescribed(Sound):
    class Config(novum.Config):
        size: int = 60


class Lax(Sound):
    class Config(novum.Config, extra="ignore"):
        size: int = 60
        """Points in each split."""


class Peeks(Sound):
    def observe(self) -> Observation:
        self.source(Split.TEST, Seed(0), novum.Recipe())
        return super().observe()


class ScaleUpsideDown(Sound):
    def observe(self) -> Observation:
        return Observation((), Scale("accuracy", 1.0, 0.5))


# ------------------------------------------------------------------------------------------------------------ models


class SoundModel(Mlp):
    """Nothing is wrong with it."""

    class Config(Mlp.Config):
        note: str = "a"
        """Inert: nothing reads it."""


class LossIsNaN(SoundModel):
    def _cross_entropy(self, net: Any, inputs: Any, targets: Any) -> Any:
        return super()._cross_entropy(net, inputs, targets) * float("nan")


class LossIsASum(SoundModel):
    def _cross_entropy(self, net: Any, inputs: Any, targets: Any) -> Any:
        return super()._cross_entropy(net, inputs, targets) * len(inputs)


class LossIsDetached(SoundModel):
    def _cross_entropy(self, net: Any, inputs: Any, targets: Any) -> Any:
        return super()._cross_entropy(net, inputs, targets).detach()


class WrongPrefix(SoundModel):
    def losses(self, net: Any, batch: Any) -> Iterator[Loss]:
        yield Loss(self._cross_entropy, (batch.inputs, batch.targets), prefix="actor.")


class IdleParameters(SoundModel):
    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
        from torch import nn

        net = super().build(signature, preparation, seed, start)
        net.register_module("idle", nn.Linear(2, 2))
        net.forward = lambda inputs: [inputs := part(inputs) for part in list(net.children())[:-1]][-1]
        return net


class LearnsNothing(SoundModel):
    def _cross_entropy(self, net: Any, inputs: Any, targets: Any) -> Any:
        return super()._cross_entropy(net, 0 * inputs, targets)


class AlwaysTheSame(SoundModel):
    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
        import torch

        torch.manual_seed(0)
        net = super().build(signature, preparation, seed, start)
        for param in net.parameters():
            torch.nn.init.zeros_(param)
        return net

    def losses(self, net: Any, batch: Any) -> Iterator[Loss]:
        import torch

        yield Loss(self._cross_entropy, (torch.ones_like(batch.inputs), torch.ones_like(batch.targets)))


class SeedsTorch(SoundModel):
    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
        import torch

        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        return super().build(signature, preparation, seed, start)


class KeepsACount(SoundModel):
    count = 0

    def losses(self, net: Any, batch: Any) -> Iterator[Loss]:
        self.count += 1
        yield Loss(self._cross_entropy, (batch.inputs * self.count, batch.targets))


class NotInertModel(SoundModel):
    def losses(self, net: Any, batch: Any) -> Iterator[Loss]:
        yield Loss(self._cross_entropy, (batch.inputs * len(self.config.note), batch.targets))


class AnsweringTrains(SoundModel):
    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        for param in net.parameters():
            param.add_(0.01)
        return super().act(net, inputs, explore)


class ForgetsItsStart(SoundModel):
    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
        return super().build(signature, preparation, seed, None)


class AnswersLogits(SoundModel):
    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        logits = net(inputs)
        return Prediction(logits.argmax(-1), logits)


class AnswersAtRandom(SoundModel):
    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        import torch

        return Prediction(torch.randint(2, (len(inputs),)))


class KeepsATensorAside(SoundModel):
    def build(self, signature: Any, preparation: Any, seed: Any, start: Any) -> Any:
        import torch

        net = super().build(signature, preparation, seed, start)
        net.register_buffer("aside", torch.randn(len(signature.outputs.names)) * 100, persistent=False)
        return net

    def act(self, net: Any, inputs: Any, explore: bool) -> Prediction:
        shares = (net(inputs) + net.aside).softmax(-1)
        return Prediction(shares.argmax(-1), shares)


# -------------------------------------------------------------------------------------------------------- evaluators


class SoundEvaluator(Evaluator):
    """The share of right answers; nothing is wrong with it."""

    metrics = (Metric("accuracy", "max", worst=0.0, low=0.0, high=1.0, per_unit=True),)
    outputs = ("classes",)

    def rows(self, act: Any, source: Any) -> tuple[list[str], list[int], list[int]]:
        ids: list[str] = []
        answers: list[int] = []
        targets: list[int] = []
        for batch in source.each(act):
            ids += batch.ids
            answers += act(batch.inputs, batch.ids).value.tolist()
            targets += batch.targets.tolist()
        return ids, answers, targets

    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        ids, answers, targets = self.rows(act, source)
        right = [int(one == other) for one, other in zip(answers, targets, strict=True)]
        value: Any = sum(right) / len(right) if right else Undefined("the split has no examples")
        return Scores({"id": ids, "accuracy": right}, {"accuracy": value})


class RewardsShuffled(SoundEvaluator):
    metrics = (Metric("accuracy", "max", worst=0.0, low=0.0, high=1.0),)

    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        ids, answers, targets = self.rows(act, source)
        right = [int(one == other) for one, other in zip(sorted(answers), sorted(targets), strict=True)]
        value: Any = sum(right) / len(right) if right else Undefined("the split has no examples")
        return Scores({"id": ids}, {"accuracy": value})


class WrongDirection(SoundEvaluator):
    metrics = (Metric("accuracy", "min", worst=1.0, low=0.0, high=1.0, per_unit=True),)


class BeyondItsRange(SoundEvaluator):
    metrics = (Metric("accuracy", "max", worst=0.0, low=0.0, high=0.5),)


class WorstIsGood(SoundEvaluator):
    metrics = (Metric("accuracy", "max", worst=0.5, low=0.0, high=1.0, per_unit=True),)


class ZeroForNothing(SoundEvaluator):
    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        scores = super().score(act, source, signature)
        value = scores.metrics["accuracy"]
        return Scores(scores.units, {"accuracy": 0.0 if isinstance(value, Undefined) else value})


class WrongKeys(SoundEvaluator):
    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        scores = super().score(act, source, signature)
        return Scores(scores.units, {"acuracy": scores.metrics["accuracy"]})


class UnorderedRows(SoundEvaluator):
    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        scores = super().score(act, source, signature)
        return Scores({"id": sorted(scores.units["id"])}, scores.metrics)


class MeansOfBatches(SoundEvaluator):
    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        scores = super().score(act, source, signature)
        each = [max(act(batch.inputs, batch.ids).value.numpy() == batch.targets) for batch in source.each(act)]
        return Scores({"id": scores.units["id"]}, {"accuracy": float(np.mean(each)) if each else Undefined("none")})


class FlattersChance(SoundEvaluator):
    metrics = (Metric("accuracy", "max", worst=0.0, low=0.0, high=1.0),)

    def score(self, act: Any, source: Any, signature: Any) -> Scores:
        scores = super().score(act, source, signature)
        value: Any = scores.metrics["accuracy"]
        half = value if isinstance(value, Undefined) else 0.5 + 0.5 * value
        return Scores({"id": scores.units["id"]}, {"accuracy": half})


# ------------------------------------------------------------------------------------------------- the smaller kinds


def below_zero(share: float) -> float:
    return 1 - 2 * share


def counting(share: float) -> float:
    CALLS.append(1)
    return 1 / len(CALLS)


def uphill(params: Any, learning_rate: float, weight_decay: float) -> Any:
    import torch

    return torch.optim.SGD(params, lr=learning_rate, maximize=True)


def stubborn(params: Any, learning_rate: float, weight_decay: float) -> Any:
    """An optimiser that steps at its own rate, whatever the schedule says."""
    import torch

    class Own(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                group["lr"] = learning_rate
            return super().step(closure)

    return Own(params, lr=learning_rate)


def forgetful(params: Any, learning_rate: float, weight_decay: float) -> Any:
    import torch

    class Own(torch.optim.Adam):
        def state_dict(self) -> Any:
            return super().state_dict() | {"state": {}}

    return Own(params, lr=learning_rate)


class LossOfItsOwnShape(novum.Technique):
    def on_loss(self, loss: Any, net: Any, batch: Any) -> Any:
        return loss.reshape(1)


class KeepsAnObject(novum.Technique):
    def on_build(self, net: Any) -> None:
        self.net = net


class Repeats(Proposer):
    """Proposes one thing again and again."""

    def propose(self, seen: Any) -> Any:
        arms = next(iter(seen.question.arms.values()))
        return novum.Hypothesis(
            "cosine is better", control=arms["control"], treatment=arms["treatment"], minimum_effect=0.1, max_seeds=5
        )


class RaisesTheRoof(Proposer):
    """Proposes what nobody allowed it to change."""

    options = {"recipe.learning_rate": 50.0}
    rests_on: tuple[str, ...] = ()

    def propose(self, seen: Any) -> Any:
        if seen.standing is None:
            return None
        return seen.standing.claim(Change(("left",), self.options, "a rate beyond all bounds", rests_on=self.rests_on))


class WarmsUp(RaisesTheRoof):
    """Changes an option that is not in the space at all."""

    options = {"recipe.warmup": 0.5}


class Imagines(RaisesTheRoof):
    """Rests on a fact that nobody observed."""

    options = {"recipe.schedule": "cosine"}
    rests_on = ("left/moon.phase",)


class Insists(RaisesTheRoof):
    """Claims the same change in every round, in other words."""

    def propose(self, seen: Any) -> Any:
        if seen.standing is None:
            return None
        words = f"cosine is better, {seen.standing.round}"
        return seen.standing.claim(Change(("left",), {"recipe.schedule": "cosine"}, words))


class ScreensAnew(RaisesTheRoof):
    """Screens what it had screened before it was interrupted."""

    def propose(self, seen: Any) -> Any:
        if seen.standing is None:
            return None
        rates = [Change(("left",), {"recipe.learning_rate": rate}, f"rate {rate}") for rate in (0.01, 0.02, 0.03)]
        seen.standing.try_out(rates)
        return seen.standing.claim(rates[0])


class Chatters(Proposer):
    def propose(self, seen: Any) -> Any:
        return "try a larger rate"


class LosesAJob(InlineExecutor):
    def run(self, jobs: Any) -> Iterator[Any]:
        yield from list(super().run(jobs))[1:]


class HidesFailures(InlineExecutor):
    def run(self, jobs: Any) -> Iterator[Any]:
        for result in super().run(jobs):
            yield dataclasses.replace(result, value=result.value or {}, error=None)
