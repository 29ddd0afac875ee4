"""How well a text was read: edits of one answer.

What it is: Levenshtein's distance. The character error rate of a set is the sum of its edits over the sum of its true
characters (`eval/benchmarks.py`), so that long words count more than short ones.
What it is not: normalisation; case and punctuation count, since they stand in the picture. Only space around a text is ignored.
Facts: no item's edits are capped: an answer that runs on costs an edit for every character of it, and a rate can exceed 1.
"""


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
