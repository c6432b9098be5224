"""A closed loop that is made up, for checks of proposers: where it stands, and what its trials would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from novum.arm import Arm, Plugin, canonical
from novum.space import Option, applied, current

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.loop import Seen
    from novum.standing import Change, Claimed, Screened, Standing

SPACE: Mapping[str, Option] = {
    each.path: each
    for each in (
        Option("recipe.learning_rate", low=1e-4, high=1e-1, log=True),
        Option("recipe.weight_decay", low=0.0, high=0.1),
        Option("recipe.batch_size", low=8, high=128, log=True, whole=True),
        Option("recipe.optimizer", choices=("adamw", "sgd")),
        Option("recipe.schedule", choices=("constant", "cosine", "linear")),
        Option("recipe.budget", choices=("2 epochs", "4 epochs")),
        Option("model.dropout", low=0.0, high=0.5),
    )
}
"""What may change: options of every kind."""
FACTS: Mapping[str, float] = {
    "train.size": 64,
    "train.classes": 4,
    "train.majority": 0.7,
    "train.smallest_class": 2,
    "run.score": 0.55,
    "run.scaled": 0.4,
    "run.spread": 0.08,
    "run.train": 0.7,
    "run.gap": 0.3,
    "run.rise": 0.05,
    "run.fall": 0.1,
    "run.diverged": 0,
}
"""Facts by their ids within a task: those of a task, and those of what was tried."""


class Stopped(BaseException):
    """The loop was killed while it screened; no proposer can catch it by `except Exception`."""


@dataclass
class Loop:
    """A loop on two tasks whose trials are made up: the gain of a change follows from the change alone.

    kill: changes after whose screening the loop is killed; None: never. tried: keys that were screened, in order.
    """

    scope: str = "each"
    screened: tuple[Screened, ...] = ()
    claims: tuple[Hypothesis, ...] = ()
    round: int = 1
    left: int | None = 200
    kill: int | None = None
    tried: list[str] = field(default_factory=list)

    @property
    def standing(self) -> Standing:
        """Where it stands, made anew."""
        from novum.goal import Goal
        from novum.observe import Fact
        from novum.recipe import Recipe
        from novum.standing import Standing

        arm = Arm(Plugin("task", "sample"), Plugin("model", "mlp"), recipe={"budget": "2 epochs"})
        tasks = {"left": arm, "right": arm.but(batch_size=16)}
        space = {path: option.to_json() for path, option in SPACE.items()}
        goal = Goal("contract", tasks, budget=200, space=space, scope=self.scope)
        whole = {
            name: each.but(**(Recipe().model_dump(mode="json") | dict(each.recipe))) for name, each in tasks.items()
        }
        return Standing(
            goal=goal,
            round=self.round,
            baseline=tasks,
            whole=whole,
            spaces={name: dict(SPACE) for name in tasks},
            facts={
                name: {f"{name}/{each}": Fact(f"{name}/{each}", value, "", "Made up.") for each, value in FACTS.items()}
                for name in tasks
            },
            screened=self.screened,
            claimed=tuple(self._claimed(each) for each in self.claims),
            left=self.left,
            try_out=self._try_out,
        )

    @property
    def seen(self) -> Seen:
        """What a proposer sees of it."""
        from novum.loop import Question, Seen

        standing = self.standing
        facts = [{"id": "train.size", "value": 64, "unit": "units", "about": "Units in train."}]
        scale = {"metric": "accuracy", "chance": 0.25, "reference": 1.0}
        arms = {name: {"control": arm} for name, arm in standing.baseline.items()}
        history = tuple(
            (claim.to_json() | {"id": claim.id, "fingerprint": claim.fingerprint}, {"outcome": "refuted", "tasks": {}})
            for claim in self.claims
        )
        told = {name: {"facts": facts, "scale": scale} for name in arms}
        return Seen(Question("contract", arms), told, {}, history, standing)

    def after(self, claim: Hypothesis) -> Loop:
        """The loop once that claim was refuted."""
        return replace(self, screened=self.screened, claims=(*self.claims, claim), round=self.round + 1, tried=[])

    def _claimed(self, claim: Hypothesis) -> Claimed:
        from novum.standing import Claimed

        at = self.claims.index(claim) + 1
        standing = replace(self, claims=(), screened=()).standing
        options: dict[str, Any] = {}
        for name, each in claim.tasks.items():
            options |= (changed(standing, name, each.treatment) if name in standing.baseline else None) or {}
        return Claimed(at, claim.id, tuple(claim.tasks), options, "refuted", False)

    def _try_out(self, changes: Sequence[Change]) -> tuple[Screened, ...]:
        from novum.standing import Screened

        found = []
        for change in changes:
            if self.kill is not None and len(self.tried) >= self.kill:
                raise Stopped
            self.tried.append(change.key)
            found.append(Screened(self.round, change.tasks, dict(change.options), gain(change.key)))
            self.screened = (*self.screened, found[-1])
            self.left = None if self.left is None else self.left - len(change.tasks)
        return tuple(found)


def gain(key: str) -> float | None:
    """What a trial with a change gains here: from -0.1 to 0.1, and one in eight diverges."""
    from novum.seeds import Seed

    drawn = Seed(0, ("gain", key)).integer(20)
    return None if drawn % 8 == 0 else round(0.2 * drawn / 2**20 - 0.1, 6)


def changed(standing: Standing, task: str, arm: Arm) -> dict[str, Any] | None:
    """The options in which an arm differs from the baseline of a task; None where it differs in anything else."""
    base = standing.baseline[task]
    options = {
        path: current(arm, path)
        for path in standing.spaces[task]
        if canonical(current(arm, path)) != canonical(current(base, path))
    }
    same = canonical(applied(base, options).to_json()) == canonical(arm.to_json())
    return options if same else None
