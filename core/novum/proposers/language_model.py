"""Hypotheses of a language model, behind any endpoint that speaks the OpenAI chat protocol, a local server too.

The model sees what a proposer may see, and so nothing of `test`. It executes nothing and judges nothing: of what it
answers, only changes within the goal's space can become claims, and these are tested as any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from novum import config as _config
from novum.config import flaw
from novum.errors import ConfigError
from novum.proposers import Proposer, answer, asking
from novum.proposers.changes import cost, sentence
from novum.proposers.endpoint import Declined, Endpoint, Unusable, address

if TYPE_CHECKING:
    from novum.hypothesize import Hypothesis
    from novum.loop import Seen
    from novum.standing import Change, Standing

LONGEST_ANSWER = 20_000
"""Characters of a refused answer that are sent back with the reasons."""
LONGEST_REASON = 600
"""Characters of the model's own words that a claim shows."""


class LanguageModel(Proposer):
    """Asks for some hypotheses, and claims the one with the largest gain expected per cost.

    `told` says after each `propose` how it went: asked (requests), answers (hypotheses that can be tested), invalid
    (those that cannot, and answers that cannot be read) and refusals (why, in sentences).
    """

    class Config(_config.Config):
        """Which endpoint and model, and what is asked of them."""

        base_url: str
        """Address of the endpoint, such as "https://api.openai.com/v1" or "http://localhost:8000/v1"; without TLS only
        on this machine."""
        model: Annotated[str, Field(min_length=1, max_length=200)]
        """Name of the model, as the endpoint knows it."""
        api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
        """Name of the environment variable that holds the key, never the key itself; None: no key is sent."""
        hypotheses: Annotated[int, Field(ge=1, le=20)] = 4
        """Hypotheses that are asked for at a time."""
        timeout: Annotated[float, Field(gt=0, le=3600)] = 120.0
        """Seconds that one request may take in all."""
        attempts: Annotated[int, Field(ge=1, le=10)] = 3
        """Requests at most where the endpoint is busy, broken or silent."""
        temperature: Annotated[float, Field(ge=0, le=2)] | None = None
        """How freely the model draws its words; None: as the endpoint does by itself."""
        max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] = 4000
        """Tokens of an answer at most; 0 leaves it to the endpoint, for models that refuse the word."""

        @field_validator("base_url")
        @classmethod
        def _address(cls, value: str) -> str:
            return address(value)

        @field_validator("model")
        @classmethod
        def _printable(cls, value: str) -> str:
            wrong = flaw(value)
            if wrong is not None:
                raise ValueError(f"it holds {wrong}")
            return value

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.told: dict[str, Any] = {}

    def propose(self, seen: Seen) -> Hypothesis | None:
        """The best of what the model answers that can be tested; None where nothing can, also after it was told why.

        Raises ConfigError where the address, the model's name or the key are wrong, StudyError where the endpoint does
        not answer.
        """
        self.told = {"asked": 0, "answers": 0, "invalid": 0, "refusals": []}
        standing = seen.standing
        if standing is None or not any(standing.spaces.values()):
            return None
        conversation = asking.messages(standing, self.config.hypotheses)
        for _ in range(2):
            text, found = self._asked(standing, conversation)
            self.told["answers"] += len(found.changes)
            self.told["invalid"] += len(found.refusals)
            self.told["refusals"] += found.refusals
            if found.changes:
                return standing.claim(self._best(standing, found.changes))
            conversation = [*conversation, *asking.again(text[:LONGEST_ANSWER], found.refusals)]
        return None

    def _asked(self, standing: Standing, conversation: list[dict[str, str]]) -> tuple[str, answer.Read]:
        """One answer: its text, and what of it can be tested."""
        config = self.config
        endpoint = Endpoint(config.base_url, config.api_key_env, config.timeout, config.attempts)
        body: dict[str, Any] = {"model": config.model, "messages": conversation, "stream": False}
        if config.temperature is not None:
            body["temperature"] = config.temperature
        if config.max_tokens:
            body["max_tokens"] = config.max_tokens
        wanted = {"name": "hypotheses", "schema": asking.schema(standing, config.hypotheses)}
        forms: list[dict[str, Any]] = [{"response_format": {"type": "json_schema", "json_schema": wanted}}, {}]
        for form in forms:
            self.told["asked"] += 1
            try:
                text = answer.content(endpoint.ask(body | form))
            except Declined as why:
                if form:
                    continue  # a server that knows no schemas; the instructions ask for the same
                raise ConfigError(
                    f"proposer 'language-model': {config.base_url} does not take the request; it says: {why}. Change "
                    "`model`, leave out `temperature`, or leave the length to it (max_tokens = 0)."
                ) from None
            except Unusable as why:
                return "", answer.Read((), (str(why),))
            return text, answer.read(text, standing, config.hypotheses)
        raise AssertionError("the last form is sent or raises")

    def _best(self, standing: Standing, changes: tuple[Change, ...]) -> Change:
        """The claim says what Novum tests, in Novum's words; what the model says of it is a reason."""
        priced = [replace(each, cost=cost(standing, each.tasks, each.options)) for each in changes]
        best = max(priced, key=lambda each: each.rank)  # the first of equals
        reason = f"{self.config.model}: {best.claim.rstrip('.')}. {best.because}".strip()
        return replace(best, claim=sentence(standing, best.tasks, best.options), because=reason[:LONGEST_REASON])
