"""Whether an answer is the expected one, apart from what a reader would not call a difference.

What it is: `exact`, for answers that are a word, a number or a short phrase.
What it is not: a judge of meaning; "two" is not "2", and an answer inside a longer sentence does not count.
"""


def exact(prediction: str, truth: str) -> float:
    """1.0 if both are equal after `normalised`, else 0.0."""
    return float(normalised(prediction) == normalised(truth))


def normalised(text: str) -> str:
    """Without space around it, without upper case, and without one final full stop."""
    return text.strip().casefold().removesuffix(".").rstrip()
