"""An idea in one file of one's own, from the file to a verdict over three domains."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest
from novum.claimfile import hypotheses

HOME = Path(__file__).parents[2] / "experiments" / "techniques"
IDEA, CLAIM = HOME / "gradient_noise.py", HOME / "claim.toml"
TASKS = ["digits", "stdlib-docs", "cartpole"]
SMALL = (
    "alpha=0.2",  # so that three pairs can decide
    "max_seeds=3",
    'tasks.digits.recipe.budget="100 samples"',
    "tasks.digits.model.size=8",
    'tasks.stdlib-docs.recipe.budget="100 samples"',
    'tasks.cartpole.recipe.budget="512 steps"',
    "tasks.cartpole.task.episodes=4",
)
SCALE = "treatments.noisy.recipe.techniques.gradient-noise.scale"
INLINE = ("--executor", "inline")
PETS = ("task=text-classification", "task.data=pets.csv", "model=bag", "model.dimension=8", "budget=2 epochs")
PETS_CLAIM = """
claim          = "Gradient noise helps to tell pets apart"
minimum_effect = 0.02
max_seeds      = "open"
[treatments.noisy]
recipe.techniques.gradient-noise.scale = 1e-4
[tasks.pets]
task   = { plugin = "text-classification", data = "pets.csv" }
model  = { plugin = "bag", buckets = 512, dimension = 8 }
recipe = { budget = "2 epochs", batch_size = 16 }
"""


@pytest.fixture(scope="module")
def ran(there: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What the claim says with tiny budgets, in workers, and the folder of its study."""
    folder = tmp_path_factory.mktemp("ideas")
    said = there("--load", str(IDEA), "run", str(CLAIM), *SMALL, cwd=folder, NOVUM_STUDY=str(folder / "study"))
    return said, folder / "study"


@pytest.fixture
def own(shelf: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the idea, data and a claim about them."""
    shutil.copy(IDEA, tmp_path / "idea.py")
    shutil.copy(shelf / "pets.csv", tmp_path)
    (tmp_path / "pets.toml").write_text(PETS_CLAIM)
    return tmp_path


def trials(folder: Path) -> list[dict[str, Any]]:
    with novum.Study(folder).reading() as ledger:
        return [row["plan"] | row for row in ledger.trials()]


def test_the_idea_has_at_most_thirty_lines() -> None:
    assert len(IDEA.read_text(encoding="utf-8").splitlines()) <= 30


def test_the_page_about_ideas_shows_this_file_and_this_claim() -> None:
    page = (HOME.parents[1] / "docs" / "ideas.md").read_text(encoding="utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0]

    assert f"```python\n{IDEA.read_text(encoding='utf-8')}```" in page
    tested = novum.load(CLAIM)
    (written,) = hypotheses(tomllib.loads(shown), "docs/ideas.md")
    assert written.tasks == tested.tasks
    assert (written.claim, written.minimum_effect, written.scope) == (tested.claim, tested.minimum_effect, tested.scope)


def test_a_claim_with_an_idea_of_ones_own_has_a_verdict_over_three_domains(ran: tuple[Any, Path]) -> None:
    said, study = ran

    assert said.code == 0, said.err
    rows = trials(study)
    assert {(row["task"], row["side"]) for row in rows} == {
        (name, side) for name in TASKS for side in ("control", "treatment")
    }
    assert {row["state"] for row in rows} == {"done"}
    assert "Did it really help?" in said.out and "\naverage " in said.out


def test_the_report_says_that_the_idea_is_not_installed_and_not_where_it_lies(ran: tuple[Any, Path]) -> None:
    said, _ = ran

    page = Path(said.out.split("Report: ")[1].strip()).read_text(encoding="utf-8")

    assert "technique gradient-noise of gradient_noise.py (SHA-256 " in page and "not installed" in page
    assert str(HOME) not in page


def test_without_its_file_a_claim_is_refused_and_told_how_to_load_it(here: Callable[..., Any], tmp_path: Path) -> None:
    said = here("run", str(CLAIM), cwd=tmp_path)

    assert said.code == 2
    assert "no technique is called 'gradient-noise'" in said.err and "novum --load FILE" in said.err
    assert list(tmp_path.iterdir()) == []


def test_noise_of_scale_zero_changes_no_number_of_any_domain(here: Callable[..., Any], tmp_path: Path) -> None:
    said = here("--load", str(IDEA), "run", str(CLAIM), *SMALL, f"{SCALE}=0", *INLINE, NOVUM_STUDY=str(tmp_path))

    assert said.code == 0, said.err
    found = {(row["task"], row["index"], row["side"]): row for row in trials(tmp_path)}
    pairs = [
        (each, found[task, index, "treatment"]) for (task, index, side), each in found.items() if side == "control"
    ]
    assert {each["task"] for each, _ in pairs} == set(TASKS)
    for control, treatment in pairs:
        assert control["key"] != treatment["key"]
        assert control["result"]["weights"] == treatment["result"]["weights"]


def test_a_trials_key_changes_with_the_bytes_of_the_file_where_the_arm_uses_it(
    here: Callable[..., Any], own: Path
) -> None:
    def train(*words: str) -> str:
        load = ("--load", "idea.py")
        said = here(*load, "train", *PETS, *words, "--json", *INLINE, cwd=own, NOVUM_STUDY=str(own / "study"))
        assert said.code == 0, said.err
        return str(json.loads(said.out)[0]["trial"])

    noisy = "techniques.gradient-noise.scale=0.1"
    before = train(), train(noisy)
    (own / "idea.py").write_text(IDEA.read_text() + "# another byte\n")

    after = train(), train(noisy)

    assert before[0] == after[0]
    assert len({before[0], before[1], after[1]}) == 3


def test_a_claim_does_not_go_on_with_a_changed_file_and_names_it(here: Callable[..., Any], own: Path) -> None:
    def run(pairs: int) -> Any:
        where = {"cwd": own, "NOVUM_STUDY": str(own / "study")}
        return here("--load", "idea.py", "run", "pets.toml", "--pairs", str(pairs), *INLINE, **where)

    first = run(3)
    kept = (own / "idea.py").read_text()
    (own / "idea.py").write_text(kept.replace("0.55", "0.5"))

    refused = run(4)

    assert first.code == 0, first.err
    assert "novum --load idea.py run pets.toml" in first.out
    assert refused.code == 3
    assert "the technique gradient-noise's sources (idea.py not installed" in refused.err
    assert "Nothing was run" in refused.err
    (own / "idea.py").write_text(kept)
    assert run(4).code == 0


def test_planning_and_observing_take_a_file_too(here: Callable[..., Any], own: Path) -> None:
    where = {"cwd": own, "NOVUM_STUDY": str(own / "study")}

    planned = here("--load", "idea.py", "plan", "pets.toml", "--json", *INLINE, **where)
    observed = here("--load", "idea.py", "observe", *PETS[:2], *INLINE, **where)

    assert planned.code == 0 and "noisy" in json.loads(planned.out)
    assert observed.code == 0, observed.err


def test_what_a_file_offers_is_listed_and_described_beside_what_is_installed(here: Callable[..., Any]) -> None:
    listed = here("--load", str(IDEA), "plugins", "list", "--kind", "technique")
    described = here("--load", str(IDEA), "plugins", "describe", "gradient-noise")

    assert [line.split()[1] for line in listed.out.splitlines()[1:]] == [
        "flooding",
        "gradient-centralization",
        "gradient-noise",
    ]
    assert "not installed" in listed.out
    assert "\nscale " in described.out and "Variance of the noise" in described.out


def test_a_file_that_cannot_be_loaded_ends_the_command_at_once(here: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import novum\n1 / 0\n")

    said = here("--load", "bad.py", "run", str(CLAIM), cwd=tmp_path)

    assert said.code == 2
    assert said.err.startswith("error: --load bad.py: it cannot be run: ZeroDivisionError: division by zero (line 2)")
    assert not (tmp_path / "novum-study").exists()
