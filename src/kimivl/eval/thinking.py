"""Answers under a limit on thinking: what a model says if its thought may take only so many tokens.

What it is: `think`, the outcome of every question under three policies and any number of budgets.
- truncate: a thought that is not closed within the budget has no answer (the maximum thinking length of the paper's figure 13).
- force: such a thought is cut at the budget and closed from outside, and the model writes the answer.
- wait: a thought is held to the budget. If it ends earlier, its end is taken back and it goes on behind "wait"; at the budget it
  is closed as in `force`.
What it is not: rates and intervals (`thinking_curve.py`), or many short answers to one question: all answers are greedy.
Why one run is enough: what a greedy model writes does not depend on a limit that it has not reached. One long run holds the
thoughts of all budgets, and so does one run that is told to wait; only answers behind a forced end are written anew.
Facts: `reference/evaluation_agents.md` §5; forcing and waiting are s1's budget forcing (arXiv 2501.19393).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from kimivl.engine.engine import Engine, Request
from kimivl.engine.sampler import Sampling
from kimivl.eval.items import Item
from kimivl.eval.progress import Advance
from kimivl.processor.processor import Encoded
from kimivl.processor.thought_tokens import MARKER_ROOM, Cut, Thought, read_thought
from kimivl.processor.thoughts import CLOSE, WAIT, split_thought
from kimivl.score import Score
from kimivl.score.exact import exact

BATCH = 128  # questions at a time: their pictures are in memory together

Policy = Literal["truncate", "force", "wait"]
POLICIES: tuple[Policy, ...] = ("truncate", "force", "wait")

Start = tuple[int, tuple[int, ...]]  # a question's place, and the tokens of its reply that are there already


@dataclass(frozen=True)
class Budgets:
    """How much may be thought.

    Args:
        tokens: the budgets, ascending; tokens of a thought count from the opening marker to the closing one, without both.
            0 closes a thought at once.
        answer: the most tokens of an answer, its closing one included, and the place by which a thought has begun.
        waits: the most times that one thought is told to wait. A thought that ends once more ends below its budget.
    Raises: ValueError for values without a meaning.
    """

    tokens: tuple[int, ...]
    answer: int
    waits: int = 16

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[0] < 0 or any(a >= b for a, b in zip(self.tokens, self.tokens[1:])):
            raise ValueError(f"budgets are ascending numbers of tokens from 0 on, got {self.tokens}")
        if self.answer < 1 or self.waits < 0:
            raise ValueError(f"answers need at least 1 token and waits are 0 or more, got {self.answer} and {self.waits}")

    @property
    def room(self) -> int:
        """The most tokens of a reply under the largest budget: before the thought, markers, thought and answer."""
        return self.answer + MARKER_ROOM + self.tokens[-1] + self.answer


@dataclass(frozen=True)
class Outcome:
    """One question under one policy and budget.

    `item`: the question's place. `used`: tokens that were thought, waits included. `cut`: whether the thought was not ended by
    the model within the budget. `answer`: "" if there is none. `score`: of the answer, 0 to 1.
    """

    item: int
    policy: Policy
    budget: int
    used: int
    cut: bool
    answer: str
    score: float


def think(
    engine: Engine, items: Sequence[Item], budgets: Budgets, advance: Advance = lambda items: None, score: Score = exact
) -> list[Outcome]:
    """The outcome of every question under every policy and budget, all greedy.

    In fp32 the same as of separate runs, each with its own limit, unless two tokens tie (`engine.py`).

    Args:
        advance: called with the number of questions that are finished.
        score: of (answer, truth), 0 to 1.
    Raises: ValueError naming the question whose reply would not fit the engine's context.
    """
    outcomes: list[Outcome] = []
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        outcomes += [replace(outcome, item=start + outcome.item) for outcome in _Batch(engine, batch, budgets, score).outcomes()]
        advance(len(batch))
    return outcomes


class _Batch:
    """The runs of some questions."""

    def __init__(self, engine: Engine, items: Sequence[Item], budgets: Budgets, score: Score):
        self.engine, self.items, self.budgets, self.score = engine, items, budgets, score
        tokenizer = engine.processor.tokenizer
        self.tokenizer, self.close = tokenizer, tuple(tokenizer.encode(CLOSE))
        self.wait = (*tokenizer.encode(WAIT), *tokenizer.encode("\n"))  # as our thoughts are learned: a word and an end of line

    def outcomes(self) -> list[Outcome]:
        """Question by question, then policy by policy."""
        thoughts = dict(zip(POLICIES, (self._free, self._free, self._stretched)))
        cuts = {
            (row, policy, budget): thoughts[policy][row].within(budget)
            for row in range(len(self.items))
            for policy in POLICIES
            for budget in self.budgets.tokens
        }
        forced = {key: (key[0], cut.ids) for key, cut in cuts.items() if key[1] != "truncate" and not cut.ended}
        replies = self._closed(list(dict.fromkeys(forced.values())))
        texts = {key: replies[forced[key]] if key in forced else cut.ids for key, cut in cuts.items()}
        return [self._outcome(*key, cut, self._answer(texts[key])) for key, cut in cuts.items()]

    def _outcome(self, row: int, policy: Policy, budget: int, cut: Cut, answer: str) -> Outcome:
        return Outcome(row, policy, budget, cut.used, not cut.ended, answer, self.score(answer, self.items[row].truth))

    def _answer(self, ids: Sequence[int]) -> str:
        return split_thought(self.tokenizer.decode(id for id in ids if id not in self.engine.stop_ids))[1]

    @cached_property
    def _prompts(self) -> list[Encoded]:
        prompts = [self.engine.processor.encode_chat(item.messages, add_generation_prompt=True) for item in self.items]
        for item, prompt in zip(self.items, prompts):
            if len(prompt.ids) + self.budgets.room > self.engine.context:
                raise ValueError(
                    f"question {item.id} has {len(prompt.ids)} tokens, and a reply with the largest budget {self.budgets.room}: "
                    f"more than the context of {self.engine.context}; lower the budgets or give the engine a longer context"
                )
        return prompts

    @cached_property
    def _free(self) -> list[Thought]:
        """One long run for each question."""
        return self._replies([(row, ()) for row in range(len(self.items))], self.budgets.room)

    @cached_property
    def _stretched(self) -> list[Thought]:
        """The same, where a thought that ends too early is told to wait and goes on."""
        thoughts, most = list(self._free), self.budgets.tokens[-1]
        for _ in range(self.budgets.waits):
            early = {row: one for row, one in enumerate(thoughts) if one.opened and one.ended and len(one.ids) < most}
            for row, one in early.items():
                thoughts[row] = Thought(one.lead, (*one.ids, *self.wait), one.endings)
            going = [row for row in early if len(thoughts[row].ids) <= most]  # with nothing left it may still end by itself
            if not going:
                break
            starts = [(row, (*thoughts[row].lead, *thoughts[row].ids)) for row in going]
            shortest = min(len(thoughts[row].ids) for row in going)
            replies = self._replies(starts, most - shortest + MARKER_ROOM + self.budgets.answer)
            for row, reply in zip(going, replies):
                thoughts[row] = replace(reply, endings={**thoughts[row].endings, **reply.endings})
        return thoughts

    def _replies(self, starts: Sequence[Start], room: int) -> list[Thought]:
        """Whole replies that go on, for up to `room` tokens, behind what is written already."""
        written = [(*ids, *new) for (_, ids), new in zip(starts, self._written(starts, room))]
        return [read_thought(self.tokenizer, ids, self.budgets.answer) for ids in written]

    def _closed(self, starts: Sequence[Start]) -> dict[Start, tuple[int, ...]]:
        """The whole replies of thoughts that are closed from outside."""
        closed = [(row, (*ids, *self.close)) for row, ids in starts]
        return {start: (*ids, *new) for start, (_, ids), new in zip(starts, closed, self._written(closed, self.budgets.answer))}

    def _written(self, starts: Sequence[Start], room: int) -> list[list[int]]:
        """What the model writes behind each start."""
        requests = [Request(self._prompts[row], self.items[row].id, ids) for row, ids in starts]
        return [completion.ids for completion in self.engine.respond(requests, Sampling(max_new_tokens=room))]
