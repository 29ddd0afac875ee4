"""How well a text was read: edits per character.

What it is: Levenshtein's distance and the character error rate of a whole set of answers.
What it is not: normalisation; case and punctuation count, since they stand in the picture. Only space around a text is ignored.
Facts: the rate is the sum of all edits over the sum of all true characters, so long words count more than short ones. No
item's edits are capped: an answer that runs on costs an edit for every character of it, and the rate can exceed 1.
"""

from collections.abc import Sequence


def character_error_rate(predictions: Sequence[str], truths: Sequence[str]) -> float:
    """Edits per true character over the whole set; 0 is perfect.

    Raises: ValueError if the numbers of answers and truths differ, or if the truths hold no character.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} answers but {len(truths)} truths: give one answer per truth")
    characters = sum(len(truth.strip()) for truth in truths)
    if characters == 0:
        raise ValueError("the truths hold no character, so there is nothing to read and no rate")
    return sum(map(character_edits, predictions, truths)) / characters


def character_edits(prediction: str, truth: str) -> int:
    """Insertions, deletions and replacements of one character that turn the answer into the truth."""
    return edit_distance(prediction.strip(), truth.strip())


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance. Cost: len(first) · len(second)."""
    above = list(range(len(second) + 1))  # distances of what was read of `first` to every beginning of `second`
    for row, letter in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            current.append(min(above[column] + 1, current[-1] + 1, above[column - 1] + (letter != other)))
        above = current
    return above[-1]
