"""At a prompt: the same commands, typed one by one into an interpreter that has no file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMANDS = """
import novum
study = novum.Study("study")
pets = novum.task("text-classification", data="pets.csv")
base = novum.arm(pets, novum.model("bag", buckets=512), budget="64 samples")
study.train(base).metrics["accuracy"] > 0
claim = novum.Hypothesis("more helps", control=base, treatment=base.but(budget="128 samples"), max_seeds=3)
result = study.run(claim)
print("outcome", result.outcome, len(study.rows()))

"""


@pytest.mark.parametrize("how", [("-i", "-q"), ("-",)])
def test_what_a_script_may_do_can_be_typed_at_a_prompt(
    process: Callable[..., Any], shelf: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    (tmp_path / "pets.csv").write_bytes((shelf / "pets.csv").read_bytes())

    said = process(sys.executable, *how, cwd=tmp_path, stdin=COMMANDS)

    assert said.code == 0
    assert "Error" not in said.err, said.err
    assert next(line for line in said.out.splitlines() if line.startswith("outcome ")).endswith(" 7")
    assert ("True" in said.out.splitlines()) == ("-i" in how)


def test_a_class_that_was_typed_runs_inline_and_says_so(
    process: Callable[..., Any], shelf: Path, tmp_path: Path
) -> None:
    (tmp_path / "pets.csv").write_bytes((shelf / "pets.csv").read_bytes())
    typed = (
        "import novum\nfrom novum_text.bag import Bag\n"
        "class Mine(Bag):\n    'Typed.'\n\n"
        "task = novum.task('text-classification', data='pets.csv')\n"
        "run = novum.Study('study').train(novum.arm(task, novum.model(Mine, buckets=512), budget='64 samples'))\n"
        "print('accuracy', run.metrics['accuracy'])\n"
    )

    said = process(sys.executable, "-i", "-q", cwd=tmp_path, stdin=typed)

    assert said.code == 0
    assert "accuracy 0." in said.out
    assert "cannot travel to a worker: running inline" in said.err
