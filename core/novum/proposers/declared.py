"""What a person wrote, in order, each once: the treatments of a claim file, or changes of a loop's baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from novum import config as _config
from novum.errors import ConfigError
from novum.proposers import Proposer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from novum.hypothesize import Hypothesis
    from novum.loop import Seen
    from novum.standing import Change, Standing


class Declared(Proposer):
    """Proposes the treatments of a claim file, then the changes of a list, skipping those that were tested before."""

    class Config(_config.Config):
        """Which claims."""

        claim: str = ""
        """Path of a claim file; empty: none."""
        changes: tuple[dict[str, Any], ...] = ()
        """In a loop, options by path with the values to try ("recipe.schedule" = "cosine"), each as one change of every
        task whose space holds them; a "tasks" among them names the tasks, a "claim" says the sentence."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if not config.claim and not config.changes:
            raise ConfigError(
                "proposer 'declared': nothing is declared; give claim = \"claim.toml\", or changes = "
                '[{ "recipe.schedule" = "cosine" }].'
            )
        self._left: list[Hypothesis] | None = None

    def propose(self, seen: Seen) -> Hypothesis | None:
        found = self._claim(seen)
        if found is None and seen.standing is not None:
            changes = self._changes(seen.standing)
            return next((seen.standing.claim(each) for each in changes if not seen.standing.known(each)), None)
        return found

    def _claim(self, seen: Seen) -> Hypothesis | None:
        from novum.claimfile import load_all

        if not self.config.claim:
            return None
        if self._left is None:
            self._left = list(load_all(self.config.claim))
        known = {_asked(record) for record, _ in seen.history}
        while self._left:  # each once, also where a loop could not test it
            found = self._left.pop(0)
            if _asked(found.to_json()) not in known:
                return found
        return None

    def _changes(self, standing: Standing) -> Iterator[Change]:
        from novum.space import show
        from novum.standing import Change

        for written in self.config.changes:
            options = {path: value for path, value in written.items() if path not in ("tasks", "claim")}
            named = tuple(written.get("tasks", ()))
            for group in standing.groups():
                if named and not set(group) <= set(named):
                    continue
                words = " and ".join(f"{path.partition('.')[2]} = {show(value)}" for path, value in options.items())
                claim = str(written.get("claim") or f"On {' and '.join(group)}, {words} helps")
                change = Change(group, options, claim, because="a person declared it")
                if standing.allows(change):
                    yield change


def _asked(record: Any) -> str:
    """What a claim asks, whatever the level and the seeds that a loop gives it."""
    from novum.arm import canonical

    return canonical([record["claim"], record["name"], record["tasks"]])
