"""Roll-outs from a server that speaks OpenAI's protocol, for instance vLLM, kept at the trainer's weights.

What it is: `RemoteRollouts`, which fulfils `Rollouts`, and `FolderPublisher`, which hands weights over as a model directory.
What it is not: the protocol (`token_client.py`), or the proof that the server has the new weights (`canary.py`).
The server's kernels differ from the trainer's, so `exact` is false: the trainer computes π_i again and weighs tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kimivl.data.source import key_of
from kimivl.engine.engine import REPEAT_CHECK, Engine
from kimivl.engine.sampler import repeats
from kimivl.model.atomic import replaced_folder
from kimivl.model.layout import save_model
from kimivl.processor.messages import Message
from kimivl.processor.processor import Encoded
from kimivl.rl.canary import Canary
from kimivl.rl.problems import Problems, fingerprint
from kimivl.rl.rollout import Limits, Response
from kimivl.rl.token_client import Answer, TokenClient


class RemoteRollouts:
    """Responses from a server.

    Args:
        publish: gives the server the trainer's weights; returns when they are loaded.
        messages: what a problem's prompt was encoded from.
        seed: of all draws. Another server, or another batch on the same one, may still draw otherwise.
    """

    exact = False

    def __init__(
        self, client: TokenClient, publish: Callable[[], None], canary: Canary,
        messages: Callable[[str], Sequence[Message]], limits: Limits, seed: int,
    ):  # fmt: skip
        self.client, self.publish, self.canary = client, publish, canary
        self.messages, self.limits, self.seed = messages, limits, seed

    def write(self, responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int) -> list[Response]:
        """As `Rollouts`. Raises: RolloutServerError naming the address, the cause and the fix."""
        self._update()
        written = list(responses)
        places = [place for place, response in enumerate(responses) if response.finish is None]
        pool = ThreadPoolExecutor(self.client.settings.concurrency)
        try:
            longer = pool.map(lambda place: self._longer(responses[place], prompts, iteration), places)
            for place, response in zip(places, longer):
                written[place] = response
        finally:
            pool.shutdown(cancel_futures=True)  # after an error what has not begun is not asked
        return written

    def _update(self) -> None:
        """Caches are cleared behind the update: what an old request left in between would outlive it."""
        self.publish()
        for url in self.client.settings.reset_urls:
            self.client.post(url)
        self.canary.check()

    def _longer(self, response: Response, prompts: Mapping[str, Encoded], iteration: int) -> Response:
        prompt = prompts[response.problem]
        room = self.limits.room(response, prompt)
        seed = key_of(self.seed, "remote", response.key, len(response.ids)) % 2**31
        answer = self.client.ask(prompt, self.messages(response.problem), response.ids, room, seed)
        return finished(response, answer, self.limits, iteration, prompt)


def finished(response: Response, answer: Answer, limits: Limits, iteration: int, prompt: Encoded) -> Response:
    """The response with an answer's tokens, cut where our engine would have stopped a passage that goes round in circles."""
    pictures = fingerprint(prompt)
    count = _circle(response, answer, limits.repeat_stop)
    longer = response.longer(answer.ids[:count], answer.logps[:count], iteration)
    if count is not None:
        return longer.as_of("repeat", pictures)
    full = limits.is_full(longer, prompt)
    return longer.as_of("stop" if answer.ended else "length" if full else None, pictures)


def _circle(response: Response, answer: Answer, repeat_stop: int) -> int | None:
    """After how many of the answer's tokens our engine would have cut it; None if it would have written it all.

    As `runs_in_circles`, but only where it looks, and there only at the tokens that it compares: answers are long.
    """
    if not repeat_stop:
        return None
    ids = (*response.ids, *answer.ids)
    first = (len(response.ids) // REPEAT_CHECK + 1) * REPEAT_CHECK
    for end in range(first, len(ids) - answer.ended + 1, REPEAT_CHECK):  # an answer that its last token closes is not cut there
        if repeats(ids[max(0, end - repeat_stop) : end], repeat_stop):
            return end - len(response.ids)
    return None


class FolderPublisher:
    """Writes the trainer's model directory and has the server load it.

    Args:
        folder: which the server can read; replaced whole at every call.
    """

    def __init__(self, client: TokenClient, engine: Engine, folder: Path):
        self.client, self.engine, self.folder = client, engine, folder.absolute()

    def __call__(self) -> None:
        model = self.engine.model
        with replaced_folder(self.folder) as new:
            save_model(model, new, model.dtype)
            self.engine.processor.save_pretrained(new)
        settings = self.client.settings
        self.client.post(settings.update_url, _filled(settings.update_body, str(self.folder)))


def remote_rollouts(
    client: TokenClient, engine: Engine, problems: Problems, limits: Limits, seed: int, folder: Path
) -> RemoteRollouts:
    """Roll-outs whose weights go through a folder. Args: `folder`, where the client's settings name none."""
    publisher = FolderPublisher(client, engine, client.settings.folder or folder)
    canary = Canary(client, engine, problems, key_of(seed, "canary") % 2**31)
    return RemoteRollouts(client, publisher, canary, problems.messages, limits, seed)


def _filled(value: Any, folder: str) -> Any:
    """A request's body with the folder's path in it."""
    if isinstance(value, str):
        return value.replace("{folder}", folder)
    if isinstance(value, Mapping):
        return {key: _filled(item, folder) for key, item in value.items()}
    return [_filled(item, folder) for item in value] if isinstance(value, list | tuple) else value
