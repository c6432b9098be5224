"""The script's face: unguarded, in a process of its own, with workers, as people write their first script."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import novum
import pytest

SCRIPT = """
import novum

study = novum.Study("studies/schedule")
base = novum.arm(
    task=novum.task("image-classification", data="digits"),
    model=novum.model("timm", name="test_resnet", size=16),
    budget="192 samples", batch_size=64, learning_rate=2e-3,
)
run = study.train(base)
print("accuracy", run.metrics["accuracy"], "points", len(run.curve), "seed", run.seed)
answer = run.predict(__import__("numpy").zeros((2, 1, 8, 8), "uint8"))
print("answers", tuple(answer.value.shape), type(run.load()).__name__, run.classes()[0])

claim = novum.Hypothesis("cosine beats constant", control=base.but(schedule="constant"),
                         treatment=base.but(schedule="cosine"), minimum_effect=0.01, max_seeds=3)
result = study.run(claim)
print("id", result.hypothesis)
print("outcome", result.outcome, result.tasks["digits"].outcome)
print("numbers", result.effect, result.interval, sorted(result.cost))
frame = study.trials()
print("frame", len(frame), {"task", "side", "seed", "state", "dev.accuracy"} <= set(frame.columns))
assert study.run(claim).text == result.text
"""

OWN = """
import novum
from toy import Blobs, Linear


class Mine(Linear):
    'A model of the script itself.'


study = novum.Study("study-of-" + __import__("uuid").uuid4().hex)  # a new one whenever this line runs
run = study.train(novum.arm(novum.task(Blobs), novum.model(Mine, dropout=0.1), budget="1 epochs"))
print("accuracy", run.metrics["accuracy"])
print("again", study.train(novum.arm(novum.task(Blobs), novum.model(Mine), budget="1 epochs")).seed)
"""

LATE = """
import novum
from toy import Blobs, Linear

study = novum.Study("study-of-" + __import__("uuid").uuid4().hex)
study.train(novum.arm(novum.task(Blobs), novum.model(Linear), budget="1 epochs"))


class Mine(Linear):
    'Defined after a study began.'


study.train(novum.arm(novum.task(Blobs), novum.model(Mine), budget="1 epochs"))
"""


@pytest.fixture
def script(process: Callable[..., Any], tmp_path: Path) -> Callable[[str], Any]:
    """Runs a script in a folder of its own, beside the module toy."""
    shutil.copy(Path(__file__).parents[1] / "toy.py", tmp_path / "toy.py")

    def run(text: str) -> Any:
        (tmp_path / "script.py").write_text(text)
        return process(sys.executable, "script.py", cwd=tmp_path)

    return run


def test_an_unguarded_script_trains_claims_and_reads_its_study(script: Any, tmp_path: Path) -> None:
    said = script(SCRIPT)

    told = dict(line.split(" ", 1) for line in said.out.splitlines())
    outcome = novum.Study(tmp_path / "studies" / "schedule").verdict(told["id"]).outcome
    assert said.code == 0, said.err
    assert told["accuracy"].endswith("points 3 seed 0")
    assert told["answers"] == "(2,) Network 0"
    assert told["outcome"] == f"{outcome} {outcome}"
    assert told["frame"] == "7 True"
    assert "['control', 'ratio', 'treatment']" in told["numbers"]


def test_a_script_hears_of_progress_and_keeps_standard_output_for_itself(script: Any) -> None:
    said = script(
        "import novum\nfrom toy import Blobs, Linear\n"
        "base = novum.arm(novum.task(Blobs), novum.model(Linear))\n"
        "claim = novum.Hypothesis('less helps', control=base, treatment=base.but(budget='1 epochs'), max_seeds=3)\n"
        "novum.Study('study').run(claim)\n"
    )

    acts = [said.err.index(f"novum: {act}: ") for act in ("1 observe", "2 hypothesize", "3 experiment")]
    assert said.code == 0 and said.out == ""
    assert acts == sorted(acts)
    assert "novum: 6 of 6 trials done." in said.err


def test_a_class_of_an_unguarded_script_runs_in_workers_that_start_no_study_again(script: Any, tmp_path: Path) -> None:
    said = script(OWN)

    assert said.code == 0, said.err
    assert said.out.startswith("accuracy 0.") and said.out.count("\n") == 2
    assert len(list(tmp_path.glob("study-of-*"))) == 1


def test_a_class_defined_after_a_study_began_is_refused_with_two_ways_out(script: Any, tmp_path: Path) -> None:
    said = script(LATE)

    assert said.code == 1
    assert said.err.splitlines()[-1].endswith(
        "script.py does not define Mine before it starts its first study, where a worker stops reading it. Move the "
        "class into a module of its own and import it, or use executor='inline'."
    )
    assert len(list(tmp_path.glob("study-of-*"))) == 1


def test_a_class_of_a_guarded_script_runs_in_workers_too(script: Any) -> None:
    guarded = OWN.replace("study =", "if __name__ == '__main__':\n    study =").replace("\nrun =", "\n    run =")

    said = script(guarded.replace("\nprint(", "\n    print("))

    assert said.code == 0, said.err
    assert said.out.startswith("accuracy 0.")
