"""Whether a server has the trainer's weights: one fixed prompt, asked after every update.

What it is: `Canary`, which compares the log-probabilities of an answer, as the server gave them, with the trainer's own.
What it is not: the correction for engines whose kernels differ a little (`mirror_descent.corrections`).
A server can go on with old weights, with cached prefixes of old weights, or with what old weights saw in a picture; nothing
fails, and the policy learns from another one's answers (reference/posttraining.md §5.2, 10 to 12). Two things give it away:
log-probabilities far from the trainer's, and, since one update moves little, an answer that did not change in any bit although
the trainer's own probabilities did.
"""

import torch

from kimivl.engine.engine import Engine
from kimivl.rl.policy import response_packs, token_logps
from kimivl.rl.problems import Problems, fingerprint
from kimivl.rl.rollout import Response
from kimivl.rl.token_client import Answer, RolloutServerError, TokenClient

MOVED = 1e-4  # nats; less than this may be rounding, and proves no update


class Canary:
    """The first problem with a picture, or the first of all if none has one.

    Args:
        engine: the trainer's.
        seed: of the draws of the answer, the same at every check.
    """

    def __init__(self, client: TokenClient, engine: Engine, problems: Problems, seed: int):
        self.client, self.engine, self.seed = client, engine, seed
        names = list(problems.truths)
        self.name = next((name for name in names if problems.has_pictures(name)), names[0])
        self.prompt, self.messages = problems.prompt(self.name), problems.messages(self.name)
        self._before: tuple[Answer, torch.Tensor] | None = None

    def check(self) -> float:
        """The mean gap in nats per token. Raises: RolloutServerError if the server cannot have the trainer's weights."""
        settings = self.client.settings
        answer = self.client.ask(self.prompt, self.messages, (), settings.canary_tokens, self.seed)
        own_S = self._own(answer)
        gap = float((torch.tensor(answer.logps) - own_S).abs().mean())
        if gap > settings.canary_gap:
            raise RolloutServerError(
                f"the server at {settings.url} answers {self.name} with log-probabilities {gap:.3g} nats per token off the "
                f"trainer's, above canary_gap ({settings.canary_gap:g}): it has other weights, or what other weights made of the "
                "picture, or reads pictures otherwise. Check that update_url loads {folder}, that reset_urls clear the caches of "
                "prefixes and of pictures, and that the server has the preprocessor_config.json of {folder}"
            )
        if self._before is not None and answer == self._before[0] and self._moved(self._before[1], own_S):
            raise RolloutServerError(
                f"the server at {settings.url} answers {self.name} bit by bit as before the update, though the trainer's "
                "probabilities have moved: check that update_url loads {folder} and that reset_urls clear all caches"
            )
        self._before = (answer, own_S)
        return gap

    @torch.no_grad()
    def _own(self, answer: Answer) -> torch.Tensor:
        response = Response(self.name, 0, 0, pictures=fingerprint(self.prompt)).longer(answer.ids, answer.logps, 0)
        (pack,) = response_packs([response], {self.name: self.prompt}, 0, len(self.prompt.ids) + len(answer.ids))
        return token_logps(self.engine.model, pack, self.engine.allowed_A)

    @staticmethod
    def _moved(before_S: torch.Tensor, now_S: torch.Tensor) -> bool:
        return float((now_S - before_S).abs().max()) > MOVED
