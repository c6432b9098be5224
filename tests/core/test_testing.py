"""The kit catches what is broken, one fault at a time, and nothing where nothing is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from novum.testing import laws, samples
from novum.testing.laws import Broken, Inapplicable
from novum.testing.subject import Subject
from novum.testing.watch import TookTooLong, limited

TASKS = {
    # who is broken                what must catch it, and a word of what it says
    "Raises": ("batches_agree_with_the_signature", "it raised RuntimeError at hostile_fixture.py"),
    "LeaksAThread": ("it_leaves_no_trace", "the thread 'leaked'"),
    "ChangesTheEnvironment": ("it_leaves_no_trace", "the environment variable HOSTILE was changed"),
    "PrintsMegabytes": ("it_is_quiet", "print 2,"),
    "PrintsMegabytesBelowPython": ("it_is_quiet", "print 2,000,000 bytes"),
    "WritesBesideItself": ("it_writes_only_where_it_may", "cache.bin"),
    "OpensWhenConstructed": ("constructing_opens_nothing", "data.csv"),
    "SharesIds": ("splits_share_no_unit", "60 units stand in train and in dev"),
    "SharesContent": ("splits_share_no_content", "1 units of test also stand"),
    "SeedsGlobally": ("it_seeds_no_generator", "the generator of python"),
    "IgnoresTheSeed": ("another_seed_gives_other_batches", "are the same for two seeds"),
    "DrawsFromTheClock": ("same_seed_gives_the_same_batches", "training batch 0 differs"),
    "HashesText": ("another_process_gives_the_same_bytes", "the fingerprint differs between two processes"),
    "Unordered": ("scoring_is_finite_ordered_and_stable", "another order, with another seed"),
    "Ends": ("training_never_ends", "`next` raised StopIteration () after 3 batches, 48 units"),
    "ScoresForever": ("scoring_is_finite_ordered_and_stable", "goes on, while `size` is 60"),
    "ResumesAtTheBeginning": ("a_source_resumes_exactly", "batch 0 after resuming is another one"),
    "OutOfRange": ("batches_agree_with_the_signature", "a target is 2, but there are 2 classes"),
    "NotANumber": ("batches_agree_with_the_signature", "an input is not finite"),
    "OtherShape": ("batches_agree_with_the_signature", "inputs of shape (5,), but the inputs are of shape (4,)"),
    "FingerprintOfItsName": ("fingerprint_follows_the_data", "size = 120 in place of 60"),
    "NotInert": ("an_inert_option_changes_nothing", "'note' is said to be inert"),
    "Undescribed": ("options_are_described", "the option 'size' of Undescribed.Config has no description"),
    "Lax": ("options_are_strict", "takes unknown options"),
    "Peeks": ("observation_is_sound", "SplitClosed"),
    "ScaleUpsideDown": ("observation_is_sound", "the reference must be the better one"),
}
MODELS = {
    "LossIsNaN": ("losses_are_finite_with_gradients", "is nan on the first batch"),
    "LossIsASum": ("losses_are_means", "take the mean over units"),
    "LossIsDetached": ("losses_are_finite_with_gradients", "has no gradient"),
    "WrongPrefix": ("losses_are_finite_with_gradients", "'actor.', below which the network has no parameters"),
    "IdleParameters": ("losses_are_finite_with_gradients", "no loss reaches idle.bias, idle.weight"),
    "LearnsNothing": ("it_can_overfit_one_batch", "after 300 steps on one batch of 16 units its loss is"),
    "AlwaysTheSame": ("another_seed_gives_other_weights", "the same weights before and after training"),
    "SeedsTorch": ("it_seeds_no_generator", "stands at the same place for two seeds"),
    "KeepsACount": ("a_model_keeps_nothing", "a second training with the same object"),
    "NotInertModel": ("an_inert_option_changes_no_weight", "'note' is said to be inert"),
    "AnsweringTrains": ("answering_changes_nothing", "scored in between ends with other weights"),
    "ForgetsItsStart": ("it_starts_from_weights", "call start.copy_into(net)"),
    "AnswersLogits": ("answers_fit_the_signature", "the probabilities of a unit miss 1"),
    "AnswersAtRandom": ("answers_fit_the_signature", "two answers to the same inputs differ"),
    "KeepsATensorAside": ("a_network_is_read_back_whole", "not kept: aside"),
}
EVALUATORS = {
    "RewardsShuffled": ("shuffled_answers_get_chance", "compare each answer with the target of its own unit"),
    "FlattersChance": ("shuffled_answers_get_chance", "the task says that chance is 0.25"),
    "WrongDirection": ("metrics_point_their_way", "accuracy says 'min', and is 1 with all answers right"),
    "BeyondItsRange": ("scores_are_whole", "accuracy is 1.0, outside of its range from 0.0 to 0.5"),
    "WorstIsGood": ("metrics_are_sound", "a diverged trial would be better than a bad one"),
    "ZeroForNothing": ("nothing_gets_no_score", "without any unit, accuracy is 0.0"),
    "WrongKeys": ("scores_are_whole", "its scores have only 'acuracy'"),
    "UnorderedRows": ("scores_are_whole", "keep `id` in the order of source.each"),
    "MeansOfBatches": ("scores_do_not_depend_on_batches", "aggregate over units, not over batches"),
}
SCHEDULES = {
    "below_zero": ("a_schedule_is_a_factor", "the factor is -"),
    "counting": ("a_schedule_is_a_factor", "depends on what was asked before"),
}
OPTIMIZERS = {
    "uphill": ("an_optimizer_descends", "after 200 steps down a bowl the loss is"),
    "stubborn": ("an_optimizer_descends", "with a rate of 0 in its groups it moves weight, bias"),
    "forgetful": ("an_optimizer_resumes_exactly", "the parameters after resuming are others"),
}
TECHNIQUES = {
    "LossOfItsOwnShape": ("a_technique_keeps_shapes", "give the loss: a finite tensor without dimensions"),
    "KeepsAnObject": ("a_technique_keeps_its_state", "its state cannot be kept"),
}
PROPOSERS = {
    "Repeats": ("nothing_is_proposed_twice", "'cosine is better' was registered and is proposed again"),
    "Chatters": ("it_proposes_hypotheses", "`propose` gives str"),
    "RaisesTheRoof": ("in_a_loop_it_keeps_to_what_may_change", "recipe.learning_rate = 50.0"),
    "WarmsUp": ("in_a_loop_it_keeps_to_what_may_change", "changes the arm of 'left' outside of the options"),
    "Imagines": ("in_a_loop_it_cites_facts_that_exist", "'left/moon.phase'"),
    "Insists": ("in_a_loop_nothing_is_claimed_twice", "was claimed in an earlier round"),
    "ScreensAnew": ("an_interrupted_screening_goes_on", "screens again"),
}
EXECUTORS = {
    "LosesAJob": ("every_job_ends_once", "job-0 never ended"),
    "HidesFailures": ("a_failing_job_fails_alone", "the job that raised ValueError ended with None"),
}
HOSTILE = [
    (kind, name, *caught)
    for kind, table in (
        *(("task", TASKS), ("model", MODELS), ("evaluator", EVALUATORS), ("schedule", SCHEDULES)),
        *(("optimizer", OPTIMIZERS), ("technique", TECHNIQUES), ("proposer", PROPOSERS), ("executor", EXECUTORS)),
    )
    for name, caught in table.items()
]


@pytest.fixture(scope="module")
def hostile() -> Any:
    """The module hostile_fixture.py."""
    spec = importlib.util.spec_from_file_location("novum_tests_hostile", Path(__file__).with_name("hostile_fixture.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def subject(hostile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Subject]:
    """Makes a class of that module a subject."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data.csv").write_text("1,2\n")
    monkeypatch.setenv("HOSTILE_FOLDER", str(outside))
    return lambda kind, name, **more: Subject(kind, getattr(hostile, name), tmp_path / "own", **more)


def seen(name: str, subject: Subject) -> str | None:
    """What a check of that name says of a subject; None where the contract holds."""
    subject.folder.mkdir(exist_ok=True)
    try:
        laws.known()[name].run(subject)
    except (Exception, SystemExit) as error:
        if isinstance(error, Inapplicable):
            raise
        return laws.failure(error)
    return None


@pytest.mark.parametrize(("kind", "name", "check", "word"), HOSTILE, ids=[each[1] for each in HOSTILE])
def test_it_catches_a_plugin_that(subject: Callable[..., Subject], kind: str, name: str, check: str, word: str) -> None:
    told = seen(check, subject(kind, name))

    assert told is not None, f"{check} says nothing about {name}"
    assert word in told


@pytest.mark.parametrize(
    ("kind", "name"), [("task", "Sound"), ("model", "SoundModel"), ("evaluator", "SoundEvaluator")]
)
def test_a_sound_plugin_passes_every_check_that_catches_a_broken_one(
    subject: Callable[..., Subject], kind: str, name: str
) -> None:
    checks = sorted({check for which, _, check, _ in HOSTILE if which == kind})

    told = {check: seen(check, subject(kind, name)) for check in checks}

    assert {check: said for check, said in told.items() if said is not None} == {}


def test_duplicates_across_splits_that_the_data_bring_are_a_fact_and_must_be_told(
    subject: Callable[..., Subject],
) -> None:
    check = "splits_share_no_content"

    assert seen(check, subject("task", "SharesContent", own_splits=True)) is None
    assert "the fact train-test.duplicates says 0" in str(
        seen(check, subject("task", "HidesItsDuplicates", own_splits=True))
    )


def test_a_fingerprint_is_held_against_the_data_that_the_author_names(subject: Callable[..., Subject]) -> None:
    check = "fingerprint_follows_the_data"

    assert seen(check, subject("task", "Sound", changed={"size": 61})) is None
    assert "the options {'size': 61}" in str(seen(check, subject("task", "FingerprintOfItsName", changed={"size": 61})))


def test_a_check_that_hangs_is_ended(subject: Callable[..., Subject]) -> None:
    hanging = subject("task", "Hangs")

    with pytest.raises(TookTooLong, match=r"had not ended after 0\.3 s"), limited(0.3):
        laws.known()["training_never_ends"].run(hanging)


def test_a_failure_states_the_contract_what_was_seen_and_where_to_look() -> None:
    check = laws.known()["splits_share_no_unit"]

    told = check.told(str(Broken("3 units stand in train and in dev")))

    assert told.splitlines() == [
        "the contract: no unit stands in two splits, by its id",
        "seen: 3 units stand in train and in dev",
        "to mend: Divide with `novum.split(ids, …)`, which goes by ids, so that no order of rows moves a unit.",
        "see: docs/contract.md#splits-share-no-unit",
    ]


def test_every_check_says_how_to_mend_what_it_finds_and_the_page_to_what_it_applies() -> None:
    page = " ".join(Path(__file__).parents[2].joinpath(laws.PAGE).read_text().split())

    for check in laws.known().values():
        assert len(check.cure) > 20, check.name
        assert f"*{check.contract}* Applies to: {check.applies}. Why:" in page, check.name


PLAYED = {
    "task": ("Walk", {}),
    "model": ("ppo", {"options": {"epochs": 1, "hidden": (8,)}, "partner": {"plugin": "gym", "env": "CartPole-v1"}}),
    "evaluator": ("returns", {"partner": {"plugin": "gym", "env": "CartPole-v1"}}),
}
ON_DATA = [(kind, check.name) for kind in PLAYED for check in laws.of(kind) if check.on == laws.DATA]


@pytest.mark.parametrize(("kind", "check"), ON_DATA)
def test_what_means_something_on_data_alone_is_skipped_where_an_environment_is_played(
    kind: str, check: str, tmp_path: Path
) -> None:
    name, more = PLAYED[kind]
    plugin = samples.Walk if name == "Walk" else name

    with pytest.raises(Inapplicable, match=r"environment|episodes"):
        laws.known()[check].run(Subject(kind, plugin, tmp_path, **more))


def test_what_means_something_of_episodes_alone_is_skipped_on_data(subject: Callable[..., Subject]) -> None:
    (check,) = (each for each in laws.known().values() if each.on == laws.PLAYED)

    with pytest.raises(Inapplicable, match="it scores units of a data set"):
        check.run(subject("evaluator", "SoundEvaluator"))


def test_the_page_describes_every_check_and_no_other() -> None:
    page = Path(__file__).parents[2].joinpath(laws.PAGE).read_text()
    headings = {line.removeprefix("### ").strip() for line in page.splitlines() if line.startswith("### ")}

    assert headings == {name.replace("_", " ") for name in laws.known()}
    missing = [each.name for each in laws.known().values() if f"*{each.contract}*" not in " ".join(page.split())]
    assert missing == []


def test_importing_the_kit_imports_neither_pytest_nor_torch_nor_numpy() -> None:
    code = "import sys, novum.testing; print(*[each for each in ('pytest', 'torch', 'numpy') if each in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
