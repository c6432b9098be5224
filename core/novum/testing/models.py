"""What a model promises: it builds, learns and answers, and the same seed gives the same weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from novum.data import Loss
from novum.recipe import Recipe
from novum.seeds import Seed, installed, read, write
from novum.task import Split, only
from novum.testing.batches import acts, digest
from novum.testing.choices import inert
from novum.testing.laws import DATA, Inapplicable, expect, law
from novum.testing.training import Training, nobody, stream

if TYPE_CHECKING:
    import torch
    from torch import nn

    from novum.data import Batch
    from novum.runner.parts import Parts
    from novum.testing.subject import Subject

STEPS = 300
"""Most steps that a model may take to overfit one batch."""
LEARNED = 0.5
"""Share of its first loss below which a batch counts as learned by heart."""


# -------------------------------------------------------------------------------------------------- what it declares


@law("a model names the kinds of inputs and outputs that it fits, and gives a recipe that can be used", "model")
def it_declares_what_it_fits(subject: Subject) -> None:
    for name in ("inputs", "outputs"):
        kinds = getattr(subject.cls, name)
        right = isinstance(kinds, tuple) and kinds and all(isinstance(each, str) for each in kinds)
        expect(right, f"`{name}` is {kinds!r}; name the kinds of spaces, such as {name} = ('vector',)")
    task = subject.task()
    signature = task.signature()
    recipe = subject.make().recipe(signature)
    expect(isinstance(recipe, Recipe), f"`recipe` gives {type(recipe).__name__}; give a novum.Recipe")
    from novum.recipe import units

    with only(Split.TRAIN):
        units(recipe.budget, task.source(Split.TRAIN, Seed(0), recipe).size)


@law("what `prepare` fits comes back whole from its files, and encodes one for one without drawing", "model")
def a_preparation_is_kept_whole(subject: Subject) -> None:
    training = Training(subject, 0)
    preparation, kind = training.trainer.preparation, subject.cls.preparation
    expect(
        isinstance(preparation, kind),
        f"`prepare` gives {type(preparation).__name__}, but the class says `preparation = {kind.__name__}`",
    )
    files = preparation.dump()
    again = kind.load(files)
    expect(again.dump() == files, "what `load` makes of `dump` gives other files; keep the whole state in them")
    with only(Split.TRAIN), stream():
        source = training.parts.task.source(Split.TRAIN, Seed(0), training.parts.recipe)
        if acts(source):
            return
        inputs = source.next(nobody).inputs
        before = _position()
        encoded = preparation.encode(inputs)
        drew = _position() != before
    expect(len(encoded) == len(inputs), f"`encode` makes {len(encoded)} of {len(inputs)} units; it is one for one")
    expect(not drew, "`encode` draws; it runs once per unit and is kept, so draw in `losses` instead")
    same = digest(list(again.encode(inputs))) == digest(list(encoded))
    expect(same, "a preparation that was read back encodes the same units otherwise")


def _position() -> Any:
    from novum.runner.resume import position

    return position(read())


# ---------------------------------------------------------------------------------------------------- what it learns


@law("losses are finite scalars, with finite gradients for the parameters that they name", "model")
def losses_are_finite_with_gradients(subject: Subject) -> None:
    import torch

    training = Training(subject, 0)
    net, model = training.trainer.net, training.parts.model
    named: dict[str, bool] = {}
    with stream(), torch.no_grad():
        batch = training.batch()
        net.train()
        for number, loss in enumerate(model.losses(net, batch)):
            expect(
                isinstance(loss, Loss), f"`losses` yields {type(loss).__name__}; yield novum.Loss(function, arguments)"
            )
            params = _params(net, loss.prefix)
            expect(params, f"the loss {loss.name!r} trains {loss.prefix!r}, below which the network has no parameters")
            value = _value(loss, net)
            torch.autograd.backward(value, inputs=list(params.values()))
            for name, param in params.items():
                finite = param.grad is None or bool(param.grad.isfinite().all())
                expect(finite, f"the gradient of {name} by the loss {loss.name!r} is not finite")
                named[name] = named.get(name, False) or param.grad is not None
                param.grad = None
            if number >= 3:
                break  # a generator of many losses shows what it is by its first ones
    expect(named, "`losses` yields nothing; yield at least one novum.Loss")
    bare = sorted(name for name, reached in named.items() if not reached)
    expect(
        not bare,
        f"no loss reaches {', '.join(bare[:3])}, though the prefix names it; use it, freeze it (requires_grad=False), "
        "or name a prefix without it",
    )


def _params(net: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {name: each for name, each in net.named_parameters() if name.startswith(prefix) and each.requires_grad}


def _value(loss: Loss, net: nn.Module) -> torch.Tensor:
    import torch

    with torch.enable_grad():
        value = loss.function(net, *loss.arguments)
    expect(
        isinstance(value, torch.Tensor) and value.ndim == 0,
        f"the loss {loss.name!r} is {_shape(value)}; give a scalar tensor: the mean over the batch",
    )
    expect(bool(value.isfinite()), f"the loss {loss.name!r} is {float(value)} on the first batch")
    expect(
        value.requires_grad, f"the loss {loss.name!r} has no gradient; compute it from the network, without detaching"
    )
    return value


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")


@law("a loss is the mean over its arguments' first dimension: pieces of a batch weigh as much as they hold", "model")
def losses_are_means(subject: Subject) -> None:
    import torch

    from novum.runner.resume import pieces

    training = Training(subject, 0)
    net = training.trainer.net
    with stream(), torch.no_grad():
        batch = training.batch()
        net.eval()
        for loss in training.parts.model.losses(net, batch):
            whole = float(loss.function(net, *loss.arguments))
            parts = [(share, float(loss.function(net, *arguments))) for share, arguments in pieces(loss.arguments, 2)]
            mean = math.fsum(share * value for share, value in parts)
            expect(
                math.isclose(whole, mean, rel_tol=1e-3, abs_tol=1e-4),
                f"the loss {loss.name!r} of a batch is {whole:.6g}, and {mean:.6g} from its halves; a batch that does "
                "not fit into memory is computed in pieces: take the mean over units, not their sum, nor a statistic "
                "of the whole batch",
            )
            break


@law("a model learns one batch by heart: its loss falls to half within 300 steps", "model", on=DATA)
def it_can_overfit_one_batch(subject: Subject) -> None:
    import torch

    training = Training(subject, 0)
    if acts(training.trainer.source):
        raise Inapplicable("an environment gives other experience as soon as the model acts otherwise")
    trainer, steps = training.trainer, training.trainer.steps
    batch = training.batch()
    with stream() as state, torch.no_grad():
        first = _loss(training, batch)
        last = first
        for step in range(STEPS):
            trainer.net.train()
            for loss in training.parts.model.losses(trainer.net, batch):
                steps.take(loss, 0.5, step, batch)
            if step % 10 == 9:
                last = _loss(training, batch)
                if not math.isfinite(last) or last <= LEARNED * first:
                    break
    del state
    expect(
        last <= LEARNED * first,
        f"after {STEPS} steps on one batch of {len(batch.ids)} units its loss is {last:.3g}, and was {first:.3g}; look "
        "whether inputs reach the loss, gradients reach the weights, and the recipe's rate fits",
    )


def _loss(training: Training, batch: Batch) -> float:
    """The loss of a batch in scoring mode, always by the same draws, which move no others."""
    kept = read()
    with installed(Seed(0, ("contract", "loss"))):
        training.trainer.net.eval()
        value = float(training.trainer.steps.forward(training.trainer.net, batch))
    write(kept)
    return value


# -------------------------------------------------------------------------------------------------------- same bytes


def _trained(subject: Subject, seed: int, parts: Parts | None = None, steps: int = 3) -> str:
    training = Training(subject, seed, parts)
    training.steps(steps)
    return training.weights()


@law("the same seed gives the same weights, byte for byte", "model")
def same_seed_gives_the_same_weights(subject: Subject) -> None:
    expect(
        _trained(subject, 0) == _trained(subject, 0),
        "two trainings of one seed end with different weights; draw from the `seed` that is given or from the ordinary "
        "generators, keep nothing in the module or the class, and avoid operations that are not deterministic",
    )


@law("another seed gives other weights", "model")
def another_seed_gives_other_weights(subject: Subject) -> None:
    first, other = Training(subject, 0), Training(subject, 1)
    if first.weights() == other.weights():
        first.steps(3)
        other.steps(3)
    expect(
        first.weights() != other.weights(),
        "two seeds give the same weights before and after training; a constant seeds a generator, in `build` or at "
        "import",
    )


@law("a model keeps its configuration alone: a second training with one object is as the first", "model")
def a_model_keeps_nothing(subject: Subject) -> None:
    parts = subject.parts()
    first, second = (_trained(subject, 0, parts) for _ in range(2))
    expect(
        first == second,
        "a second training with the same object ends with other weights; put what changes into the network or the "
        "source",
    )


@law("an option that is inert changes no weight, and so does one written out at its default", "model")
def an_inert_option_changes_no_weight(subject: Subject) -> None:
    base = _trained(subject, 0)
    written = subject.but(options=subject.config().model_dump(mode="json"))
    expect(_trained(written, 0) == base, "the weights change when the options are written out at their defaults")
    for name, value in inert(subject).items():
        other = _trained(subject, 0, subject.parts(subject.make(**{name: value})))
        expect(other == base, f"{name} = {value!r} changes the weights, though {name!r} is said to be inert")


@law("answering changes nothing: scoring in between gives the same weights", "model")
def answering_changes_nothing(subject: Subject) -> None:
    straight = _trained(subject, 0, steps=4)
    training = Training(subject, 0)
    training.steps(2)
    training.score()
    training.steps(2)
    expect(
        training.weights() == straight,
        "a training that is scored in between ends with other weights; `act` must change neither the network (its "
        "buffers, its mode) nor what is drawn later",
    )


@law("a training that goes on from a checkpoint ends with the weights of one that was never stopped", "model")
def a_training_resumes_exactly(subject: Subject) -> None:
    from novum.runner.checkpoint import Shelf

    straight = Training(subject, 0)
    if straight.trainer.source.state_dict() is None:
        raise Inapplicable("the task's source gives no state, so that a killed trial starts from its beginning")
    straight.steps(4)

    def shelf() -> Shelf:
        return Shelf(subject.folder, "contract", {}, every=0.0)

    stopped = Training(subject, 0)
    stopped.trainer.shelf = shelf()
    stopped.steps(2)
    reading = shelf()
    resumed = Training(subject, 0)
    resumed.trainer = reading.resume(lambda: Training(subject, 0).trainer)
    if not reading.resumed:
        told = [*stopped.trainer.shelf.deviations, *reading.deviations]
        expect(not told, f"no checkpoint could be used: {'; '.join(told)}")
        raise Inapplicable("its units are encoded at random, so that no checkpoint is written")
    resumed.steps(2)
    expect(
        resumed.weights() == straight.weights(),
        "the weights after resuming are others; keep what training changes in the network's parameters and buffers",
    )
