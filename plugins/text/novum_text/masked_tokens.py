"""Hidden tokens: what the task `masked-language-modelling` asks for, and the evaluator `masked-tokens` of the answers.

Which tokens a text has is the model's to say, as it brings the tokenizer. Numbers are therefore comparable between arms
of one vocabulary; the report of a claim says which model each arm has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from novum import Evaluator, MismatchError, Scores, Undefined
from novum import Metric as _Metric

if TYPE_CHECKING:
    from novum import Act, Signature, Source

WORST = 100.0
"""Nats per token that count for a diverged trial: as if every token had been given a chance of 4e-44."""


@dataclass(frozen=True)
class Hidden:
    """Outputs are the tokens that were hidden from the model, as positions in a vocabulary of its own."""

    kind: ClassVar[str] = "masked-tokens"


class MaskedTokens(Evaluator):
    """How often and with what probability hidden tokens are named.

    metrics: "accuracy", the share of the hidden tokens that were named; "cross_entropy", the mean of -ln p of the right
    token, in nats; "perplexity", e to the power of it. All over tokens, so that a long text counts for more.

    Columns of `Scores.units`, one row per text: "id"; "tokens", how many were hidden; "right", how many of them were
    named; "surprise", the sum of their -ln p. The table "tokens" has one row, "hidden": "count"; "chance", the accuracy
    of always naming the one that is hidden most often.
    """

    metrics = (
        _Metric("accuracy", "max", worst=0.0, low=0.0, high=1.0),
        _Metric("cross_entropy", "min", worst=WORST, unit="nats", low=0.0),
        _Metric("perplexity", "min", worst=math.exp(WORST), low=1.0),
    )
    outputs = (Hidden.kind,)

    def score(self, act: Act, source: Source, signature: Signature) -> Scores:
        """Raises MismatchError when the answers are not those of a model that names hidden tokens."""
        ids: list[str] = []
        tokens: list[int] = []
        right: list[int] = []
        surprise: list[float] = []
        seen: Counter[int] = Counter()
        for batch in source.each(act):
            answer = act(batch.inputs, batch.ids)
            missing = {"targets", "log_probabilities"} - set(answer.extras)
            if missing:
                raise MismatchError(
                    f"the model's answer has no {sorted(missing)[0]!r} in `extras`; the evaluator 'masked-tokens' "
                    "judges models that name hidden tokens, such as 'masked-transformer'."
                )
            rows = (answer.value.tolist(), answer.extras["targets"].tolist(), answer.extras["log_probabilities"])
            for name, given, asked, logs in zip(batch.ids, rows[0], rows[1], rows[2].double().tolist(), strict=True):
                named = [at for at, token in enumerate(asked) if token >= 0]
                ids.append(name)
                tokens.append(len(named))
                right.append(sum(given[at] == asked[at] for at in named))
                surprise.append(-math.fsum(logs[at] for at in named))
                seen.update(asked[at] for at in named)
        count = sum(tokens)
        units: dict[str, Sequence[object]] = {"id": ids, "tokens": tokens, "right": right, "surprise": surprise}
        if not count:
            nothing = Undefined("no token of the split could be hidden: its texts are empty")
            return Scores(units=units, metrics={metric.name: nothing for metric in self.metrics})
        entropy = math.fsum(surprise) / count
        return Scores(
            units=units,
            metrics={
                "accuracy": sum(right) / count,
                "cross_entropy": entropy,
                "perplexity": math.exp(min(entropy, WORST)),
            },
            tables={"tokens": {"hidden": {"count": float(count), "chance": max(seen.values()) / count}}},
        )
