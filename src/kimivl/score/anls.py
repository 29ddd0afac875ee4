"""How near an answer is to the nearest of several true ones: ANLS, as questions about documents and scene text are scored.

Facts: 1 − edits / longer length, 0 where half of the characters or more differ; upper case does not count. A true answer inside a
long sentence is therefore worth nothing. As a reward, `anls_reached` asks for nearly all: near misses copy the question.
"""

from collections.abc import Sequence

from kimivl.score.characters import edit_distance

CUT = 0.5
REACHED = 0.9


def anls(prediction: str, truths: Sequence[str]) -> float:
    """The similarity to the nearest truth, from 0.0 to 1.0. Raises: ValueError without any."""
    if not truths:
        raise ValueError("an answer is compared with at least one true answer")
    return max(_similarity(prediction.strip().casefold(), truth.strip().casefold()) for truth in truths)


def anls_reached(prediction: str, truths: Sequence[str]) -> float:
    """1.0 from a similarity of 0.9 on, else 0.0."""
    return float(anls(prediction, truths) >= REACHED)


def _similarity(first: str, second: str) -> float:
    longer = max(len(first), len(second))
    if longer == 0 or abs(len(first) - len(second)) >= CUT * longer:  # no need to compare, however long an answer runs on
        return 0.0
    difference = edit_distance(first, second) / longer
    return 1 - difference if difference < CUT else 0.0
