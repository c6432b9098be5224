"""What a trained model gives: answers that fit, a network that is read back whole, weights to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum.data import Prediction, Signature
from novum.errors import NovumError
from novum.seeds import Seed
from novum.task import Split, only
from novum.testing.batches import acts, digest
from novum.testing.laws import Broken, expect, law
from novum.testing.training import Training, nobody, stream

if TYPE_CHECKING:
    from novum.testing.subject import Subject

TRAINS = ("task", "model")


@law("a network is read back whole: built anew and filled with the weights it answers the same", "model")
def a_network_is_read_back_whole(subject: Subject) -> None:
    import torch

    from novum.model import Weights
    from novum.runner.jobs import restore
    from novum.runner.parts import Actor, Encoder
    from novum.runner.resume import tensors_of

    training = Training(subject, 0)
    training.steps(2)
    trainer, parts = training.trainer, training.parts
    tensors = {name: each.clone() for name, each in trainer.net.state_dict().items()}
    preparation = subject.cls.preparation.load(trainer.preparation.dump())
    try:
        net = restore(parts, preparation, Weights(tensors))
    except NovumError as error:
        raise Broken(f"{error}; shapes and names must follow from options, signature and preparation alone") from error
    net.eval()
    expect(set(net.state_dict()) == set(tensors), "the network built anew has other tensors")
    inputs, ids = _inputs(training)
    with stream():
        before = training.actor()(inputs, ids)
        after = Actor(parts.model, net, Encoder(preparation, torch.device("cpu")))(inputs, ids)
    same = all(
        digest(one) == digest(other)
        for one, other in (
            (before.value, after.value),
            (before.probabilities, after.probabilities),
            (before.extras, after.extras),
        )
    )
    lost = sorted(set(tensors_of(trainer.net)) - set(tensors))
    expect(
        same,
        "a network with the same weights answers otherwise; register what it needs as parameters or persistent buffers"
        + (f" (not kept: {', '.join(lost)})" if lost else ""),
    )


def _inputs(training: Training) -> tuple[Any, tuple[str, ...]]:
    """Some inputs as sources give them, and their ids."""
    task = training.parts.task
    with only(Split.TRAIN), stream():
        source = task.source(Split.TRAIN, Seed(0), training.parts.recipe)
        if acts(source):
            batch = source.next(training.actor())
            return batch.inputs.reshape(-1, *batch.inputs.shape[2:])[:16], ()
        batch = source.next(nobody)
        return batch.inputs, batch.ids


@law("an arm can start from a trained one: `build` copies the weights that it is given", "model")
def it_starts_from_weights(subject: Subject) -> None:
    import torch

    from novum.model import Weights

    training = Training(subject, 0)
    trainer, parts = training.trainer, training.parts
    tensors = {name: each.clone() for name, each in trainer.net.state_dict().items()}
    for name, each in tensors.items():
        if each.is_floating_point() and each.numel():
            tensors[name] = each + 0.125
    start = Weights(tensors)
    with only(Split.TRAIN), stream(1):
        net = parts.model.build(parts.signature, trainer.preparation, Seed(1), start)
    expect(start.loaded, "`build` leaves the weights in `start` alone; call start.copy_into(net) where it is given")
    state = net.state_dict()
    wrong = [name for name in start.loaded if not torch.equal(state[name], tensors[name])]
    expect(not wrong, f"{', '.join(wrong[:3])} are other ones after `build`; copy last, and change nothing afterwards")


@law("an answer fits the signature: one per unit, in range, probabilities that sum to 1, the same each time", "model")
def answers_fit_the_signature(subject: Subject) -> None:
    import torch

    training = Training(subject, 0)
    inputs, ids = _inputs(training)
    act, signature = training.actor(), training.parts.signature
    with stream():
        answer = act(inputs, ids)
    with stream(1):
        again = act(inputs, ids)
    wrong = _wrong(answer, signature, len(inputs))
    expect(wrong is None, str(wrong))
    expect(
        torch.equal(answer.value, again.value),
        "two answers to the same inputs differ when it does not explore; draw only while exploring, and let dropout "
        "rest",
    )
    source = training.parts.task.source(Split.TRAIN, Seed(0), training.parts.recipe)
    if acts(source):
        with stream():
            explored = act(inputs, ids, explore=True)
        wrong = _wrong(explored, signature, len(inputs))
        expect(wrong is None, f"while exploring, {wrong}")


def _wrong(answer: Any, signature: Signature, count: int) -> str | None:
    """What of an answer to `count` inputs does not fit, in words."""
    if not isinstance(answer, Prediction):
        return f"`act` gives {type(answer).__name__}; give a novum.Prediction"
    value, kind = answer.value, signature.outputs.kind
    if len(value) != count:
        return f"`act` answers {len(value)} of {count} inputs; answer each once, in order"
    if kind in ("classes", "actions"):
        many = len(signature.outputs.names) if kind == "classes" else signature.outputs.count
        if value.ndim != 1 or value.is_floating_point():
            return f"an answer is {value.dtype} of shape {tuple(value.shape)}; {kind} are int64 positions, shape (B,)"
        if int(value.min()) < 0 or int(value.max()) >= many:
            return f"an answer is {int(value.max())}; positions are 0 to {many - 1}"
    elif kind == "controls":
        if tuple(value.shape[1:]) != (len(signature.outputs.low),) or not value.is_floating_point():
            size = len(signature.outputs.low)
            return f"an answer is {value.dtype} of shape {tuple(value.shape)}; controls are real, (B, {size})"
        if not bool(value.isfinite().all()):
            return "an answer is not finite"
    if answer.probabilities is not None:
        shares = answer.probabilities
        names = getattr(signature.outputs, "names", None)
        if names is not None and tuple(shares.shape) != (count, len(names)):
            return f"the probabilities are of shape {tuple(shares.shape)}; (B, C) is ({count}, {len(names)})"
        off = float((shares.sum(-1) - 1).abs().max())
        if not off < 1e-3 or float(shares.min()) < 0:
            return f"the probabilities of a unit miss 1 by {off:.3g}, the lowest is {float(shares.min()):.3g}"
    odd = [name for name, each in answer.extras.items() if len(each) != count]
    return f"the extra {odd[0]!r} has {len(answer.extras[odd[0]])} rows for {count} inputs" if odd else None


@law("a trial of it runs: a model learns from it without a loss that is not finite, and is scored", *TRAINS)
def a_trial_runs(subject: Subject) -> None:
    training = Training(subject, 0)
    training.steps(3)
    scores = training.score()
    expect(
        scores.units.get("id"), "its scores have no rows; `score` goes over source.each(act) and keeps a row per unit"
    )
