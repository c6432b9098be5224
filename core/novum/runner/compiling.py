"""Compiled losses (`torch.compile`): what is needed for them, and what happens where one does not compile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from novum.errors import ConfigError
from novum.runner.resume import tensors_in

if TYPE_CHECKING:
    import torch

    from novum.recipe import Recipe

    Function = Callable[..., torch.Tensor]

WAYS = ("default", "reduce-overhead")
"""How losses are compiled: into fused kernels, and into those replayed as CUDA graphs."""
FUNCTIONS = 8
"""Functions of losses that one trial compiles."""
SHAPES = 4
"""Shapes of arguments for which one function is compiled: each costs as much as the first."""


class Compiler:
    """Compiles the functions of one trial's losses, each whole and once for every shape of its arguments.

    Kernels know their shapes, so that the numbers of a step depend on no earlier one, and dropout draws from torch's
    generators as it does in eager steps: a trial that is resumed compiles again and gives the same numbers.

    way: one of `WAYS`. tell: hears one sentence when compiling fails; from then on every loss is computed eagerly.
    """

    def __init__(self, way: str, tell: Callable[[str], None]) -> None:
        self._graphs = way == "reduce-overhead"
        self._tell = tell
        self._failed = False
        self._compiled: dict[Function, Function] = {}
        self._shapes: dict[Function, set[Hashable]] = {}

    def of(self, function: Function, arguments: tuple[Any, ...]) -> Function:
        """What to call instead of a loss's function, with these arguments; the function itself where it can't be."""
        if self._failed:
            return function
        try:
            shapes = self._shapes.setdefault(function, set())
        except TypeError:
            self._stop(f"the function {function!r} cannot be told from others (it has no hash)")
            return function
        shapes.add(signature(arguments))
        if len(self._shapes) > FUNCTIONS:
            self._stop(f"the model makes new functions for its losses, more than {FUNCTIONS}")
            return function
        if len(shapes) > SHAPES:
            self._stop(f"batches come in more than {SHAPES} shapes")
            return function
        if function not in self._compiled:
            self._compiled[function] = _compile(function, self._graphs)
        if self._graphs:
            import torch

            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # the last step's are read
        return self._compiled[function]

    def fails(self, error: Exception) -> bool:
        """Whether an error comes from compiling; then nothing is compiled any more, and the step can be done again."""
        if not isinstance(error, _errors()):
            return False
        self._stop(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")
        return True

    def _stop(self, why: str) -> None:
        self._failed = True
        self._compiled.clear()
        self._tell(f"its losses could not be compiled ({why[:300]}) and were computed eagerly from there on")


def signature(arguments: tuple[Any, ...]) -> Hashable:
    """The shapes and types of a loss's arguments: one kernel is compiled for each."""
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_in(arguments))


def _compile(function: Function, graphs: bool) -> Function:
    import torch

    options: dict[str, str | int | bool | Callable[..., Any]] = {"fallback_random": True, "compile_threads": 1}
    if graphs:
        options["triton.cudagraphs"] = True
    # A graph that breaks would be compiled piece by piece, with limits that depend on what came before.
    compiled: Function = torch.compile(function, dynamic=False, fullgraph=True, options=options)
    return compiled


def _errors() -> tuple[type[Exception], ...]:
    """What torch raises where it cannot compile; a device that is out of memory and what a loss raises are none."""
    from torch._dynamo import exc as dynamo
    from torch._inductor import exc as inductor

    return (
        dynamo.TorchDynamoException,
        dynamo.FailOnRecompileLimitHit,
        inductor.OperatorIssue,
        inductor.SubgraphLoweringException,
        inductor.InvalidCxxCompiler,
        inductor.CppCompileError,
    )


def missing(kind: str) -> str | None:
    """What compiling losses for a device kind lacks on this machine, and how to get it; None: nothing is known to."""
    if kind == "mps":
        return "torch compiles for a Mac's GPU only in part; say 'auto' or 'off'"
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((named,) if named else ("g++", "clang++", "c++"))):
        asked = f"CXX names {named!r}, which is not there" if named else "there is no C++ compiler (g++ or clang++)"
        return f"{asked}; install one, or say 'auto' or 'off'"
    if kind == "cuda":
        import importlib.util

        if importlib.util.find_spec("triton") is None:
            return "the package triton is not installed; install it, or say 'auto' or 'off'"
    return None


def require(recipe: Recipe, kind: str) -> None:
    """Raise ConfigError where a recipe's `compile` is "on" and its losses cannot be compiled for the device kind."""
    if recipe.compile == "on" and recipe.techniques:
        raise ConfigError(
            f"recipe.compile: 'on' was received together with techniques ({', '.join(sorted(recipe.techniques))}), "
            "which hook into every step; say 'auto' or 'off', or leave the techniques out."
        )
    why = missing(kind) if recipe.compile == "on" else None
    if why is not None:
        raise ConfigError(f"recipe.compile: 'on' is not possible here: {why}.")
