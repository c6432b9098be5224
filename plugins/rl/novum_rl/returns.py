"""The evaluator `returns`: the sum of rewards of each episode."""

from __future__ import annotations

import math

import novum
from novum import Act, DataError, Metric, Scores, Signature, Source


def _metrics(worst: float) -> tuple[Metric, ...]:
    return (
        Metric("return", "max", worst=worst, unit="reward", kind="episodes"),
        Metric("length", "max", worst=0.0, unit="steps", low=0.0, kind="episodes"),
        Metric("return_min", "max", worst=worst, unit="reward", kind="episodes"),
    )


class Returns(novum.Evaluator):
    """Plays the split's fixed episodes once, without exploring: the mean return counts.

    Metrics: "return", the mean over episodes of the undiscounted sum of rewards (primary); "length", the mean
    number of steps; "return_min", the lowest return. Units: one row per episode with "id", "return", "length".

    A return has no worst value of its own, so `worst` states what a diverged trial counts as. Its default, 0, is
    right only where no reward is negative: with Pendulum-v1, whose returns lie between about -1700 and -100, a
    diverged trial would be better than any other. Give such an environment a value below every return that it
    can give, such as `evaluator = { plugin = "returns", worst = -2000 }` (`novum observe` shows random.return.low).
    """

    class Config(novum.Config):
        """Options of the evaluator `returns`."""

        worst: float = 0.0
        """Return that a diverged trial counts as; below every return that the environment can give, so it must be
        set where rewards are negative (Pendulum-v1: -2000)."""

    config: Config
    metrics = _metrics(0.0)
    outputs = ("actions", "controls")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.metrics = _metrics(config.worst)  # type: ignore[misc]  # `worst` is an option here

    def score(self, act: Act, source: Source, signature: Signature) -> Scores:
        """Play and score. Sums are exact (`math.fsum`).

        Raises DataError when the source gives no episodes (a data set instead of an environment).
        """
        ids: list[str] = []
        returns: list[float] = []
        lengths: list[float] = []
        for batch in source.each(act):
            if "returns" not in batch.extras or "lengths" not in batch.extras:
                raise DataError(
                    f"the evaluator 'returns' scores episodes, but {type(source).__name__} gave a batch with "
                    f"{sorted(batch.extras) or 'no extras'}; use it with an environment ('returns' and 'lengths')."
                )
            ids += batch.ids
            returns += map(float, batch.extras["returns"])
            lengths += map(float, batch.extras["lengths"])
        if not ids:
            raise DataError("the evaluator 'returns' received no episodes; set the task's `episodes` to at least 1.")
        return Scores(
            units={"id": ids, "return": returns, "length": lengths},
            metrics={
                "return": math.fsum(returns) / len(returns),
                "length": math.fsum(lengths) / len(lengths),
                "return_min": min(returns),
            },
        )
