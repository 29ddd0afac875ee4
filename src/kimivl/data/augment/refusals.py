"""How often augmentation gave way, as numbers of a step.

What it is: `Refusal`, what one sample did not go through and the kind of reason, and `summed`, for `metrics.jsonl`.
What it is not: an error: a sample that gives way is trained on as it is. Sums are of samples alone, so that whoever plans the
same packs finds the same.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kimivl.data.augment.geometry import Reason

What = Literal["picture", "coordinates", "choices"]


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """`what`: stayed as it was, or moved less. `reason`: of `Unspeakable`."""

    what: What
    reason: Reason


def summed(refusals: Iterable[tuple[str, Refusal]]) -> dict[str, int]:
    """(source, refusal) of a step's samples → "source/what/reason" → how many, in the order of the names."""
    counts = Counter(f"{source}/{refusal.what}/{refusal.reason}" for source, refusal in refusals)
    return dict(sorted(counts.items()))
