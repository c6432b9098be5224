"""What the installed rules suggest, the most gain per cost first."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from novum import config as _config
from novum.proposers import Proposer
from novum.rules import installed

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.loop import Seen
    from novum.standing import Change, Standing

DOUBT = 0.5
"""By so much less counts a change for every claim about the same options and tasks that did not hold."""


class Rules(Proposer):
    """Reads the facts of a closed loop by a table of rules, and claims the remedy that promises most per cost.

    Equals go by the order of the tasks, then by the rule's name. Outside of a closed loop it has nothing to say.
    """

    class Config(_config.Config):
        """Which rules."""

        only: tuple[str, ...] = ()
        """Names of the rules that may propose; empty: all that are installed (`novum plugins list --kind rule`)."""
        without: tuple[str, ...] = ()
        """Names of rules that may not."""

    config: Config

    def propose(self, seen: Seen) -> Hypothesis | None:
        """Raises ConfigError for a name in `only` that no installed rule has."""
        standing = seen.standing
        found = [] if standing is None else self.changes(standing)
        return standing.claim(found[0]) if standing is not None and found else None

    def changes(self, standing: Standing) -> list[Change]:
        """All that the rules propose now, the best first; what two rules propose alike counts once."""
        ranked: list[tuple[float, int, str, Change]] = []
        for rule in installed(self.config.only):
            if rule.name in self.config.without:
                continue
            for at, tasks in enumerate(standing.groups()):
                try:
                    change = rule.change(standing, tasks)
                except Exception as error:  # such as a format that its reason asks of a number in vain
                    warnings.warn(f"the rule {rule.name!r} is left out: {error}", RuntimeWarning, stacklevel=2)
                    break
                if change is not None:
                    ranked.append((-_promise(change, standing), at, rule.name, change))
        ranked.sort(key=lambda each: each[:3])
        best: dict[str, Change] = {}
        for *_, change in ranked:
            best.setdefault(change.key, change)
        return list(best.values())


def _promise(change: Change, standing: Standing) -> float:
    """Gain per cost, less where earlier claims about the same options failed."""
    failed: list[Any] = [
        each
        for each in standing.claimed
        if not each.adopted and sorted(each.tasks) == sorted(change.tasks) and set(each.options) == set(change.options)
    ]
    return change.rank * DOUBT ** len(failed)
