"""The closed loop: round after round from observations to verdicts, until its target, its budget or a stall.

Everything it knows stands in the ledger (`story`). Killed at any moment and started again, it goes on where it was: a
proposal is written down before it is acted on, and what follows from it (trials, a plan, a verdict) is done once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from novum import loop, pacing, plugins, scouting, space, tried, worth
from novum.arm import Arm, canonical
from novum.errors import ConfigError, InputError, PluginError, StudyError, closest
from novum.hypothesize import Comparison, Hypothesis
from novum.observe import Fact
from novum.rehearse import duration, rehearse
from novum.standing import Change, Screened, Standing
from novum.story import Past, Story

if TYPE_CHECKING:
    from novum.goal import Goal
    from novum.lab import Lab
    from novum.proposers import Proposer
    from novum.scouting import Scouted

SIDES = ("control", "treatment")


@dataclass(frozen=True)
class Ground:
    """What a loop stands on while its baseline is what it is: the arms with every option, facts and scales of the
    tasks, what they are measured by, and what may change.
    """

    whole: Mapping[str, Arm]
    observations: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Sequence[Mapping[str, Any]]]
    spaces: Mapping[str, space.Space]


def climb(goal: Goal, lab: Lab) -> Past:
    """Work on a goal until it ends; the same call again goes on, or gives what came of it.

    Raises ConfigError for a goal that cannot be worked on (an empty space, a metric that no evaluator gives), and what
    an arm raises that cannot train; then nothing of it stands in the record.
    """
    return _Climber(goal, lab).run()


class _Climber:
    def __init__(self, goal: Goal, lab: Lab) -> None:
        self.goal = goal
        self.lab = lab
        self.story = Story(lab.ledger, goal.name)
        self.proposers = [(str(each["plugin"]), _proposer(each)) for each in goal.proposers]
        self._scouted: dict[str, dict[str, Scouted]] = {}

    def run(self) -> Past:
        """Round after round."""
        known = self.story.read()
        ground = self._ground(known.baseline if known is not None else _starts(self.goal))
        past = self.story.open(self.goal)  # refused before anything is written where it cannot go on
        if past.end is not None:
            self.lab.listener.say(
                f"The loop {self.goal.name!r} has ended: {past.end['sentence']} Nothing is run again."
            )
            return past
        while True:
            past = self._past()
            pending = past.pending
            if pending is None:
                why = self._over(past) or self._propose(past, ground)
                if why is not None:
                    return self._end(past, ground, *why)
                continue
            adopted = self._test(past, pending)
            if adopted:
                ground = self._ground(self._past().baseline)
            past = self._past()
            if past.judged and not past.judged[-1][0]["options"] and past.judged[-1][1]["outcome"] == "supported":
                target = self.goal.target
                assert target is not None
                sentence = f"The target is reached: {target.task} at {target.value:g}, on new data too."
                return self._end(past, ground, "target", sentence)

    def _past(self) -> Past:
        past = self.story.read()
        assert past is not None
        return replace(past, goal=self.goal)

    # --------------------------------------------------------------------------------------------- where it stands

    def _ground(self, baseline: Mapping[str, Arm]) -> Ground:
        """Resolve, rehearse and observe the baselines. Raises what makes the goal one that cannot be worked on."""
        question = loop.Question(self.goal.name, {name: {"control": arm} for name, arm in baseline.items()})
        seen = rehearse(self.lab, loop.observe(question, self.lab, tell=False))
        found = {name: seen.resolved[f"{name}/control"] for name in baseline}
        metrics = {name: tuple(each["metrics"]) for name, each in found.items()}
        for name, start in self.goal.tasks.items():
            _check_metric(f"tasks.{name}.metric", start.metric, metrics[name])
        target = self.goal.target
        if target is not None:
            _check_metric("target.metric", target.metric, metrics[target.task])
        whole = {name: Arm.from_json(_written(each["plan"], baseline[name])) for name, each in found.items()}
        return Ground(whole, seen.observations, metrics, _spaces(self.goal, whole))

    def _budget(self, past: Past) -> tuple[int | None, int, float, float]:
        """(trials that are left, or None; trials charged so far; device-hours; seconds of work)."""
        charged = self._charged(past)
        rows = {row["key"]: row for row in self.lab.ledger.trials(keys=sorted(charged))}
        new = [row for row in rows.values() if not (row["finished"] and row["finished"] < past.began)]
        hours = sum((row["result"] or {}).get("seconds", 0.0) for row in new) / 3600
        trials = self.goal.budget.trials
        return (None if trials is None else trials - len(new)), len(new), hours, past.worked + self.story.since()

    def _charged(self, past: Past) -> set[str]:
        """Keys of the trials that the loop pays for: exploratory ones, and those that a look of a claim needed. What
        idle workers ran ahead is free, so that the charge does not depend on their speed.
        """
        from novum.validate import stored

        keys = set(past.keys)
        for _, judged in past.judged:
            plan = loop.registered(self.lab.ledger, judged["hypothesis"])
            told = stored(self.lab.ledger, judged["hypothesis"]).record["tasks"]
            keys |= {
                each.key
                for name in plan.tasks
                for index in range(int(told[name]["pairs"]))
                for trial in plan.pair(name, index)
                for each in trial.line()
            }
        return keys

    def _reserve(self, past: Past) -> int:
        """Trials that are kept for the comparison at the end."""
        return 2 * len(self.goal.tasks) * self._worth_seeds()

    def _worth_seeds(self) -> int:
        return pacing.reserve(self.goal.budget.trials, len(self.goal.tasks), self.goal.worth)

    def _over(self, past: Past) -> tuple[str, str] | None:
        """Why the budget ends the loop here, in a word and a sentence; None while it does not."""
        left, used, hours, seconds = self._budget(past)
        budget = self.goal.budget
        if budget.seconds is not None and seconds >= budget.seconds:
            return "budget", f"Its time is used up: {duration(seconds)} of {budget.wall}."
        if budget.device_hours is not None and hours >= budget.device_hours:
            return "budget", f"Its device-hours are used up: {hours:.3g} of {budget.device_hours:g}."
        fewest = 2 * pacing.FEWEST * (1 if self.goal.scope == "each" else len(self.goal.tasks))
        begun = bool(past.of("observed"))
        first = 0 if begun else self.goal.seeds * len(self.goal.tasks)
        if left is not None and left - self._reserve(past) - first < fewest:
            kept = f", and {self._reserve(past)} are kept for the comparison at the end" if self._reserve(past) else ""
            return "budget", (
                f"Its trials are used up: {used} of {budget.trials}{kept}; a claim of {pacing.FEWEST} pairs needs "
                f"{fewest}."
            )
        return None

    # ---------------------------------------------------------------------------------------------------- observing

    def _observe(self, past: Past, ground: Ground) -> dict[str, dict[str, Fact]]:
        """Facts of every task: what it says of itself, what exploratory trials of its baseline say, what was tried."""
        lab, told = self.lab, {}
        lab.listener.act(1, "observe", f"Round {past.round}: what do the tasks and the baselines look like?")
        baseline = past.baseline
        scouted = self._scout(baseline)
        for name in self.goal.tasks:
            rule = self._rule(name, ground)
            found = scouted[name]
            train = scouting.scored(lab, found, "train")
            facts = [Fact(f"{name}/{each['id']}", *_rest(each)) for each in ground.observations[name]["facts"]]
            facts += tried.facts(name, found, rule, train)
            facts += tried.episodes(name, rule, self._episodes(found, rule))
            facts += tried.earlier(name, past.claimed)
            told[name] = {fact.id: fact for fact in facts}
            lab.listener.say(_glance(name, told[name], rule))
        if not any(each["round"] == past.round for each in past.of("observed")):
            keys = [key for each in scouted.values() for key in each.keys]
            plain = {name: [vars(fact) for fact in each.values()] for name, each in told.items()}
            self.story.add("observed", round=past.round, facts=plain, keys=keys)
        return told

    def _scout(self, baseline: Mapping[str, Arm]) -> dict[str, Scouted]:
        known = canonical({name: arm.to_json() for name, arm in baseline.items()})
        if known not in self._scouted:
            arms = {name: (name, arm) for name, arm in baseline.items()}
            found = scouting.scout(self.lab, arms, range(self.goal.seeds))
            for name, each in found.items():
                broken = next((row for row in each.rows if row["state"] == "failed"), None)
                if broken is not None:
                    raise StudyError(
                        f"the baseline of {name} breaks: {broken['result']['failed']} "
                        f"(`novum logs {broken['key'][:12]}`). Mend it, and give the same command."
                    )
            self._scouted = {known: found}
        return self._scouted[known]

    def _rule(self, name: str, ground: Ground) -> tried.Ruler:
        return tried.ruler(ground.metrics[name], self.goal.tasks[name].metric, ground.observations[name]["scale"])

    def _episodes(self, found: Scouted, rule: tried.Ruler) -> list[list[float]]:
        if rule.metric.get("kind") != "episodes":
            return []
        columns = [self.lab.ledger.units(key, "dev") for key in found.keys]
        name = rule.metric["name"]
        return [[float(each) for each in column[name]] for column in columns if column and name in column]

    # ---------------------------------------------------------------------------------------------------- proposing

    def _propose(self, past: Past, ground: Ground) -> tuple[str, str] | None:
        """Ask the proposers in order and write down what the first of them proposes; else why the loop stalls."""
        facts = self._observe(past, ground)
        past = self._past()
        asked = self._aim(past, ground)
        if asked is not None:
            self._write(past, "target", asked, (self.goal.target.task,), {}, None)  # type: ignore[union-attr]
            return None
        over = self._over(past)
        if over is not None:
            return over
        for name, proposer in self.proposers:
            past = self._past()
            standing = self._standing(past, ground, facts)
            question = loop.Question(self.goal.name, {task: {"control": arm} for task, arm in past.baseline.items()})
            seen = loop.Seen(question, ground.observations, {}, loop.history(self.lab.ledger), standing)
            proposed = proposer.propose(seen)
            over = self._over(self._past())
            if over is not None:
                return over
            if proposed is None:
                continue
            written = self._fitted(past, proposed)
            if written is None or self._known(past, written):
                continue
            tasks = tuple(written.tasks)
            options = _changed(written, past.baseline)
            self._write(past, name, written, tasks, options, getattr(proposer, "told", None))
            return None
        who = " and ".join(name for name, _ in self.proposers)
        return (
            "stall",
            f"Nothing promising is left: {who} {'has' if len(self.proposers) == 1 else 'have'} nothing more.",
        )

    def _write(
        self, past: Past, who: str, asked: Hypothesis, tasks: Sequence[str], options: Mapping[str, Any], told: Any
    ) -> None:
        self.story.add(
            "proposed",
            round=past.round,
            proposer=who,
            hypothesis=asked.to_json(),
            tasks=list(tasks),
            options=dict(options),
            told=told,
        )

    def _known(self, past: Past, written: Hypothesis) -> bool:
        """Whether this loop tested the same arms before, with whatever number of pairs."""
        return _arms(written.to_json()) in {_arms(each["hypothesis"]) for each in past.of("proposed")}

    def _fitted(self, past: Past, proposed: Hypothesis) -> Hypothesis | None:
        """The proposal as this goal tests it: at the level of its stream, with no more pairs than the budget allows."""
        goal = self.goal
        left, *_ = self._budget(past)
        asked = proposed.max_seeds or goal.max_seeds
        most = pacing.pairs(asked, left, 2 * len(proposed.tasks), self._reserve(past))
        if most < pacing.FEWEST:
            return None
        unknown = sorted(set(proposed.tasks) - set(goal.tasks))
        if unknown:
            raise ConfigError(
                f"a proposer of goal {goal.name!r} proposes a claim about {unknown[0]!r}; "
                f"{closest(unknown[0], goal.tasks)}."
            )
        return replace(
            proposed, goal=goal.name, alpha=goal.alpha, fdr=goal.fdr, max_seeds=most, batch=min(proposed.batch, most)
        )

    def _aim(self, past: Past, ground: Ground) -> Hypothesis | None:
        """The claim that the target is reached, where the baseline's exploratory trials reach it on dev; None where
        they do not, and where this baseline was tested on it before.
        """
        target = self.goal.target
        if target is None:
            return None
        arm = past.baseline[target.task]
        metric = target.metric or self.goal.tasks[target.task].metric
        rule = tried.ruler(ground.metrics[target.task], metric, None)
        values = [
            each for each in self._scout(past.baseline)[target.task].values(rule.metric["name"]) if each is not None
        ]
        if not values or rule(sum(values) / len(values)) < rule(target.value):
            return None
        claim = f"{target.task} reaches {target.value:g} {rule.metric['name']}"
        asked = Hypothesis(
            claim=claim,
            tasks={target.task: Comparison(target.value, arm, rule.metric["name"])},
            max_seeds=self.goal.max_seeds,
            seed=self.goal.seed,
            because="the goal's target, which its exploratory trials reach on dev",
            rests_on=(f"{target.task}/run.score",),
            give_up="support",
        )
        written = self._fitted(past, asked)
        return None if written is None or self._known(past, written) else written

    def _standing(self, past: Past, ground: Ground, facts: Mapping[str, Mapping[str, Fact]]) -> Standing:
        left, *_ = self._budget(past)
        return Standing(
            goal=self.goal,
            round=past.round,
            baseline=past.baseline,
            whole=ground.whole,
            spaces=ground.spaces,
            facts=facts,
            screened=past.screened,
            claimed=past.claimed,
            left=None if left is None else max(0, left - self._reserve(past)),
            try_out=self._screener(past, ground),
        )

    def _screener(self, past: Past, ground: Ground) -> Callable[[Sequence[Change]], tuple[Screened, ...]]:
        def try_out(changes: Sequence[Change]) -> tuple[Screened, ...]:
            arms = {
                f"{at}/{task}": (task, space.applied(past.baseline[task], change.options))
                for at, change in enumerate(changes)
                for task in change.tasks
            }
            found = scouting.scout(self.lab, arms, (0,))
            base = self._scout(past.baseline)
            told = []
            for at, change in enumerate(changes):
                gains = [
                    _gain(found[f"{at}/{task}"], base[task], self._rule(task, ground), self.goal.tasks[task].metric)
                    for task in change.tasks
                ]
                known = [gain for gain in gains if gain is not None]
                gain = float(f"{sum(known) / len(known):.9g}") if len(known) == len(gains) else None
                keys = [key for task in change.tasks for key in found[f"{at}/{task}"].keys]
                options = dict(change.options)
                self.story.add(
                    "screened", round=past.round, tasks=list(change.tasks), options=options, gain=gain, keys=keys
                )
                told.append(Screened(past.round, tuple(change.tasks), options, gain))
            return tuple(told)

        return try_out

    # ------------------------------------------------------------------------------------------------------ testing

    def _test(self, past: Past, pending: Mapping[str, Any]) -> bool:
        """Register, run and validate what was proposed, or go on with it. Returns whether the baseline changed."""
        lab = self.lab
        hypothesis = Hypothesis.from_json(pending["hypothesis"])
        verdict = loop.resume(hypothesis, lab)
        if verdict is None:
            try:
                seen = loop.observe(loop.Question.of(hypothesis), lab, tell=False)
                verdict = loop.claim(lab, hypothesis, seen, block=past.block)
            except (InputError, PluginError) as error:  # the arm cannot train: no reason to end the loop
                if lab.ledger.hypothesis_by_fingerprint(hypothesis.fingerprint) is not None:
                    raise
                self.story.add("refused", round=pending["round"], why=str(error))
                lab.listener.say(f"Round {pending['round']}: refused, nothing was registered. {error}")
                return False
        if not verdict.ended:
            raise StudyError(f"{verdict.hypothesis} paused undecided; give the same command to go on.")
        plan = loop.registered(lab.ledger, verdict.hypothesis)
        adopted = verdict.outcome == "supported" and bool(pending["options"])
        self.story.add(
            "judged",
            round=pending["round"],
            hypothesis=verdict.hypothesis,
            outcome=verdict.outcome,
            adopted=adopted,
            block=plan.record["seeds"]["block"],
        )
        where = " and ".join(pending["tasks"])
        then = f"It is the new baseline of {where}." if adopted else "The baseline stays."
        if not pending["options"]:
            then = "The target is reached." if verdict.outcome == "supported" else "The target is not shown yet."
        lab.listener.say(f"Round {pending['round']}: {verdict.outcome}. {verdict.reasons[0]} {then}")
        return adopted

    # ------------------------------------------------------------------------------------------------------- ending

    def _end(self, past: Past, ground: Ground, why: str, sentence: str) -> Past:
        """Compare the last baseline with the first on new data, and close the loop with why."""
        past = self._past()
        begun = past.of("begun")[-1]
        at = past.events.index(begun)
        if not any(each["kind"] == "worth" for each in past.events[at:]):
            self.lab.listener.say(f"{sentence} Last: what was it worth, on new data?")
            left, *_ = self._budget(past)
            changed = sum(past.first[name] != past.baseline[name] for name in self.goal.tasks)
            seeds = self._worth_seeds()
            fresh = left is None or left >= 2 * changed * seeds
            scales = {name: each["scale"] for name, each in ground.observations.items()}
            measured = worth.measure(self.lab, past, scales, seeds if fresh else self.goal.seeds, fresh)
            self.story.add("worth", **measured)
        self.story.add("ended", why=why, sentence=sentence)
        self.lab.listener.ended()
        return self._past()


def check(goal: Goal) -> None:
    """Raise ConfigError for what can be told of a goal without any data: options and proposers that nobody has, values
    that an option does not take, an empty space. Nothing is opened.
    """
    _spaces(goal, _starts(goal))
    for each in goal.proposers:
        _proposer(each)


def _proposer(asked: Mapping[str, Any]) -> Proposer:
    options = {name: value for name, value in asked.items() if name != "plugin"}
    found: Proposer = plugins.create("proposer", asked["plugin"], options)
    return found


def _spaces(goal: Goal, arms: Mapping[str, Arm]) -> dict[str, space.Space]:
    return space.spaces(goal.space, {name: start.space for name, start in goal.tasks.items()}, arms)


def _arms(hypothesis: Mapping[str, Any]) -> str:
    return canonical(hypothesis["tasks"])


def _starts(goal: Goal) -> dict[str, Arm]:
    return {name: start.arm for name, start in goal.tasks.items()}


def _written(plan: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """A resolved arm as a claim file would write it, every option filled in."""
    start = None if arm.start_from is None else arm.start_from.to_json()
    return {**plan["arm"], "start_from": start, "start_once": arm.start_once}


def _check_metric(place: str, name: str | None, metrics: Sequence[Mapping[str, Any]]) -> None:
    names = [metric["name"] for metric in metrics]
    if name is not None and name not in names:
        raise ConfigError(f"goal: {place}: no evaluator of this task gives {name!r}; {closest(name, names)}.")


def _rest(fact: Mapping[str, Any]) -> tuple[Any, str, str]:
    value = fact["value"]
    return (f"undefined: {value['undefined']}" if isinstance(value, Mapping) else value), fact["unit"], fact["about"]


def _changed(written: Hypothesis, baseline: Mapping[str, Arm]) -> dict[str, Any]:
    """What a claim changes on the baseline, by path; nothing where its control is not the baseline."""
    found: dict[str, Any] = {}
    for name, each in written.tasks.items():
        if each.control != baseline[name]:
            return {}
        found |= space.differences(baseline[name], each.treatment)
    return found


def _gain(found: Scouted, base: Scouted, rule: tried.Ruler, metric: str | None) -> float | None:
    """Of the trial at seed 0 over the baseline's at that seed, on the scale; None where one has no number."""
    sides = [each.values(metric)[:1] for each in (found, base)]
    if not all(side and side[0] is not None for side in sides):
        return None
    return rule(sides[0][0]) - rule(sides[1][0])  # type: ignore[arg-type]


def _glance(task: str, facts: Mapping[str, Fact], rule: tried.Ruler) -> str:
    """One line of what a baseline looks like."""

    def number(id: str) -> str | None:
        fact = facts.get(f"{task}/{id}")
        return None if fact is None or not isinstance(fact.value, int | float) else f"{fact.value:.3g}"

    parts = [f"{rule.metric['name']} on dev {number('run.score') or 'undefined'}"]
    for id, words in (("run.spread", "spread"), ("run.gap", "train better by"), ("run.rise", "rose at the end by")):
        value = number(id)
        if value is not None:
            parts.append(f"{words} {value}")
    return f"{task}: {', '.join(parts)}."
