"""What a person gets wrong is told once, clearly, with exit code 2, and leaves nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import numpy as np
import pytest
from PIL import Image

PETS = ("task=text-classification", "task.data=pets.csv", "model=bag")
DIGITS = ("task=image-classification", "task.data=digits", "model=timm")
CART = ("task=gym", "model=ppo")

UNKNOWN = [
    (("task=text-clasification", "model=bag"), "'text-clasification'; did you mean 'text-classification'?"),
    (("task=gym", "model=popo"), "'popo'; did you mean 'ppo'? allowed: bag, linear, masked-transformer, mlp, ppo"),
    ((*PETS, "evaluator=clasification"), "'clasification'; did you mean 'classification'?"),
    ((*PETS, "model.bucket=9"), "model 'bag': unknown option 'bucket' (value 9); did you mean 'buckets'?"),
    ((*PETS, "task.split.devv=0.2"), "unknown option 'split.devv' (value 0.2); did you mean 'dev'?"),
    ((*PETS, "batch_siz=9"), "unknown key 'batch_siz'; did you mean 'batch_size'?"),
    ((*PETS, "optimizer=adamm"), "no optimizer is called 'adamm'; did you mean 'adam'?"),
    ((*PETS, "schedule=cosin"), "no schedule is called 'cosin'; did you mean 'cosine'?"),
    ((*PETS, "--executor=locl"), "no executor is called 'locl'; did you mean 'local'?"),
    ((*PETS, "--tracker=json"), "no tracker is called 'json'; did you mean 'jsonl'?"),
    ((*CART, "task.physics.length=1", "task.envz=3"), "unknown option 'envz' (value 3); did you mean 'env'?"),
]
WRONG = [
    ((*PETS, "model.dropout=1.5"), "option 'dropout' received 1.5: input should be less than 1"),
    ((*PETS, "model.dropout=much"), "option 'dropout' received 'much': input should be a valid number"),
    ((*PETS, "task.per_class=-1"), "option 'per_class' received -1: input should be greater than or equal to 0"),
    ((*PETS, 'task.classes="cat"'), "option 'classes' received 'cat': input should be a valid tuple"),
    ((*PETS, "batch_size=0"), "recipe: option 'batch_size' received 0: input should be greater than or equal to 1"),
    ((*PETS, "budget=5_steps"), "recipe: option 'budget' received '5_steps': a budget is a positive number and a unit"),
    ((*PETS, "budget=-5"), "recipe: option 'budget' received -5: a budget is a positive number and a unit"),
    ((*PETS, "model.words=[3, 1]"), "words = (3, 1): the shortest must not exceed the longest"),
    ((*PETS, "--workers=2"), "the executor 'inline' runs one job at a time; got workers=2"),
    ((*PETS, "--workers=0"), "Invalid value for '--workers': Input should be greater than or equal to 1"),
    (("model=bag",), "no task is named; add task=NAME"),
    ((*PETS, "learning"), "'learning': write KEY=VALUE"),
]
UNUSABLE = [
    ((*PETS, "budget=5 steps"), "'5 steps' counts environment steps, but this task is a data set of 168 samples"),
    ((*CART, "budget=3 epochs"), "'3 epochs' counts epochs, but an environment has no end"),
    ((*PETS, "task.data=pest.csv"), "there is no file 'pest.csv' (looked for "),
    ((*PETS, "task.data=pets.txt"), "'pets.txt' has the extension '.txt'; allowed: .csv, .tsv"),
    ((*PETS, "task.data=empty.csv"), "'empty.csv' is empty: it has no rows; give a file with labelled texts"),
    ((*PETS, "task.data=header.csv"), "'header.csv' is empty: it has no rows; give a file with labelled texts"),
    ((*PETS, "task.data=one-class.csv"), "has 1 class (cat); a classification needs at least two"),
    ((*PETS, "task.data=two.csv"), "'dev' stays empty (2 units, share 0.1); give more data or a larger share"),
    ((*PETS, "task.data=latin1.csv"), "'latin1.csv' is not UTF-8: byte 0xe4"),
    ((*PETS, 'task.data={train="pets.csv",dev="birds.csv"}'), "the class 'bird' occurs 2 times in dev but never in"),
    ((*PETS, 'task.classes=["cat","bird"]'), "the data have no class 'bird'; there are: cat, dog"),
    ((*PETS, "task.text=txt"), "there is no column 'txt' (option 'text'); did you mean 'text'? there are: label, text"),
    ((*DIGITS, "task.data=nowhere"), "which is no folder; allowed: 'digits', a folder with one folder of images per"),
    ((*DIGITS, "task.data=photographs"), "broken.png cannot be decoded (UnidentifiedImageError"),
    ((*DIGITS, "task.data=parted"), "the class 'bird' has no training image"),
    ((*DIGITS, "model.name=resnetty"), "option 'name' is 'resnetty', which timm"),
    ((*CART, "early_stop=3"), "an environment has no units to hold back, for its experience comes from acting; leave"),
    ((*CART, "task.env=CartPole-v9"), "no environment has the id 'CartPole-v9'; did you mean 'CartPole-v1'"),
    ((*CART, "task.physics.lenght=1"), "did you mean 'length'"),
    (
        ("task=gym", "model=bag"),
        "'bag' does not fit the task 'gym', which has vector inputs and actions outputs; models",
    ),
    (("task=gym", "model=bag"), "models that fit: ppo."),
    (("task=text-classification", "model=ppo"), "models that fit: bag, transformer."),
    ((*PETS, "evaluator=returns"), "the evaluator 'returns' judges actions, controls, but"),
    (
        (*PETS, "precision=tf32"),
        "'tf32' is not offered on this CPU: it is arithmetic of NVIDIA GPUs; allowed here: 'auto'",
    ),
    ((*PETS, "precision=half"), "input should be 'auto', 'fp32', 'tf32' or 'bf16'"),
    ((*PETS, "compile=yes"), "'auto', 'off' or 'on'"),
]
RECIPES = [
    (("optimizer=adamm",), "no optimizer is called 'adamm'; did you mean 'adam'"),
    (("schedule=one_cycle",), "no schedule is called 'one_cycle'; did you mean 'one-cycle'"),
    (("budget=0 epochs",), "option 'budget' received '0 epochs': a budget is a positive number and a unit, such as"),
    (("budget=-5 samples",), "option 'budget' received '-5 samples': a budget is a positive number and a unit"),
    (("batch_size=-4",), "option 'batch_size' received -4: input should be greater than or equal to 1"),
    (("learning_rate=0",), "option 'learning_rate' received 0: input should be greater than 0"),
    (("learning_rate=-0.1",), "option 'learning_rate' received -0.1: input should be greater than 0"),
    (("weight_decay=-1",), "option 'weight_decay' received -1: input should be greater than or equal to 0"),
    (("momentum=1.0",), "option 'momentum' received 1.0: input should be less than 1"),
    (("clip=-0.5",), "option 'clip' received -0.5: input should be greater than or equal to 0"),
    (("warmup=1.0",), "option 'warmup' received 1.0: input should be less than 1"),
    (("averaging=mean",), "option 'averaging' received 'mean': input should be 'none', 'ema' or 'swa'"),
    (("precision=fp16",), "option 'precision' received 'fp16': input should be 'auto', 'fp32'"),
    (("early_stop=0",), "option 'early_stop' received 0: input should be greater than or equal to 1"),
    (("early_stop=true",), "option 'early_stop' received True: "),
    (("early_stop_share=0.9",), "option 'early_stop_share' received 0.9: input should be less than or equal to 0.5"),
    (
        ("averaging=swa", "budget=16 samples", "batch_size=16"),
        "a budget of 16 units in batches of 16 has no step there; raise recipe.budget, lower recipe.batch_size, or",
    ),
    (("averaging=swa", "early_stop=3"), "leave one of them out, or say averaging = 'ema'"),
    (
        ("early_stop=3", "early_stop_share=0.001"),
        "early_stop_share: 0.001 of 168 training units are 0, and at least one must be held back",
    ),
]
CLAIMS = [
    (("nothing.toml",), "no claim file at 'nothing.toml'; give the path of a .toml file"),
    (("pets.csv",), "pets.csv: not valid TOML: "),
    (("claim.toml", "tasks.pets.recipe.learning_rat=1"), "'learning_rat'; did you mean 'learning_rate'?"),
    (("claim.toml", "tasks.pets.modl.name=x"), "unknown option 'tasks.pets.modl'"),
    (("claim.toml", "max_seed=9"), "unknown option 'max_seed' (value 9); did you mean 'max_seeds'?"),
    (("claim.toml", "tasks.pets.alpha=0.1"), "move it above the first [tasks.…]"),
    (("claim.toml", "max_seeds=2"), "max_seeds: received 2; allowed: a whole number from 3 to 1000"),
    (("claim.toml", "alpha=0.7"), "option 'alpha' received 0.7: input should be less than 0.5"),
    (("claim.toml", "metric=acuracy"), "no metric is called 'acuracy'; did you mean 'accuracy'?"),
    (("claim.toml", "tasks.pets.task.data=pest.csv"), "there is no file 'pest.csv'"),
    (("claim.toml", "treatments.learning.recipe.optimizer=adamm"), "did you mean 'adam'?"),
    (("claim.toml", "treatments.learning.recipe.learning_rate=1e-8"), "control and treatment are the same arm"),
]


@pytest.fixture(scope="module", autouse=True)
def spoiled(shelf: Path) -> None:
    """The shelf with data sets that cannot be used."""
    (shelf / "pets.txt").write_text("no table\n")
    (shelf / "empty.csv").write_text("")
    (shelf / "header.csv").write_text("text,label\n")
    (shelf / "one-class.csv").write_text("text,label\n" + "".join(f"cat number {row},cat\n" for row in range(40)))
    (shelf / "two.csv").write_text("text,label\na cat,cat\na dog,dog\n")
    (shelf / "latin1.csv").write_bytes("text,label\nein Kätzchen,cat\n".encode("latin1"))
    (shelf / "birds.csv").write_text("text,label\na cat,cat\na wren,bird\na robin,bird\n")
    for path in ("photographs/cat", "photographs/dog", "parted/train/cat", "parted/train/dog", "parted/dev/bird"):
        (shelf / path).mkdir(parents=True)
        for shade in range(10):
            Image.fromarray(np.full((8, 8), 20 * shade, np.uint8)).save(shelf / path / f"{shade}.png")
    (shelf / "photographs" / "dog" / "broken.png").write_bytes(b"not a picture")


@pytest.fixture
def refused(here: Callable[..., Any], shelf: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must be refused, checks what every refusal has in common, and returns its message."""

    def run(*words: str) -> str:
        given = words if any(word.startswith("--executor") for word in words) else (*words, "--executor", "inline")
        said = here(*given, cwd=shelf, NOVUM_STUDY=str(tmp_path / "study"))
        assert said.code == 2, said
        assert "Traceback" not in said.out + said.err
        assert len([line for line in said.err.splitlines() if line.lower().startswith("error: ")]) == 1
        assert len(said.err.splitlines()) == 1 or said.err.startswith("Usage: ")
        assert untouched(tmp_path / "study")
        return str(said.err)

    return run


def untouched(folder: Path) -> bool:
    """Whether a study holds nothing: no hypothesis, no trial that ran, no weights, no opening of test."""
    if not (folder / "ledger.sqlite").exists():
        return not folder.exists()
    with novum.Study(folder).reading() as ledger:
        began = [row for row in ledger.trials() if row["state"] != "planned"]
        return not (ledger.hypotheses() or began or ledger.weights() or ledger.openings())


@pytest.mark.parametrize(("words", "told"), UNKNOWN)
def test_an_unknown_name_is_refused_with_the_closest_one(refused: Any, words: tuple[str, ...], told: str) -> None:
    message = refused("train", *words)

    assert told in message


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_a_value_of_the_wrong_type_or_range_is_refused_before_a_study_is_made(
    refused: Any, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    message = refused("train", *words)

    assert told in message
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("words", "told"), UNUSABLE)
def test_what_cannot_be_used_is_refused_with_what_can(refused: Any, words: tuple[str, ...], told: str) -> None:
    message = refused("train", *words)

    assert told in message


@pytest.mark.parametrize(("words", "told"), RECIPES)
def test_a_recipe_that_cannot_be_followed_is_refused_with_what_is_allowed_and_nothing_is_registered(
    refused: Any, words: tuple[str, ...], told: str
) -> None:
    registered = refused("run", "claim.toml", *(f"treatments.learning.recipe.{word}" for word in words))
    trained = refused("train", *PETS, *words)

    assert told in registered
    assert told in trained


@pytest.mark.parametrize(("words", "told"), CLAIMS)
def test_a_claim_that_cannot_be_tested_is_refused_and_never_registered(
    refused: Any, words: tuple[str, ...], told: str
) -> None:
    message = refused("run", *words)

    assert told in message


@pytest.mark.parametrize("command", ["train", "observe"])
def test_facts_of_data_that_are_not_there_are_refused_as_training_on_them_is(refused: Any, command: str) -> None:
    assert "there is no file 'pest.csv'" in refused(command, *PETS[:1], "task.data=pest.csv", "model=bag")


def test_an_unknown_command_is_refused_with_the_closest_one(here: Callable[..., Any]) -> None:
    said = here("trian")

    assert said.code == 2
    assert "No such command 'trian'. Did you mean 'train'" in said.err


@pytest.mark.parametrize("words", [("status",), ("verdict",), ("report",), ("trials",), ("logs", "a1")])
def test_reading_a_folder_without_a_study_says_so_and_makes_none(
    here: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = here(*words, NOVUM_STUDY=str(tmp_path / "study"))

    assert said.code == 3
    assert said.err.startswith("error: no study at ") and "novum run CLAIM" in said.err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("command", [("train", *PETS), ("run", "claim.toml")])
def test_a_study_that_cannot_be_written_is_refused(
    here: Callable[..., Any], shelf: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("no folder")  # a folder below a file can be made by nobody, root included

    said = here(*command, "--executor", "inline", "--study", str(tmp_path / "file" / "study"), cwd=shelf)

    assert said.code == 2
    assert "file/study' cannot be written (Not a directory); choose another with --study" in said.err
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize("at", [0, 1, 4])
def test_debug_shows_the_traceback_wherever_it_stands(here: Callable[..., Any], tmp_path: Path, at: int) -> None:
    words = ["train", "task=gym", "model=popo", "--executor=inline"]
    words.insert(at, "--debug")

    said = here(*words, NOVUM_STUDY=str(tmp_path / "study"))

    assert said.code == 2
    assert said.err.startswith("Traceback (most recent call last)")
    assert "did you mean 'ppo'?" in said.err


def test_what_only_training_finds_out_is_refused_as_well_and_can_be_mended(
    refused: Any, here: Callable[..., Any], small_bert: Callable[[Path], None], shelf: Path, tmp_path: Path
) -> None:
    words = ("train", *PETS[:2], "model=transformer", "model.checkpoint=" + str(tmp_path / "bert"), "budget=16 samples")

    message = refused(*words)

    assert "bert'" in message and "save_pretrained" in message
    small_bert(tmp_path / "bert")
    assert here(*words, "--executor=inline", cwd=shelf, NOVUM_STUDY=str(tmp_path / "study")).code == 0


# ------------------------------------------------------------------------------- the same through the real command


def test_a_missing_file_found_by_a_worker_is_told_by_the_command_itself(
    there: Callable[..., Any], shelf: Path, tmp_path: Path
) -> None:
    said = there("run", "claim.toml", "tasks.pets.task.data=pest.csv", cwd=shelf, NOVUM_STUDY=str(tmp_path / "study"))

    assert said.code == 2
    assert said.err.startswith("error: data: there is no file 'pest.csv'") and said.err.count("\n") == 1
    assert untouched(tmp_path / "study")


def test_a_model_that_does_not_fit_is_told_by_the_command_itself(
    there: Callable[..., Any], shelf: Path, tmp_path: Path
) -> None:
    said = there("train", *PETS[:2], "model=ppo", cwd=shelf, NOVUM_STUDY=str(tmp_path / "study"))

    assert said.code == 2
    assert said.err.startswith("error: the model 'ppo' does not fit") and said.err.count("\n") == 1
    assert untouched(tmp_path / "study")


BROKEN = {
    "broken-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n",
    "broken-1.0.dist-info/entry_points.txt": "[novum.models]\nbroken = broken_model:Model\nleaving = leaving:Model\n",
    "broken_model.py": "import a_package_that_nobody_has\n",
    "leaving.py": "raise SystemExit(0)\n",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path on which a distribution with two broken plugins is installed."""
    folder = tmp_path_factory.mktemp("broken")
    for name, text in BROKEN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return str(folder)


@pytest.mark.parametrize(("name", "why"), [("broken", "ModuleNotFoundError"), ("leaving", "SystemExit")])
def test_a_plugin_whose_import_fails_is_refused_with_the_reason(
    there: Callable[..., Any], shelf: Path, tmp_path: Path, broken: str, name: str, why: str
) -> None:
    study = str(tmp_path / "study")

    said = there("train", *PETS[:2], f"model={name}", cwd=shelf, NOVUM_STUDY=study, PYTHONPATH=broken)

    assert said.code == 2
    assert said.err.startswith(f"error: the model '{name}' of broken cannot be imported: {why}: ")
    assert "Traceback" not in said.err and not (tmp_path / "study").exists()


def test_a_broken_plugin_hides_no_other(there: Callable[..., Any], shelf: Path, tmp_path: Path, broken: str) -> None:
    said = there(
        "train", "task=gym", "model=bag", "--executor=inline", "--study", str(tmp_path), cwd=shelf, PYTHONPATH=broken
    )

    assert said.code == 2
    assert "models that fit: ppo." in said.err
