"""Token ids to a server that speaks OpenAI's protocol, token ids and their log-probabilities back.

What it is: `TokenClient`, which sends a prompt with its pictures and refuses every answer that training could not trust.
What it is not: who asks for what (`remote.py`), or whether the server has the newest weights (`canary.py`).
What a server must do beyond OpenAI's own protocol is what vLLM does: `stop_token_ids`, `return_token_ids` or
`return_tokens_as_token_ids`, log-probabilities of sampled tokens, and the prompt's length in `usage`. Text is never encoded
again: decoding and encoding is not the identity (reference/posttraining.md §5.2, 14).
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kimivl.config.rl import RemoteRolloutsConfig
from kimivl.engine.engine import Engine
from kimivl.processor.image import load_rgb
from kimivl.processor.messages import ImagePart, Message, Part
from kimivl.processor.processor import Encoded
from kimivl.processor.thoughts import forget_thoughts

NEVER = -100  # a logit bias that leaves a token no chance; the least that the protocol takes
TOKEN_PREFIX = "token_id:"  # how vLLM writes a token's id in the place of its text


class RolloutServerError(ConnectionError):
    """The server cannot be reached or used; the message names its address and the fix."""


@dataclass(frozen=True)
class Answer:
    """Tokens, each with its log-probability. `ended`: the last one closes the answer; else it was cut at `max_tokens`."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    ended: bool


class TokenClient:
    """Asks one server; may be used by many threads.

    Args:
        engine: the trainer's, which knows what ids an answer may hold.
        key: the API key; any text where the server wants none.
    Raises: ValueError if the package `openai` is missing.
    """

    def __init__(self, settings: RemoteRolloutsConfig, engine: Engine, key: str):
        try:
            from openai import OpenAI
        except ImportError:
            raise ValueError("roll-outs from a server need the package openai: pip install 'kimivl[endpoint]'") from None
        self.settings = settings
        self._tokenizer = engine.processor.tokenizer
        self._allowed = frozenset(engine.allowed_A.tolist())
        self._forbidden = [id for id in range(self._tokenizer.vocab_size) if id not in self._allowed]
        self._client = OpenAI(base_url=settings.url, api_key=key, timeout=settings.timeout, max_retries=settings.retries)

    def ask(self, prompt: Encoded, messages: Sequence[Message], written: Sequence[int], max_tokens: int, seed: int) -> Answer:
        """Draws what follows `prompt` and the tokens that are `written` behind it, at temperature 1 over all allowed tokens.

        Args:
            messages: what the prompt was encoded from.
        Raises: RolloutServerError naming the address and what the server must do.
        """
        if self.settings.protocol == "completions":
            path, body = "/completions", self._completion(prompt, messages, written)
        else:
            path, body = "/chat/completions", _chat(messages)
        reply = self.post(f"{self.settings.url}{path}", body | self._sampling(max_tokens, seed))
        if not isinstance(reply, Mapping) or not reply.get("choices"):
            raise self._refused("sent something that is no completion: does the address end in /v1?")
        self._check_prompt(reply, [*prompt.ids.tolist(), *written])
        return self._answer(reply["choices"][0], max_tokens)

    def post(self, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the server sends back, decoded if it is JSON. Raises: RolloutServerError after the last attempt."""
        import openai

        try:
            return self._client.post(url, cast_to=object, body=body)
        except openai.APITimeoutError:
            wait = f"{self.settings.timeout:g} seconds"
            raise RolloutServerError(f"{url} gave no answer within {wait}: raise timeout, or lower concurrency") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise RolloutServerError(
                f"{url} cannot be reached ({cause}): is the server running, and the address right?"
            ) from None
        except openai.APIStatusError as error:
            said = " ".join(error.response.text.split())[:300]
            raise RolloutServerError(f"{url} answered {error.status_code} ({said}): see the server's log") from None

    def _sampling(self, max_tokens: int, seed: int) -> dict[str, Any]:
        """All of it is said, so that no default of the server bends the distribution."""
        return {
            "model": self.settings.model, "max_tokens": max_tokens, "seed": seed, "temperature": 1.0, "top_p": 1.0, "top_k": -1,
            "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": sorted(self._tokenizer.stop_ids),
            "logit_bias": {str(id): NEVER for id in self._forbidden}, "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }  # fmt: skip

    def _completion(self, prompt: Encoded, messages: Sequence[Message], written: Sequence[int]) -> dict[str, Any]:
        """Each picture is one placeholder: a server puts in as many as the picture has tokens, whatever stands there."""
        pad = self._tokenizer.media_pad_id
        further = np.concatenate([[False], (prompt.ids[1:] == pad) & (prompt.ids[:-1] == pad)])
        body: dict[str, Any] = {"prompt": [*prompt.ids[~further].tolist(), *written], "logprobs": 1}
        pictures = [_data_url(part) for message in messages for part in message.parts if isinstance(part, ImagePart)]
        return body | ({"multi_modal_data": {"image": pictures}} if pictures else {})

    def _check_prompt(self, reply: Mapping[str, Any], expected: Sequence[int]) -> None:
        count = (reply.get("usage") or {}).get("prompt_tokens")
        if count != len(expected):
            raise self._refused(
                f"read {count} prompt tokens where the trainer has {len(expected)}: it must take pictures beside token ids, and "
                "have the tokenizer, chat template and preprocessor_config.json of the model directory that the trainer writes"
            )
        seen = reply.get("prompt_token_ids") or reply["choices"][0].get("prompt_token_ids")
        if seen and len(seen) == len(expected) and list(seen) != list(expected):
            place = next(place for place, (a, b) in enumerate(zip(seen, expected)) if a != b)
            raise self._refused(
                f"read other prompt tokens than the trainer has, first {seen[place]} for {expected[place]} at place {place}: "
                "it must have the tokenizer and chat template of the model directory that the trainer writes"
            )

    def _answer(self, choice: Mapping[str, Any], max_tokens: int) -> Answer:
        tokens, logps = _logprobs(choice.get("logprobs") or {})
        if not logps or not all(isinstance(logp, float | int) and math.isfinite(logp) for logp in logps):
            raise self._refused("gave no log-probabilities, or some that are no numbers: it must support logprobs")
        ids = choice.get("token_ids") or [int(token.removeprefix(TOKEN_PREFIX)) for token in tokens if _is_id(token)]
        if not ids:
            raise self._refused(
                "gave text and no token ids: it must support return_token_ids or return_tokens_as_token_ids, as vLLM does"
            )
        if len(ids) != len(logps):
            raise self._refused(f"gave {len(ids)} tokens with {len(logps)} log-probabilities: their numbers must be equal")
        self._check_ids(ids, max_tokens, choice.get("finish_reason"))
        return Answer(tuple(ids), tuple(float(logp) for logp in logps), ids[-1] in self._tokenizer.stop_ids)

    def _check_ids(self, ids: Sequence[int], max_tokens: int, reason: Any) -> None:
        stop_ids = self._tokenizer.stop_ids
        if strange := [id for id in ids if id not in self._allowed]:
            raise self._refused(f"wrote token {strange[0]}, which an answer must not hold: it must support logit_bias")
        if not stop_ids.isdisjoint(ids[:-1]) or len(ids) > max_tokens:
            raise self._refused("went on behind the token that closes an answer: it must support stop_token_ids and max_tokens")
        if len(ids) < max_tokens and ids[-1] not in stop_ids:
            raise self._refused(
                f"ended an answer after {len(ids)} of {max_tokens} tokens ({reason}) without the token that closes it: it must "
                "return that token among the others, and its context must hold prompt and answer"
            )

    def _refused(self, problem: str) -> RolloutServerError:
        return RolloutServerError(f"the server at {self.settings.url} {problem}")


def _chat(messages: Sequence[Message]) -> dict[str, Any]:
    sent = [{"role": message.role, "content": [_part(part) for part in message.parts]} for message in forget_thoughts(messages)]
    return {"messages": sent, "logprobs": True}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": _data_url(part)}}
    return {"type": "text", "text": part.text}


def _data_url(part: ImagePart) -> str:
    """The picture as our image processor reads it, as PNG, so that no two decoders can differ."""
    buffer = io.BytesIO()
    load_rgb(part.image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _logprobs(logprobs: Mapping[str, Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """(tokens, log-probabilities) in the form of either protocol."""
    if content := logprobs.get("content"):
        return [entry.get("token") for entry in content], [entry.get("logprob") for entry in content]
    return logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []


def _is_id(token: Any) -> bool:
    return isinstance(token, str) and token.startswith(TOKEN_PREFIX) and token.removeprefix(TOKEN_PREFIX).isdecimal()
