"""Responses of the policy, token by token, and who writes them.

What it is: `Response`, one answer with what training needs to know of every token; `Rollouts`, what the loop asks of any engine;
and `NativeRollouts`, our own engine on the trainer's own module.
What it is not: engines elsewhere (`remote.py`, `workers.py`), rewards or losses.
Why tokens and never text: decoding and encoding again is not the identity, and a policy is trained on what it wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from kimivl.engine.engine import Engine, FinishReason, Request
from kimivl.engine.sampler import Sampling
from kimivl.processor.processor import Encoded
from kimivl.rl.problems import fingerprint


@dataclass(frozen=True)
class Response:
    """One answer to a problem.

    `group` and `sample` name it, and its random numbers: the iteration in which its group was begun, and its place there.
    `ids`, `logps`, `iterations`: of each token, its logarithmic probability as the engine gave it, and when it was written.
    `finish`: None while it is not finished. `pictures`: the fingerprint of the prompt that was read.
    """

    problem: str
    group: int
    sample: int
    ids: tuple[int, ...] = ()
    logps: tuple[float, ...] = ()
    iterations: tuple[int, ...] = ()
    finish: FinishReason | None = None
    pictures: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        return self.problem, self.group, self.sample

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Response":
        tuples = {key: tuple(values[key]) for key in ("ids", "logps", "iterations")}
        return cls(**{**values, **tuples})

    def longer(self, ids: Sequence[int], logps: Sequence[float], iteration: int) -> "Response":
        """With more tokens, all written in one iteration."""
        return replace(
            self,
            ids=(*self.ids, *ids),
            logps=(*self.logps, *logps),
            iterations=(*self.iterations, *[iteration] * len(ids)),
        )

    def as_of(self, finish: FinishReason | None, pictures: str) -> "Response":
        """How it stands after its latest tokens, written to a prompt of this fingerprint.

        Raises: ValueError if its earlier tokens were written to another one.
        """
        if self.pictures not in ("", pictures):
            raise ValueError(
                f"a response to {self.problem} was begun on other tokens or pictures than the prompt has now: the data or the "
                "tokenizer changed since; start the stage anew"
            )
        return replace(self, finish=finish, pictures=pictures)


@dataclass(frozen=True)
class Limits:
    """`max_tokens` of a response, and `segment` of them in one iteration; `context`, in tokens, holds prompt and response.
    `repeat_stop` as in `Sampling`.
    """

    max_tokens: int
    segment: int
    context: int
    repeat_stop: int = 0

    def room(self, response: Response, prompt: Encoded) -> int:
        """How many tokens an unfinished response may get in this iteration.

        Raises: ValueError naming the problem if its prompt is too long.
        """
        left = self._left(response, prompt)
        if left < 1:
            raise ValueError(
                f"the prompt of problem {response.problem!r} has {len(prompt.ids)} tokens, which leaves no room in the context "
                f"of {self.context}: raise context, or remove the problem"
            )
        return min(self.segment, left)

    def is_full(self, response: Response, prompt: Encoded) -> bool:
        """Whether a response ends here, finished or not."""
        return self._left(response, prompt) < 1

    def _left(self, response: Response, prompt: Encoded) -> int:
        return min(self.max_tokens, self.context - len(prompt.ids)) - len(response.ids)


class Rollouts(Protocol):
    """An engine that writes responses with the weights that the trainer has when it is asked.

    `exact`: its log-probabilities are the trainer's own, up to rounding. Where they are not, the trainer weighs tokens by the
    ratio of the two.
    """

    exact: bool

    def write(self, responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int) -> list[Response]:
        """Every unfinished response, longer by at most a segment; the others as they were."""


class NativeRollouts:
    """Responses from the module that is being trained.

    Args:
        seed: of all draws; with a response's key and a token's place it decides the token.
    Sampling is at temperature 1 over all tokens that an answer may hold, so that the policy is what is trained.
    """

    exact = True

    def __init__(self, engine: Engine, limits: Limits, seed: int):
        self.engine, self.limits, self.seed = engine, limits, seed

    def write(self, responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int) -> list[Response]:
        written = list(responses)
        pictures = {name: fingerprint(prompt) for name, prompt in prompts.items()}
        by_room: dict[int, list[int]] = {}  # the engine takes one limit for all; near the end a response has less room
        for place, response in enumerate(responses):
            if response.finish is None:
                room = self.limits.room(response, prompts[response.problem])
                by_room.setdefault(room, []).append(place)
        with self.engine.between_updates():
            for room, places in by_room.items():
                sampling = Sampling(room, temperature=1.0, seed=self.seed, repeat_stop=self.limits.repeat_stop)
                requests = [Request(prompts[r.problem], r.key, r.ids) for r in (responses[place] for place in places)]
                for place, completion in zip(places, self.engine.respond(requests, sampling)):
                    longer = responses[place].longer(completion.ids, completion.logps, iteration)
                    full = self.limits.is_full(longer, prompts[longer.problem])
                    paused = completion.finish_reason == "length" and not full
                    written[place] = longer.as_of(None if paused else completion.finish_reason, pictures[longer.problem])
        return written
