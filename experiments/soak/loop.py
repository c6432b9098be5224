"""One study to its end, with the stand-in for training: `python loop.py FOLDER`. Started again, it goes on.

Prints the verdict's text when it has one. The soak and the tests of faults kill it and start it again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import novum
from novum import plugins
from novum.executors import LocalExecutor
from novum.lab import Lines, Listener

PERFORM = "trainer:perform"


class Local(LocalExecutor):
    """The default executor with the stand-in for training, in a server that imports no torch."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **{**options, "preload": ()}, perform=PERFORM, light=True, grace=1.0)


def unused(*given: Any) -> Any:
    """No task or model is ever asked anything: the stand-in for training answers in their place."""
    raise AssertionError(f"the stand-in does this; a plugin was asked with {given!r}")


class Coin(novum.Task):
    """Names the problem; the stand-in knows the rest."""

    signature = observe = source = fingerprint = unused


class Guess(novum.Model):
    """Names the learner."""

    class Config(novum.Config):
        """What the stand-in reads."""

        skill: float = 0.0
        """What it is better by than the control."""

    inputs = ("vector",)
    outputs = ("classes",)
    recipe = build = losses = act = unused


def claim(skill: float, seeds: int, time_limit: float | None = None) -> novum.Hypothesis:
    """The treatment is better by its skill; seeds have a spread of 0.02 on each side."""
    recipe = {} if time_limit is None else {"time_limit": time_limit}
    control = novum.arm(novum.task(Coin), novum.model(Guess), **recipe)
    treatment = novum.arm(novum.task(Coin), novum.model(Guess, skill=skill), **recipe)
    return novum.Hypothesis(
        "skill helps", control=control, treatment=treatment, minimum_effect=0.01, max_seeds=seeds, goal="soak"
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--skill", type=float, default=0.015)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--time-limit", type=float)
    parser.add_argument("--ledger")
    parser.add_argument("--new", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    executor = plugins.adopt("executor", Local)
    options: dict[str, Any] = {} if given.ledger is None else {"ledger": given.ledger}
    options |= {"timeout": given.timeout, "listener": Listener() if given.quiet else Lines()}
    try:
        with novum.Study(given.folder, executor=executor, workers=given.workers, **options) as study:
            verdict = study.run(claim(given.skill, given.seeds, given.time_limit), new=given.new)
    except novum.NovumError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    sys.stdout.write(verdict.text + "\n")


if __name__ == "__main__":
    main()
