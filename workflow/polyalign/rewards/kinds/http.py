"""Rewards of a server: one POST per batch of prompts and responses."""

from sys import float_info
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from polyalign.data.chats import dialogue
from polyalign.errors import InputError
from polyalign.rewards import Score
from polyalign.rewards.posting import Remote, Server
from polyalign.rewards.spec import ValueSpec, scored_text


class Spec(ValueSpec, Remote):
    """A reward server: it gets `{"prompts": […], "responses": […], "query": […]}` by POST and
    answers `{"rewards": […]}`, one number per response.
    """

    AT_ONCE: ClassVar[int] = 256
    """A call that fails loses these at most."""

    SPEED: ClassVar = (*Remote.CONDUCT, "batch_size")

    kind: Literal["http"] = "http"
    batch_size: Annotated[int, Field(ge=1, le=256)] = Field(
        default=32, description="Responses in one request."
    )


class Scorer(Score):
    """Asks the server of a `Spec`; calling it scores n samples.

    Raises:
        InputError: if the environment lacks the server's key.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.server = Server(spec)

    def __call__(self, prompts: list[str], responses: list[str]) -> np.ndarray:
        """Rewards (n,) of n responses to their prompts.

        Raises:
            InputError: if the server does not answer, or not with one number per response.
        """
        found = np.empty(len(responses))
        for start in range(0, len(responses), self.spec.batch_size):
            at = slice(start, start + self.spec.batch_size)
            found[at] = self._batch(prompts[at], responses[at])
        return found

    def _batch(self, prompts: list[str], responses: list[str]) -> list[float]:
        pairs = zip(prompts, responses, strict=True)
        whole = [scored_text("whole", *pair) for pair in pairs]
        body = {"prompts": list(map(dialogue, prompts)), "responses": responses, "query": whole}
        return self.server.ask(body, lambda reply: self._read(reply, len(responses)))

    def _read(self, reply: Any, count: int) -> list[float]:
        """The rewards of a reply."""
        rewards = reply.get("rewards") if isinstance(reply, dict) else None
        if not isinstance(rewards, list):
            raise InputError(
                f"{self.server.url} answers without a list of rewards; expected "
                '{"rewards": […]}; change the server, or put one before it that does'
            )
        if len(rewards) != count:
            raise InputError(
                f"{self.server.url} answers {len(rewards)} rewards for {count} responses; expected "
                "one for each, in their order; fix the server"
            )
        for place, reward in enumerate(rewards):
            number = isinstance(reward, int | float) and not isinstance(reward, bool)
            if not number or not abs(reward) <= float_info.max:
                raise InputError(
                    f"{self.server.url}: reward {place + 1} of {count} is {str(reward)!r:.40}; "
                    "expected a finite number; fix the server"
                )
        return [float(reward) for reward in rewards]
