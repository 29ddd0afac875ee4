"""Where a thought stands among the tokens of a reply.

What it is: `read_thought`, which parts the ids of a reply into what opens the thought, the thought itself, and how it ended.
What it is not: thought and answer as text (`thoughts.py`), or a limit on thinking (`eval/thinking.py`).
Markers are plain text, so a model may spell them with any tokens. They are looked for in bytes: a token may hold a piece of a
marker and something else, or half a character. A token that holds any byte of a marker belongs to the marker, not to the thought.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.processor.tokenizer import Tokenizer

_OPEN, _CLOSE = OPEN.encode(), CLOSE.encode()
MARKER_ROOM = len(_OPEN) + len(_CLOSE)  # the most tokens that both markers take: one a byte


@dataclass(frozen=True)
class Cut:
    """What a budget leaves of a reply.

    `ids`: the thought's first `used` tokens behind what opened it; with how it went on if it had `ended` by then.
    """

    ids: tuple[int, ...]
    used: int
    ended: bool


@dataclass(frozen=True)
class Thought:
    """A reply in parts.

    `lead`: everything up to the opening marker and that marker; empty if no thought was opened.
    `ids`: the thought.
    `endings`: what the model wrote where it ended the thought itself, by the number of its tokens before: the closing marker and
    an answer, or the token that ends the turn. A thought that was made to go on behind an ending has several. If none was opened,
    the whole reply is the ending after no tokens.
    """

    lead: tuple[int, ...]
    ids: tuple[int, ...]
    endings: Mapping[int, tuple[int, ...]]

    @property
    def opened(self) -> bool:
        return bool(self.lead)

    @property
    def ended(self) -> bool:
        """Whether the model ended the thought itself behind its last token."""
        return len(self.ids) in self.endings

    def within(self, budget: int) -> Cut:
        """The reply of a model that may think for `budget` tokens."""
        used = min(budget, len(self.ids))
        return Cut((*self.lead, *self.ids[:used], *self.endings.get(used, ())), used, used in self.endings)


def read_thought(tokenizer: Tokenizer, ids: Sequence[int], answer_tokens: int) -> Thought:
    """The parts of a reply.

    What the closing marker is for `split_thought` it is here: the first one. Later markers of either kind are text.

    Args:
        ids: of the reply, with the token that ends the turn if the model wrote one.
        answer_tokens: the most tokens of an answer that are kept, the token that ends the turn included. A thought begins within
            the reply's first so many tokens: what has not opened one by then is an answer.
    """
    starts = list(accumulate((len(tokenizer.decode_bytes([id])) for id in ids), initial=0))  # of each token, in bytes
    text = tokenizer.decode_bytes(ids)
    opening, closing = text.find(_OPEN), text.find(_CLOSE)
    if opening < 0 or 0 <= closing < opening or _holder(starts, opening) >= answer_tokens:
        return Thought((), (), {0: tuple(ids[:answer_tokens])})
    first = bisect_left(starts, opening + len(_OPEN))
    last, ending = _ending(tokenizer, ids, starts, closing, first, answer_tokens)
    return Thought(tuple(ids[:first]), tuple(ids[first:last]), {last - first: ending} if ending else {})


def _ending(
    tokenizer: Tokenizer, ids: Sequence[int], starts: Sequence[int], closing: int, first: int, answer_tokens: int
) -> tuple[int, tuple[int, ...]]:
    """Where a thought that begins at token `first` ends, and what stands there; nothing if it was still going on."""
    if closing >= 0:
        last = max(first, _holder(starts, closing))  # one token may hold the end of one marker and the start of the other
        answer = bisect_left(starts, closing + len(_CLOSE))
        return last, tuple(ids[last : answer + answer_tokens])
    stopped = bool(ids) and ids[-1] in tokenizer.stop_ids
    return len(ids) - stopped, tuple(ids[len(ids) - stopped :])


def _holder(starts: Sequence[int], byte: int) -> int:
    """The token that holds a byte."""
    return bisect_right(starts, byte) - 1
