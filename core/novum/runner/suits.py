"""Whether the seeds of an arm are best trained together or apart: a short probe, asked once, at registration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from novum.recipe import Recipe
from novum.runner import device as devices
from novum.runner.optimizers import elementwise
from novum.runner.parts import Actor, Parts
from novum.runner.probe import clock, interleaved
from novum.runner.resume import position
from novum.seeds import Seed, installed, read
from novum.task import Split, only

LARGEST = {"cpu": 1_000_000, "cuda": 20_000_000}
LONGEST = {"cpu": 0.005, "cuda": 0.05}
"""Parameters of a network, and seconds of its step, beyond which nothing is probed further: there arithmetic takes the
time, and one step for all saves none of it."""
WORTH = 0.8
"""Training together is chosen where it takes at most this share of the time that training apart does."""
BLOCKS = (4, 16)
"""Sizes of block that are measured."""
SECONDS, ROUNDS = 0.25, 3
"""For which each way is measured, at most, in so many rounds."""
TOLERANCE = 1e-3
"""Relative difference of a loss, computed together and apart, beyond which it is not the same computation."""

Way = Callable[[int], object]
Mode = tuple[str, dict[str, Any]]
"""("joint", {"block", "seed", "apart"}: seconds per unit of experience for a block, for each seed in it, and for a seed
that is trained alone), or ("separate", {"undefined": why})."""


def mode(plan: Mapping[str, Any]) -> Mode:
    """The way in which the seeds of a plan are trained. Raises what the arm raises that cannot train."""
    return mode_of(Parts.of(plan["arm"]), plan)


def mode_of(parts: Parts, plan: Mapping[str, Any]) -> Mode:
    """The same for parts at hand; of the plan it reads "units", "device" and "precision"."""
    why = refusal(parts.recipe)
    told: dict[str, Any] = {"undefined": why} if why is not None else probe(plan, parts)
    if "undefined" in told:
        return "separate", told
    return decide(told, parts.recipe.replicates)


def refusal(recipe: Recipe) -> str | None:
    """Why a recipe's seeds are not trained together, whatever the network; None where they may be."""
    reasons = {
        "the recipe says so": recipe.replicates == "separate",
        f"the optimiser {recipe.optimizer!r} does not work element by element": not elementwise(recipe.optimizer),
        "techniques hook into its steps": bool(recipe.techniques),
        "its weights are averaged": recipe.averaging != "none",
        "the recipe asks for a layout": recipe.layout == "channels-last",
        "the recipe asks for compiling": recipe.compile == "on",
        "each of its trials runs over several devices": recipe.devices > 1,
        "its trials may stop early": recipe.early_stop is not None,
        "its trials have a time limit": recipe.time_limit is not None,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def decide(told: Mapping[str, float], asked: str = "auto") -> Mode:
    """What follows from the seconds that were measured; the larger block counts, whose looks a claim would be given."""
    together = told["block"] / BLOCKS[-1] + told["seed"]
    if asked == "joint" or together <= WORTH * told["apart"]:
        return "joint", dict(told)
    return "separate", {"undefined": f"a seed would take {together / told['apart']:.2g} times as long with others"}


def probe(plan: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Seconds per unit of experience, together and apart; or {"undefined": why} for what cannot be trained together."""
    from novum.runner.batched import UnsuitedError
    from novum.runner.joint import Joint
    from novum.runner.train import Trainer

    how = {"units": plan["units"], "device_kind": plan["device"], "precision": plan["precision"]}
    seeds = [Seed(0, ("probe", str(at))) for at in range(BLOCKS[-1])]
    with only(Split.TRAIN):
        source = parts.task.source(Split.TRAIN, seeds[0], parts.recipe)
    if source.acts:
        return {"undefined": "its experience comes from acting"}
    try:
        first = Joint(parts, seeds[:1], **how)
    except Exception as error:
        return _cannot(error)
    most = LARGEST.get(plan["device"], LARGEST["cpu"])
    if sum(each.numel() for each in first.parameters.values()) > most:
        return {"undefined": f"its network has more than {most:,} parameters"}
    try:
        if not _compare(parts, first):
            _rehearse(parts, seeds[:2], how)
        apart = Trainer(parts, seeds[0], **how)
        alone: Way = functools.partial(apart.stretch, 0)
        step = measured([alone], plan["device"], parts.recipe.batch_size)[0] * parts.recipe.batch_size
        if step > LONGEST.get(plan["device"], LONGEST["cpu"]):
            return {"undefined": f"its steps are long ({1000 * step:.3g} ms)"}
        ways: list[Way] = [alone, *(functools.partial(_stretch, Joint(parts, seeds[:size], **how)) for size in BLOCKS)]
        one, few, many = measured(ways, plan["device"], parts.recipe.batch_size)
    except UnsuitedError as error:
        return {"undefined": str(error)}
    except Exception as error:  # it trains apart, as its rehearsal has shown
        return _cannot(error)
    slope = max((many - few) / (BLOCKS[1] - BLOCKS[0]), 0.0)
    return {"apart": one, "seed": slope, "block": max(few - BLOCKS[0] * slope, 0.0)}


def _cannot(error: Exception) -> dict[str, Any]:
    told = f"{type(error).__name__}: {str(error).strip()[:120]}"
    return {"undefined": f"its seeds cannot be trained at once ({told})"}


def _stretch(block: Any, until: int) -> None:
    block.used = 0
    block.stretch(until)


def measured(ways: list[Way], kind: str, batch: int) -> list[float]:
    """Seconds per unit of each way, which trains for at least so many units; see `novum.runner.probe.interleaved`."""
    read = clock(kind)
    sizes = []
    for way in ways:
        way(2 * batch)  # traces and first allocations
        began = read()
        way(batch)
        sizes.append(batch * max(1, min(100, round(SECONDS / ROUNDS / (read() - began)))))
    turns = [functools.partial(way, units) for way, units in zip(ways, sizes, strict=True)]
    times = interleaved(turns, read, SECONDS * len(ways))
    return [taken / units for taken, units in zip(times, sizes, strict=True)]


def _compare(parts: Parts, block: Any) -> bool:
    """Whether a loss draws from torch's generator.

    Raises UnsuitedError where a model's losses for one batch are not one loss that can be computed for many seeds. That
    is looked at in scoring mode, in which a network draws nothing.
    """
    import torch

    from novum.runner.batched import UnsuitedError

    replicate = block.replicates[0]
    net, model, encoder = replicate.net, parts.model, replicate._encoders[Split.TRAIN]
    with (
        only(Split.TRAIN),
        installed(Seed(0, ("probe", "compare"))),
        devices.products(replicate.precision, block.device.type),
        torch.no_grad(),
    ):
        before = position(read())
        batch = encoder.batch(replicate.source.next(Actor(model, net, encoder)))
        if before != position(read()):
            raise UnsuitedError("its units are drawn or encoded at random")
        net.train()
        found = list(model.losses(net, batch))
        if len(found) != 1:
            raise UnsuitedError(f"its model yields {len(found)} losses for a batch")
        (loss,) = found
        net.eval()
        with devices.autocast(replicate.precision, block.device.type):
            alone = float(loss.function(net, *loss.arguments))
        names = [name for name, own in block.parameters.items() if own.requires_grad]
        values, _ = block._batched.gradients(loss.function, [loss.arguments], names)
        again = list(model.losses(net, batch))
        if again[0].function != loss.function:
            raise UnsuitedError("its model makes a new loss function for each batch")
        _agree(float(values[0]), alone)
        net.train()
        before = position(read())
        with devices.autocast(replicate.precision, block.device.type):
            loss.function(net, *loss.arguments)
        return before != position(read())


def _rehearse(parts: Parts, seeds: list[Seed], how: Mapping[str, Any]) -> None:
    """Raise UnsuitedError where three steps of two seeds, which draw nothing, go otherwise together than apart."""
    from novum.runner.joint import Joint
    from novum.runner.train import Trainer

    until = 3 * parts.recipe.batch_size
    block = Joint(parts, seeds, **how)
    block.stretch(until)
    for together, seed in zip(block.tally.means_of_each(len(seeds)), seeds, strict=True):
        alone = Trainer(parts, seed, **how)
        alone.stretch(0, until)
        for name, value in alone.steps.means().items():
            _agree(together[name], value)


def _agree(together: float, alone: float) -> None:
    from novum.runner.batched import UnsuitedError

    if not abs(together - alone) <= TOLERANCE * max(1.0, abs(alone)):
        raise UnsuitedError(f"its loss is {together:.6g} when computed with others and {alone:.6g} alone")
