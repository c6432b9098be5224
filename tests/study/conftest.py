"""How a user meets Novum: the command line in this process or in one of its own, and some small data to use it on."""

from __future__ import annotations

import csv
import functools
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NOVUM = Path(sys.executable).parent / "novum"
PATIENCE = 240
"""Seconds after which a command that never ends fails its test."""


@dataclass(frozen=True)
class Said:
    """What a command said, and the code that it ended with."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def here() -> Callable[..., Said]:
    """Runs a command line in this process: `here("status", cwd=…, NOVUM_STUDY=…)`."""

    def run(*words: str, cwd: Path | None = None, **environment: str) -> Said:
        from novum.cli import main

        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["novum", *words])
            patch.setenv("NOVUM_DEBUG", "")
            for name, value in environment.items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def process() -> Callable[..., Said]:
    """Runs a program in a process of its own: `process(NOVUM, "status", cwd=…, stdin=…, NOVUM_STUDY=…)`."""

    def run(*words: Any, cwd: Path, stdin: str = "", **environment: str) -> Said:
        ended = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env={**os.environ, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def there(process: Callable[..., Said]) -> Callable[..., Said]:
    """Runs the installed command `novum` in a process of its own: `there("status", cwd=…)`."""

    def run(*words: str, cwd: Path, **environment: str) -> Said:
        return process(NOVUM, *words, cwd=cwd, **environment)

    return run


@pytest.fixture(scope="session")
def packed(process: Callable[..., Said], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Packs the distribution of a folder, once: its archive, and its wheel from that archive alone. Gives the folder
    that holds both.
    """

    @functools.cache
    def pack(home: Path) -> Path:
        out = tmp_path_factory.mktemp("packed")
        said = process(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, home, cwd=out)
        assert said.code == 0, said.out + said.err
        return out

    return pack


@pytest.fixture(scope="session")
def small_bert() -> Callable[[Path], None]:
    """Writes a BERT with its tokenizer into a folder, as `save_pretrained` writes them; nothing trained it."""

    def write(folder: Path) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
        from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

        marks = ["[PAD]", "[UNK]"]
        tokenizer = Tokenizer(models.WordLevel(unk_token=marks[1]))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(["the cat", "a dog"], trainers.WordLevelTrainer(special_tokens=marks))
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=marks[0], unk_token=marks[1])
        fast.save_pretrained(folder)
        size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=32, **size)
        BertForSequenceClassification(config).save_pretrained(folder)

    return write


FILLERS = ("red", "green", "blue", "black", "white", "round", "square", "small", "large", "old", "new", "fast", "slow")


def pets(path: Path) -> Path:
    """240 sentences about three pets, one in ten with the wrong label: learned in a second, and never quite."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(240):
            animal = ("cat", "cat", "cat", "dog", "dog", "cat", "cat", "dog", "owl", "owl")[row % 10]
            label = "owl" if row % 20 in (3, 15) else animal
            filler = [FILLERS[(row * step) % len(FILLERS)] for step in (1, 4, 7)]
            writer.writerow([f"the {' '.join(filler)} {animal} number {row}", label])
    return path


CLAIM = """
claim          = "Learning helps to tell pets apart"
minimum_effect = 0.02
max_seeds      = 3
[control]
recipe.learning_rate = 1e-8
[treatments.learning]
recipe.learning_rate = 5e-2
[tasks.pets]
task   = { plugin = "text-classification", data = "pets.csv" }
model  = { plugin = "bag", buckets = 512, dimension = 8 }
recipe = { budget = "4 epochs", batch_size = 8 }
"""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data pets.csv and a claim about it, claim.toml. Tests read it and write elsewhere."""
    folder = tmp_path_factory.mktemp("shelf")
    pets(folder / "pets.csv")
    (folder / "claim.toml").write_text(CLAIM)
    return folder
