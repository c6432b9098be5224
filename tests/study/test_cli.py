"""The command line as a person uses it: what each command says, records and ends with."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.runner.resolve import resolve

INLINE = ("--executor", "inline")


@pytest.fixture(scope="module")
def studied(here: Callable[..., Any], shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that holds one claim with its verdict."""
    folder = tmp_path_factory.mktemp("studied")
    assert here("run", "claim.toml", *INLINE, cwd=shelf, NOVUM_STUDY=str(folder)).code == 0
    return folder


@pytest.fixture
def copied(studied: Path, tmp_path: Path) -> Path:
    """The same study in a folder of the test's own."""
    return Path(shutil.copytree(studied, tmp_path / "copied"))


@pytest.fixture
def ask(here: Callable[..., Any], shelf: Path) -> Callable[..., Any]:
    """Runs a command on a study, which must end well, and returns what it printed: as JSON, when asked for it."""

    def run(study: Path, *words: str) -> Any:
        said = here(*words, cwd=shelf, NOVUM_STUDY=str(study))
        assert said.code == 0, said
        return json.loads(said.out) if "--json" in words else said.out

    return run


def rows(study: Path) -> list[tuple[Any, ...]]:
    """What running a claim again must not change: every trial, its attempts and when it started and ended."""
    with novum.Study(study).reading() as ledger:
        return [(row["key"], row["state"], row["attempts"], row["started"], row["finished"]) for row in ledger.trials()]


# ------------------------------------------------------------------------------------------------ what is installed


def test_listing_plugins_imports_none_of_them(process: Callable[..., Any], tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['novum', 'plugins', 'list']\n"
        "from novum.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'timm', 'transformers', 'gymnasium', 'sqlalchemy', 'novum_text', 'novum_rl'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    said = process(sys.executable, "-c", program, cwd=tmp_path)

    assert said.code == 0
    assert said.out.splitlines()[-1] == "[]"
    assert [
        name for name in ("bag", "timm", "ppo", "text-classification", "cosine", "local") if name not in said.out
    ] == []


def test_plugins_are_listed_by_kind_and_as_json(ask: Any, tmp_path: Path) -> None:
    listed = ask(tmp_path, "plugins", "list", "--kind", "model", "--json")

    assert {"name": "bag", "kind": "model", "distribution": "novum-text"}.items() <= listed[0].items()
    assert {one["kind"] for one in listed} == {"model"}


@pytest.mark.parametrize("name", ["bag", "timm", "ppo", "gym", "text-classification", "classification", "returns"])
def test_a_plugin_is_described_with_every_option_and_its_json_schema(ask: Any, tmp_path: Path, name: str) -> None:
    told = ask(tmp_path, "plugins", "describe", name)
    schema = ask(tmp_path, "plugins", "describe", name, "--json")

    for described in schema.values():
        assert described["additionalProperties"] is False
        for option, about in described.get("properties", {}).items():
            assert f"\n{option} " in told
            assert about["description"]


def test_the_doctor_names_devices_versions_and_plugins(ask: Any, tmp_path: Path) -> None:
    found = ask(tmp_path, "doctor", "--json")

    assert found["cores"] >= 1
    assert found["versions"]["torch"][0].isdigit()
    assert set(found["plugins"].values()) == {"ok"}


def test_the_doctor_says_what_the_runner_would_choose_and_what_it_refuses(ask: Any, tmp_path: Path) -> None:
    found = ask(tmp_path, "doctor", "--json")
    told = ask(tmp_path, "doctor")

    cpu = found["devices"]["cpu"]
    assert cpu["cores"] == found["cores"]
    assert cpu["memory"] > 0
    assert found["workers"]["threads_each"] == 1
    precision = found["precision"]
    plan = resolve(novum.arm(novum.task("text-classification", data="stdlib-docs"), novum.model("bag")).to_json())
    assert (found["device"], precision["auto"]) == (plan["device"], plan["precision"])
    assert f"precision        {precision['auto']}: " in told
    for name in precision["refused"]:
        assert f"{name} is refused: " in told


def test_the_doctor_shows_a_device_that_the_environment_names_and_refuses_one_that_is_not_there(
    here: Callable[..., Any], tmp_path: Path
) -> None:
    named = here("doctor", "--json", cwd=tmp_path, NOVUM_DEVICE="cpu")
    missing = here("doctor", cwd=tmp_path, NOVUM_DEVICE="tpu")

    assert json.loads(named.out)["device"] == "cpu"
    assert missing.code == 2
    assert "NOVUM_DEVICE is 'tpu', which this machine does not have; it has " in missing.err


# ----------------------------------------------------------------------------------------------------- exploratory


def test_training_prints_a_line_per_epoch_and_counts_an_opening_of_test(ask: Any, tmp_path: Path) -> None:
    pets = ("task=text-classification", "task.data=pets.csv", "model=bag", "model.dimension=8", "budget=3 epochs")

    told = ask(tmp_path, "train", *pets, "--seeds", "2", "--test", *INLINE)

    lines = re.findall(r"^ *([0-9a-f]{12}) +([0-9]+) ", told, re.MULTILINE)
    keys = [row["trial"][:12] for row in ask(tmp_path, "trials", "--json")]
    for key in keys:  # whole batches of 32 that complete 1, 2 and 3 epochs of 168
        assert [int(units) for each, units in lines if each == key] == [192, 352, 512]
    assert told.count("\nSeed ") == 2
    assert "test: accuracy " in told and "are no evidence for a claim" in told
    assert ask(tmp_path, "status", "--json")["test_openings"] == 1
    assert ask(tmp_path, "status", "--json")["hypotheses"] == []


def test_training_again_trains_nothing_and_gives_the_same_numbers(ask: Any, tmp_path: Path) -> None:
    words = ("train", "task=text-classification", "task.data=pets.csv", "model=bag", "budget=32 samples", "--json")

    first = ask(tmp_path, *words, *INLINE)
    before = rows(tmp_path)
    again = ask(tmp_path, *words, *INLINE)

    assert again == first
    assert rows(tmp_path) == before
    assert set(first[0]) >= {"trial", "seed", "metrics", "curve", "weights", "diverged", "units"}
    assert first[0]["units"] == 32


def test_options_are_given_by_dotted_keys_however_deep(ask: Any, tmp_path: Path) -> None:
    words = ("task.data=pets.csv", "task.split.test=0.4", "task.split.dev=0.3", "--json")

    facts = ask(tmp_path, "observe", "text-classification", *words, *INLINE)["facts"]

    assert {fact["id"]: fact["value"] for fact in facts}["train.size"] == 72


def test_facts_and_scale_of_a_task_are_told(ask: Any, tmp_path: Path) -> None:
    told = ask(tmp_path, "observe", "text-classification", "task.data=pets.csv", *INLINE)

    assert "train.size" in told
    assert told.endswith("Scale on accuracy: 0 is 0.446 (chance), 1 is 1.\n")  # nine pets in twenty are cats


# ---------------------------------------------------------------------------------------------------------- claims


def test_a_claim_goes_through_the_four_acts_in_order(here: Callable[..., Any], shelf: Path, tmp_path: Path) -> None:
    said = here("run", "claim.toml", *INLINE, cwd=shelf, NOVUM_STUDY=str(tmp_path))

    places = [
        said.out.index(f"\n{act}  ") for act in ("1 observe", "2 hypothesize", "3 experiment", "4 validate on new data")
    ]
    assert said.code == 0
    assert places == sorted(places)
    assert said.out.index("Did it really help?") > places[-1]
    assert said.out.count("Report: ") == 1
    assert Path(said.out.split("Report: ")[1].strip()).is_file()


def test_the_same_command_again_runs_nothing_and_gives_the_same_verdict(
    here: Callable[..., Any], ask: Any, shelf: Path, copied: Path
) -> None:
    before = rows(copied)
    verdict = ask(copied, "verdict", "--json")

    again = ask(copied, "run", "claim.toml", "--json", *INLINE)

    assert again["verdict"] == verdict
    assert rows(copied) == before
    assert len(before) >= 6


def test_a_verdict_is_recomputed_byte_for_byte_in_a_copied_study_too(
    here: Callable[..., Any], studied: Path, copied: Path
) -> None:
    recorded = here("verdict", "--json", NOVUM_STUDY=str(studied))

    recomputed = [here("verdict", "--recompute", NOVUM_STUDY=str(study)) for study in (studied, copied)]

    assert [said.code for said in recomputed] == [0, 0]
    assert [said.out for said in recomputed] == [recorded.out, recorded.out]
    assert recomputed[0].err == "Byte-equal to the recorded verdict.\n"


def test_a_verdict_that_the_rows_no_longer_give_is_refused(here: Callable[..., Any], copied: Path) -> None:
    with sqlite3.connect(copied / "ledger.sqlite") as ledger:
        for (trigger,) in ledger.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            ledger.execute(f'drop trigger "{trigger}"')
        changed = ledger.execute(
            "update scores set metrics = replace(metrics, '\"accuracy\":0', '\"accuracy\":1')"
        ).rowcount
    ledger.close()

    said = here("verdict", "--recompute", NOVUM_STUDY=str(copied))

    assert changed > 0
    assert said.code == 3
    assert "was edited or damaged: the row scores/" in said.err and "novum repair" in said.err


def test_exit_codes_name_the_outcome_when_asked_to(
    here: Callable[..., Any], shelf: Path, studied: Path, tmp_path: Path
) -> None:
    codes = {"supported": 0, "refuted": 10, "equivalent": 11, "inconclusive": 12, "invalid": 13}
    swap = ("control.recipe.learning_rate=5e-2", "treatments.learning.recipe.learning_rate=1e-8")

    said = {
        words: here("run", "claim.toml", *words, "--exit-code", "--json", *INLINE, cwd=shelf, NOVUM_STUDY=str(tmp_path))
        for words in ((), swap)
    }

    outcomes = {claim: json.loads(one.out)["verdict"]["outcome"] for claim, one in said.items()}
    assert outcomes[()] == "supported" and outcomes[swap] != "supported"
    assert {claim: one.code for claim, one in said.items()} == {claim: codes[outcomes[claim]] for claim in outcomes}


@pytest.mark.parametrize("words", [("plan",), ("run", "--dry-run")])
def test_a_plan_tells_the_cost_and_registers_nothing(ask: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    told = ask(tmp_path, words[0], "claim.toml", *words[1:], *INLINE)

    assert "At most 6 trials" in told and "Nothing is registered" in told
    status = ask(tmp_path, "status", "--json")
    assert status["hypotheses"] == [] and status["trials"] == {}


def test_a_claim_is_registered_anew_as_a_child_on_fresh_seeds(ask: Any, copied: Path) -> None:
    first = ask(copied, "verdict", "--json")["hypothesis"]

    anew = ask(copied, "run", "claim.toml", "--new", "--json", *INLINE)["verdict"]["hypothesis"]

    study = novum.Study(copied)
    with study.reading() as ledger:
        child = ledger.hypothesis(anew)
    blocks = {row["block"] for row in study.rows()}
    assert anew != first
    assert child is not None and child["parent"] == first
    assert len(study.rows()) == 12 and len(blocks) == 2


# ------------------------------------------------------------------------------------------------------- the record


def test_the_status_tells_hypotheses_trials_and_weights(ask: Any, studied: Path) -> None:
    status = ask(studied, "status", "--json")

    assert status["hypotheses"][0]["claim"] == "Learning helps to tell pets apart"
    assert status["hypotheses"][0]["verdict"] == ask(studied, "verdict", "--json")["outcome"]
    assert status["trials"]["done"] >= 6
    assert "Weights kept: 2" in ask(studied, "status")


@pytest.fixture(params=["csv", "jsonl"])
def table(request: pytest.FixtureRequest, ask: Any, studied: Path, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Every trial, read back from a file that the command wrote."""
    path = tmp_path / f"trials.{request.param}"
    ask(studied, "trials", "--to", str(path))
    with path.open(newline="", encoding="utf-8") as file:
        yield list(csv.DictReader(file)) if request.param == "csv" else [json.loads(line) for line in file]


def test_trials_are_written_to_a_file(table: list[dict[str, Any]], ask: Any, studied: Path) -> None:
    listed = ask(studied, "trials", "--json")

    assert [row["trial"] for row in table] == [row["trial"] for row in listed]
    assert [float(row["dev.accuracy"]) for row in table] == [row["dev.accuracy"] for row in listed]
    assert sorted((row["side"], int(row["seed"])) for row in table) == [
        (side, seed) for side in ("control", "treatment") for seed in range(3)
    ]


def test_trials_are_written_to_no_other_kind_of_file(here: Callable[..., Any], studied: Path, tmp_path: Path) -> None:
    said = here("trials", "--to", str(tmp_path / "trials.xlsx"), NOVUM_STUDY=str(studied))

    assert said.code == 2
    assert "the ending '.xlsx' is not known; allowed: .csv, .jsonl, .parquet" in said.err


def test_the_log_of_a_trial_is_found_by_the_beginning_of_its_key(
    here: Callable[..., Any], ask: Any, studied: Path
) -> None:
    key = ask(studied, "trials", "--json")[0]["trial"]

    told = ask(studied, "logs", key[:12])
    unknown = here("logs", "zzz", NOVUM_STUDY=str(studied))

    assert told.startswith(f"{key}  done")
    assert unknown.code == 3 and "'zzz' names 0 trials" in unknown.err


def test_the_report_is_one_file_whose_path_is_printed(ask: Any, copied: Path) -> None:
    shutil.rmtree(copied / "reports")

    path = Path(ask(copied, "report").strip())

    text = path.read_text(encoding="utf-8")
    assert path.parent == copied / "reports"
    assert "Learning helps to tell pets apart" in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "<script src" not in text


def test_an_unknown_hypothesis_is_refused_with_those_that_are_registered(
    here: Callable[..., Any], ask: Any, studied: Path
) -> None:
    known = ask(studied, "verdict", "--json")["hypothesis"]

    said = here("verdict", "h-none", NOVUM_STUDY=str(studied))

    assert said.code == 3
    assert f"no hypothesis 'h-none' in {studied}; registered: {known}." in said.err
