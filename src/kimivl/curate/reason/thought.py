"""What was written for one question: a thought and an answer, whoever wrote them.

What it is: `Thought`, the one form in which trajectories go from a generator to the rules that keep or drop them.
What it is not: right; `rejection.py` decides that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kimivl.curate.records import Part


@dataclass(frozen=True)
class Thought:
    """An assistant's turn, "◁think▷ … ◁/think▷ answer".

    Args:
        parts: the turn's text parts, with what they say about spelling and learning.
        cut: whether the writer ran into its limit of length before it had ended.
        notes: what the writer knows about it; goes into the record's meta.
    """

    parts: tuple[Part, ...]
    cut: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it as one text."""
        return "".join(part["text"] for part in self.parts)
