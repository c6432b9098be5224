from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from novum import ConfigError, Hypothesis, plugins
from novum.arm import canonical
from novum.loop import Question, Seen
from novum.pacing import FEWEST
from novum.proposers.changes import common, cost, sentence
from novum.proposers.search import _past
from novum.space import Option
from novum.standing import Change, Claimed, Screened, Standing
from novum.testing.loops import SPACE, Loop, Stopped


def search(loop: Loop, **options: Any) -> Hypothesis | None:
    found: Hypothesis | None = plugins.create("proposer", "search", options).propose(loop.seen)
    return found


def asked(standing: Standing, **options: Any) -> Hypothesis | None:
    """What is claimed where a loop stands so; its trials gain what `standing.try_out` says."""
    found: Hypothesis | None = plugins.create("proposer", "search", options).propose(
        Seen(Question("g", {}), {}, {}, (), standing)
    )
    return found


class Trials:
    """A try_out that writes down what it is given. gains: by the number of the trial; then the last one again."""

    def __init__(self, *gains: float | None) -> None:
        self.gains, self.given = gains, list[Change]()

    def __call__(self, changes: Sequence[Change]) -> tuple[Screened, ...]:
        found = []
        for change in changes:
            gain = self.gains[min(len(self.given), len(self.gains) - 1)]
            self.given.append(change)
            found.append(Screened(1, change.tasks, dict(change.options), gain))
        return tuple(found)


def standing(trials: Trials, **parts: Any) -> Standing:
    return replace(Loop().standing, try_out=trials, **parts)


def test_the_best_of_the_screened_candidates_is_claimed_and_says_how_it_was_found() -> None:
    trials = Trials(0.02, 0.12, None, -0.3)

    found = asked(standing(trials))

    assert found is not None
    best = trials.given[1]
    assert len(trials.given) == 4
    assert found.tasks["left"].treatment == Loop().standing.arms(best)["left"]
    assert found.because == "screened best of 4 by one exploratory trial each (gain +0.12 on the scale)"
    assert found.expected_effect == 0.06  # half of it: the best of several single trials was lucky as well
    assert (found.goal, found.give_up, list(found.tasks)) == ("contract", "support", ["left"])


def test_a_claim_can_be_read() -> None:
    loop = Loop().standing
    both = {"recipe.learning_rate": 0.01, "model.dropout": 0.2}

    assert sentence(loop, ("left",), both) == "On left: learning_rate 0.001 → 0.01 and dropout 0 → 0.2 help"
    assert sentence(loop, ("left", "right"), {"recipe.schedule": "cosine"}).startswith("On left and right: schedule ")
    assert sentence(loop, ("left", "right"), {"recipe.batch_size": 64}) == "On left and right: batch_size → 64 helps"


def test_a_candidate_changes_as_many_options_as_it_may_and_numbers_have_three_digits() -> None:
    for most in (1, 2, 3):
        trials = Trials(-1.0)

        asked(standing(trials), at_once=most, patience=6)

        counts = {len(change.options) for change in trials.given}
        assert max(counts) == most and min(counts) == 1
        rates = [change.options.get("recipe.learning_rate", 0.001) for change in trials.given]
        assert all(rate == float(f"{rate:.3g}") for rate in rates)


def test_nothing_is_claimed_where_nothing_gains_and_patience_says_how_long_that_is_tried() -> None:
    trials = Trials(-0.1)

    assert asked(standing(trials), patience=2) is None
    assert len(trials.given) == 2 * 4 * 2  # two batches on each of two tasks
    assert len({change.key for change in trials.given}) == len(trials.given)


def test_a_later_batch_is_screened_where_the_first_gained_nothing() -> None:
    trials = Trials(*[-0.1] * 5, 0.2, -0.1)

    found = asked(standing(trials))

    assert found is not None and found.because.startswith("screened best of 8 ")


def test_diverged_candidates_are_no_gain_and_no_error() -> None:
    trials = Trials(None, math.nan, math.inf)

    assert asked(standing(trials), patience=1) is None
    again = [Screened(1, change.tasks, change.options, math.nan) for change in trials.given]
    after = Trials(0.1)
    assert asked(standing(after, screened=tuple(again), round=2)) is not None
    assert not {change.key for change in trials.given} & {change.key for change in after.given}


@pytest.mark.parametrize(("left", "screened"), [(None, 4), (12, 4), (10, 2), (9, 1), (8, 0), (0, 0)])
def test_screening_leaves_the_trials_that_a_claim_needs(left: int | None, screened: int) -> None:
    trials = Trials(0.1)

    found = asked(standing(trials, left=left))

    assert len(trials.given) == screened
    assert (found is None) == (screened == 0)
    assert FEWEST == 4  # two trials a pair: eight are kept


def test_without_a_loop_search_has_nothing_to_propose() -> None:
    assert plugins.create("proposer", "search", {}).propose(replace(Loop().seen, standing=None)) is None


def test_the_same_standing_gives_the_same_asks_and_another_seed_or_more_trials_others() -> None:
    def drawn(**parts: Any) -> list[str]:
        trials = Trials(-1.0)
        asked(standing(trials, **parts), patience=1)
        return [change.key for change in trials.given]

    goal = Loop().standing.goal
    before = (Screened(1, ("left",), {"recipe.schedule": "cosine"}, 0.1),)

    assert drawn() == drawn()
    assert drawn(goal=replace(goal, seed=1)) != drawn()
    assert drawn(screened=before, round=2) != drawn()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_after_a_kill_at_any_trial_the_same_candidates_are_screened_and_the_same_is_claimed(sampler: str) -> None:
    whole = Loop(left=40)
    claim = search(whole, sampler=sampler)
    assert claim is not None

    for kill in range(len(whole.tried)):
        loop = Loop(left=40, kill=kill)
        with pytest.raises(Stopped):
            search(loop, sampler=sampler)
        loop.kill = None
        found = search(loop, sampler=sampler)

        assert found == claim
        assert loop.tried == whole.tried


def test_the_order_in_which_trials_ended_changes_nothing() -> None:
    drawn = []
    past = [Screened(1, ("left",), {"recipe.learning_rate": 0.001 * each}, 0.01 * each) for each in range(2, 9)]
    for order in (past, past[::-1]):
        trials = Trials(-1.0)
        asked(standing(trials, screened=tuple(order), round=2), patience=1)
        drawn.append([change.key for change in trials.given])

    assert drawn[0] == drawn[1]


def test_groups_of_tasks_are_taken_in_turn() -> None:
    loop, tasks = Loop(), []
    for _ in range(4):
        found = search(loop)
        assert found is not None
        tasks += list(found.tasks)
        loop = loop.after(found)

    assert set(tasks[:2]) == set(tasks[2:]) == {"left", "right"}


def test_a_claim_about_all_tasks_changes_what_they_have_in_common() -> None:
    found = search(Loop(scope="all"))

    assert found is not None
    assert (list(found.tasks), found.scope) == (["left", "right"], "all")


def test_tpe_comes_back_to_what_gained() -> None:
    """Of the candidates after twenty screened ones, more change the rate, and to values near those that gained."""
    past = [Screened(1, ("left",), {"recipe.weight_decay": round(0.008 * each, 3)}, -0.5) for each in range(1, 11)]
    past += [
        Screened(1, ("left",), {"recipe.learning_rate": rate}, 0.3 - abs(math.log10(rate) + 2))
        for rate in (float(f"{each:.3g}") for each in np.geomspace(1e-4, 1e-1, 10))
    ]

    def share(sampler: str) -> float:
        trials = Trials(-1.0)
        asked(standing(trials, screened=tuple(past), round=2), sampler=sampler, candidates=32, patience=1)
        near = [0.003 < change.options.get("recipe.learning_rate", 1.0) < 0.03 for change in trials.given[:32]]
        return sum(near) / len(near)

    assert share("tpe") > 2 * share("random")


def test_what_shares_an_option_with_a_later_adoption_is_no_longer_told_nor_held_against_it() -> None:
    past = [Screened(1, ("left",), {"recipe.schedule": "cosine"}, 0.2)]
    past += [Screened(1, ("left",), {"recipe.optimizer": "sgd"}, 0.1)]
    adopted = Claimed(1, "h-1", ("left",), {"recipe.schedule": "linear"}, "supported", True)

    before = _past(standing(Trials(0.1), screened=tuple(past), round=2), ("left",), SPACE)
    after = _past(standing(Trials(0.1), screened=tuple(past), claimed=(adopted,), round=2), ("left",), SPACE)

    assert sorted(before, key=str) == sorted(past, key=str)
    assert [each.options for each in after] == [{"recipe.optimizer": "sgd"}]


def test_a_small_space_is_exhausted_and_then_there_is_nothing_to_propose() -> None:
    spaces: Mapping[str, Any] = {
        name: {"recipe.schedule": SPACE["recipe.schedule"], "recipe.optimizer": SPACE["recipe.optimizer"]}
        for name in ("left", "right")
    }
    trials = Trials(-0.1)
    first = standing(trials, spaces=spaces)

    assert asked(first, patience=10) is None
    whole = [(change.tasks[0], canonical(dict(change.options))) for change in trials.given]
    assert len(whole) == len(set(whole)) == 2 * 5  # 2 other schedules, 1 other optimiser, and both
    left = tuple(Screened(1, change.tasks, change.options, -0.1) for change in trials.given)
    after = Trials(-0.1)
    assert asked(standing(after, spaces=spaces, screened=left, round=2)) is None
    assert after.given == []


def test_a_space_that_changed_since_is_searched_as_it_is_now() -> None:
    """What was screened outside of it is not told; values that a list of choices no longer has raise nothing."""
    past = (
        Screened(1, ("left",), {"recipe.learning_rate": 5.0}, 0.4),
        Screened(1, ("left",), {"recipe.schedule": "one-cycle"}, 0.4),
        Screened(1, ("left",), {"recipe.clip": 1.0}, 0.4),
        Screened(1, ("left",), {path: option.nearest(1) for path, option in SPACE.items() if not option.choices}, 0.4),
    )

    assert asked(standing(Trials(0.1), screened=past, round=2)) is not None


def test_nothing_may_change_is_nothing_to_propose() -> None:
    trials = Trials(0.1)

    assert asked(standing(trials, spaces={"left": {}, "right": {}})) is None
    assert trials.given == []


def test_gain_is_weighed_by_what_a_trial_costs() -> None:
    few = {path: SPACE[path] for path in ("recipe.budget", "model.dropout")}

    def by_option(changes: Sequence[Change]) -> tuple[Screened, ...]:
        gains = [0.15 if "recipe.budget" in change.options else 0.1 for change in changes]
        return tuple(Screened(1, each.tasks, each.options, gain) for each, gain in zip(changes, gains, strict=True))

    found = asked(
        replace(Loop().standing, spaces={"left": few, "right": few}, try_out=by_option), candidates=8, at_once=1
    )

    assert found is not None and "dropout" in found.claim
    assert cost(Loop().standing, ("left",), {"recipe.budget": "4 epochs"}) == 2.0
    assert cost(Loop().standing, ("left",), {"recipe.budget": "100 steps"}) == 1.0


def test_what_tasks_have_in_common_is_the_overlap_of_their_spaces() -> None:
    one = {
        "a": Option("a", low=0.0, high=1.0),
        "b": Option("b", choices=(1, 2, 3)),
        "c": Option("c", choices=("x", "y")),
        "d": Option("d", low=0.0, high=1.0),
    }
    other = {
        "a": Option("a", low=0.5, high=2.0, log=True),
        "b": Option("b", low=2.0, high=9.0),
        "c": Option("c", choices=("z",)),
        "d": Option("d", low=1.0, high=2.0),
        "e": Option("e", choices=(1,)),
    }

    assert common([one, other]) == {"a": Option("a", low=0.5, high=1.0), "b": Option("b", choices=(2, 3))}
    assert common([one]) == one


def test_optuna_is_silent_and_leaves_the_process_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        before = (random.getstate(), str(np.random.get_state()), optuna.logging.get_verbosity())
        search(Loop())
        after = (random.getstate(), str(np.random.get_state()), optuna.logging.get_verbosity())
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    assert after == before
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").level == logging.WARNING


@pytest.mark.parametrize(
    "options", [{"sampler": "cmaes"}, {"candidates": 0}, {"at_once": 9}, {"startup": 0}, {"patience": 0}, {"seed": 1}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        plugins.create("proposer", "search", options)
