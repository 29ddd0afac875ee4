"""Responses with a verdict: which of the answers to each problem are right.

What it is: `JudgedGroup`, all responses to one problem, in words and judged; `judge`, for responses that are there; and
`answers`, which has an engine write them first. Reinforcement learning, rejection sampling and the pairs of DPO all start here.
What it is not: the rule of a verdict (`verifier.py`), or what is made of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimivl.processor.tokenizer import Tokenizer
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Response, Rollouts
from kimivl.rl.verifier import Verifier


@dataclass(frozen=True)
class JudgedGroup:
    """The responses to one problem. `texts`: in words, without the token that closes them."""

    problem: str
    truth: str
    responses: tuple[Response, ...]
    texts: tuple[str, ...]
    right: tuple[bool, ...]

    def to_json(self) -> dict[str, Any]:
        responses = [
            {"right": right, "text": text} | response.to_json()
            for right, text, response in zip(self.right, self.texts, self.responses)
        ]
        return {"problem": self.problem, "truth": self.truth, "responses": responses}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "JudgedGroup":
        own = ("right", "text")
        responses = [Response.from_json({key: each[key] for key in each if key not in own}) for each in values["responses"]]
        texts, right = (tuple(each[key] for each in values["responses"]) for key in ("text", "right"))
        return cls(values["problem"], values["truth"], tuple(responses), texts, right)


def judge(groups: Sequence[Sequence[Response]], problems: Problems, verifier: Verifier) -> list[JudgedGroup]:
    """Each group of finished responses to one problem. Only a response that ended by itself can be right."""
    judged = []
    for group in groups:
        problem = group[0].problem
        texts = tuple(_text(response, problems.processor.tokenizer) for response in group)
        verdicts = verifier.right(texts, problems.truths[problem])
        right = tuple(verdict and response.finish == "stop" for verdict, response in zip(verdicts, group))
        judged.append(JudgedGroup(problem, problems.truths[problem], tuple(group), texts, right))
    return judged


def answers(names: Sequence[str], samples: int, problems: Problems, rollouts: Rollouts, verifier: Verifier) -> list[JudgedGroup]:
    """`samples` whole responses to each of these problems, judged.

    Args:
        rollouts: whose segment is as long as a response, so that all are finished.
    """
    prompts = {name: problems.prompt(name) for name in names}
    asked = [Response(name, 0, sample) for name in names for sample in range(samples)]
    written = rollouts.write(asked, prompts, 0)
    return judge([written[place : place + samples] for place in range(0, len(written), samples)], problems, verifier)


def _text(response: Response, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([id for id in response.ids if id not in tokenizer.stop_ids])
