"""Several treatments of one claim: registered together, one control for all."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from novum import ConfigError, Hypothesis, Split, SplitClosed, Study
from novum import plugins as registry
from novum.errors import MismatchError
from novum.task import only


@pytest.fixture
def family(arm: Any) -> list[Hypothesis]:
    base = arm(task={"size": 60, "noise": 0.4}, model={"spread": 0.0, "dropout": 0.5})
    control = base.but(model=base.model.but(blind=True))
    return [
        Hypothesis("seeing helps", control=control, treatment=each, name=name, max_seeds=3, alpha=0.025, keep="first")
        for name, each in (("plain", base), ("faster", base.but(learning_rate=0.05)))
    ]


def test_treatments_share_the_trials_of_their_control(study: Study, family: list[Hypothesis]) -> None:
    verdicts = study.run_all(family)

    rows = study.rows()
    assert len(verdicts) == 2
    assert sum(row["side"] == "control" for row in rows) == 3
    assert len(rows) == 9
    assert {row["attempts"] for row in rows} == {1}


def test_all_treatments_are_registered_before_any_trial_runs(study: Study, family: list[Hypothesis]) -> None:
    study.run_all(family)

    with study.reading() as ledger:
        kinds = [event["kind"] for event in ledger.events()]
    assert max(at for at, kind in enumerate(kinds) if kind == "registered") < kinds.index("started")


def test_a_treatment_that_cannot_run_leaves_none_registered(study: Study, family: list[Hypothesis], arm: Any) -> None:
    control, bad = next(iter(family[0].tasks.values())).control, arm(task={"size": 60}, optimizer="adm")
    family.append(Hypothesis("seeing helps", control=control, treatment=bad, name="bad", max_seeds=3))

    with pytest.raises(Exception, match="did you mean 'adam'"):
        study.run_all(family)

    assert not (study.folder / "ledger.sqlite").exists() or study.hypotheses() == []


def test_the_same_family_again_runs_nothing(study: Study, family: list[Hypothesis]) -> None:
    first = [verdict.text for verdict in study.run_all(family)]

    again = [verdict.text for verdict in study.run_all(family)]

    assert again == first
    assert {row["attempts"] for row in study.rows()} == {1}


def test_a_thread_started_by_training_code_sees_no_closed_split(toy: Any) -> None:
    task = toy.Blobs(toy.Blobs.Config())
    caught: list[BaseException] = []

    def open_test() -> None:
        try:
            task.source(Split.TEST, None, None)
        except SplitClosed as error:
            caught.append(error)

    with only(Split.TRAIN):
        thread = threading.Thread(target=open_test)
        thread.start()
        thread.join()

    assert len(caught) == 1


def test_two_classes_of_one_name_from_two_files_are_refused(tmp_path: Path) -> None:
    import importlib.util

    def from_file(name: str) -> type[Any]:
        path = tmp_path / f"{name}.py"
        path.write_text("from novum import Task\n\nclass Twin(Task):\n    pass\n")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        import sys

        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module.Twin  # type: ignore[no-any-return]

    registry.adopt("task", from_file("novum_test_first"))

    with pytest.raises(ConfigError, match=r"two tasks are called 'Twin'.*rename one"):
        registry.adopt("task", from_file("novum_test_second"))


def test_weights_of_an_exploratory_run_that_were_deleted_come_back(study: Study, arm: Any) -> None:
    import shutil

    first = study.train(arm(task={"size": 60}))
    shutil.rmtree(first.weights)

    again = study.train(arm(task={"size": 60}))

    assert again.weights == first.weights
    assert again.load() is not None


def test_a_loss_that_names_no_parameters_says_which_there_are(study: Study, arm: Any, toy: Any) -> None:
    from novum.runner.parts import Parts
    from novum.runner.train import Trainer
    from novum.seeds import trial_seed

    parts = Parts.of(arm(task={"size": 60}).to_json())
    trainer = Trainer(parts, trial_seed(0, "explore", 0), units=60, device_kind="cpu", precision="fp32")

    with pytest.raises(MismatchError, match=r"below 'critic\.'.*it has"):
        trainer.steps._optimizer("critic.")
