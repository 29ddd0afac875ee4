"""Thinking before an answer: the markers of Kimi-VL-Thinking, and how thoughts and answers are told apart.

What it is: `split_thought` for what a model wrote, and `forget_thoughts` for the history that it reads next.
What it is not: special tokens. The markers are plain text in the vocabulary, so that a model without thinking can read them.
Facts: `reference/model.md` §5.3. A thought that was never closed has no answer. Earlier thoughts are not read again: training and
chat must agree on that, or every turn after the first looks new to the model, so `Processor.encode_chat` does it for both.
"""

from collections.abc import Sequence
from dataclasses import replace

from kimivl.processor.messages import Message, Part, TextPart

OPEN, CLOSE = "◁think▷", "◁/think▷"
WAIT = "wait"  # the line with which a thought takes back what it said; our word, no marker of the released model


def split_thought(text: str) -> tuple[str, str]:
    """(thought, answer) of what a model wrote. The answer is what stands behind the closing marker, or all where none is there.

    An opened thought that is not closed has the answer "".
    """
    before, closed, answer = text.partition(CLOSE)
    if not closed:
        before, opened, thought = text.partition(OPEN)
        return (thought.strip(), "") if opened else ("", text.strip())
    return before.partition(OPEN)[2].strip() if OPEN in before else before.strip(), answer.strip()


def forget_thoughts(messages: Sequence[Message]) -> list[Message]:
    """The conversation as it is read when its last turn is written: earlier turns have lost their thoughts.

    What such a turn still says is not learned: its answer came from a thought that is no longer there.
    """
    last = max((place for place, message in enumerate(messages) if message.role == "assistant"), default=-1)
    current = last == len(messages) - 1
    return [
        replace(message, parts=_behind_thought(message.parts))
        if message.role == "assistant" and not (current and place == last)
        else message
        for place, message in enumerate(messages)
    ]


def _behind_thought(parts: Sequence[Part]) -> tuple[Part, ...]:
    """What stands behind the closing marker, which may lie across parts; nothing if an opened thought is not closed.

    Pictures inside the thought go with it.
    """
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    if OPEN not in text and CLOSE not in text:
        return tuple(parts)
    dropped = text.index(CLOSE) + len(CLOSE) if CLOSE in text else len(text)
    kept: list[Part] = []
    for part in parts:
        if not isinstance(part, TextPart) and dropped > 0:
            continue
        if isinstance(part, TextPart):
            dropped, rest = max(0, dropped - len(part.text)), part.text[dropped:]
            if not kept:
                rest = rest.lstrip()
            part = replace(part, text=rest, learned=False, ids=part.ids if rest == part.text else None)
        if not isinstance(part, TextPart) or part.text:
            kept.append(part)
    return tuple(kept)
