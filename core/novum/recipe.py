"""How to train, in words that all domains share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, field_validator

from novum.config import Config, shown
from novum.errors import ConfigError

_BUDGET = re.compile(r"(?P<count>[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?)\s*(?P<unit>[a-z]+)?")
_UNITS = {"epoch": "epochs", "epochs": "epochs", "sample": "samples", "samples": "samples"} | {
    "step": "steps",
    "steps": "steps",
    "unit": "units",
    "units": "units",
    None: "units",
}


def _techniques(value: object) -> Mapping[str, Mapping[str, Any]]:
    """Techniques as one writes them, {name: options, or true for the defaults, or false for none}; immutable."""
    if not isinstance(value, Mapping):
        raise ValueError(
            "techniques are tables by name, recipe.techniques.NAME = { … }; a file names no code: a person loads it, "
            "novum --load FILE"
        )
    found: dict[str, Mapping[str, Any]] = {}
    for name, options in value.items():
        if options is True or isinstance(options, Mapping):
            found[str(name)] = MappingProxyType({} if options is True else dict(options))
        elif options is not False:
            raise ValueError(
                f"{shown(name)} received {shown(options)}; give a table of its options, true for its defaults, or "
                "false to leave it out"
            )
    return MappingProxyType(found)


Techniques = Annotated[
    Mapping[str, Mapping[str, Any]],
    PlainValidator(_techniques),
    PlainSerializer(lambda value: {name: dict(options) for name, options in value.items()}),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["object", "boolean"]}}),
]


class Recipe(Config):
    """How to train one arm."""

    budget: str = "1 epochs"
    """How much experience: "6 epochs", "5_000 samples", "100_000 steps" (environment steps), or a number of
    units."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Units in a batch: samples, or environment steps collected before each update."""
    optimizer: str = "adamw"
    """Name of an installed optimiser (`novum plugins list --kind optimizer`)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """The step size that the schedule scales."""
    schedule: str = "constant"
    """Name of an installed schedule: a factor on the learning rate over the share of the budget used."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the budget over which the rate first rises from zero; the schedule covers the rest."""
    weight_decay: Annotated[float, Field(ge=0, json_schema_extra={"usual": [0.0, 0.3]})] = 0.0
    """Decay of the weights, as the optimiser defines it."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of `sgd`, `rmsprop` and `muon`; the other optimisers have none."""
    clip: Annotated[float, Field(ge=0, json_schema_extra={"usual": [0.0, 10.0]})] = 0.0
    """Largest norm of the gradient of one loss; 0 clips nothing."""
    averaging: Literal["none", "ema", "swa"] = "none"
    """What is scored and kept instead of the last weights: `ema`, their exponential moving average (decay 0.999, warmed
    up); `swa`, their mean over the last quarter of the budget, with the statistics of batch norms estimated anew."""
    early_stop: Annotated[int | None, Field(ge=1, le=19, strict=True)] = None
    """Training ends after so many looks in a row without a lower loss on a slice of `train` that is held back for it;
    20 looks are spread evenly over the budget. The best weights by that loss are scored and kept. None: no slice is
    held back, and the whole budget is used."""
    early_stop_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the training units in that slice; without `early_stop` it means nothing. Epochs of the budget count the
    whole of `train` all the same."""
    techniques: Techniques = {}
    """Installed techniques (`novum plugins list --kind technique`) by name, each with a table of its options; true
    stands for its defaults, false leaves it out. Several apply in the alphabetical order of their names."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Arithmetic of the losses; `auto` is bf16 on a GPU that is fast at it, else fp32. A device that lacks what was
    asked for refuses it (`novum doctor` says what it has); scores are always computed in fp32."""
    layout: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Order in memory of images and of what convolves them; `auto` is channels-last where a probe finds it at least a
    twentieth faster, else contiguous."""
    compile: Literal["auto", "off", "on"] = "auto"
    """Whether losses are compiled (`torch.compile`): `auto` where a probe finds that a trial gains twice what compiling
    takes, `off` never, `on` always."""
    replicates: Literal["auto", "separate", "joint"] = "auto"
    """Whether a claim trains the seeds of an arm together, in one process and one step for all; `auto` asks a short
    probe when the claim is registered."""
    devices: Annotated[int, Field(ge=1)] = 1
    """How many devices (GPUs, or cores where there is none) train one trial together. Each computes its share of every
    batch and all step alike: the numbers are those of one device, up to rounding and what dropout draws."""
    time_limit: Annotated[float | None, Field(gt=0)] = None
    """Seconds of wall time after which a trial ends as an outcome: it counts as the metric's worst value. Without one,
    a trial that hangs is stopped all the same, and tried again: it is no data."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores that a cluster (the executor `ray`) keeps free for one trial, whose arithmetic uses one thread."""
    gpus: Annotated[float | None, Field(ge=0)] = None
    """GPUs that a cluster keeps free for one trial; a share below 1 packs several. None: one, where it has any."""
    memory_gb: Annotated[float | None, Field(gt=0)] = None
    """Memory in GB that a cluster keeps free for one trial; None: it is not counted."""

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str):
            amount(text)
        return text


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a recipe with others put over them; techniques come together by name, and by option."""
    found = {**base, **over}
    below, above = base.get("techniques"), over.get("techniques")
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        both = {
            name: {**below[name], **options}
            for name, options in above.items()
            if isinstance(options, Mapping) and isinstance(below.get(name), Mapping)
        }
        found["techniques"] = {**below, **above, **both}
    return found


def amount(budget: str) -> tuple[float, str]:
    """Parse a budget into (count, "epochs" | "samples" | "steps" | "units").

    Raises ConfigError for anything else, and for zero.
    """
    match = _BUDGET.fullmatch(budget.strip().lower())
    unit = _UNITS.get(match["unit"]) if match else None
    count = float(match["count"]) if match else 0.0
    if match is None or unit is None or not 0 < count < 1e15:
        raise ValueError(
            "a budget is a positive number and a unit, such as '6 epochs', '5_000 samples' or '100_000 steps'"
        )
    return count, unit


def units(budget: str, size: int | None) -> int:
    """The budget in units of experience, for a source of `size` units (None: an environment).

    Raises ConfigError for epochs of something endless, samples of an environment, or steps of a data set.
    """
    count, unit = amount(budget)
    if unit == "epochs" and size is None:
        raise ConfigError(
            f"recipe.budget: {budget!r} counts epochs, but an environment has no end; give environment steps, "
            "such as '100_000 steps'."
        )
    if unit == "samples" and size is None:
        raise ConfigError(f"recipe.budget: {budget!r} counts samples, but this task is an environment; say 'steps'.")
    if unit == "steps" and size is not None:
        raise ConfigError(
            f"recipe.budget: {budget!r} counts environment steps, but this task is a data set of {size} samples; "
            "say 'epochs' or 'samples'."
        )
    return max(1, round(count * (size or 1) if unit == "epochs" else count))
