"""Pure functions from an answer and the truth to a score: rewards of training and metrics of evaluation alike."""

from collections.abc import Callable

Score = Callable[[str, str], float]  # (answer, truth) → 0 to 1; 1 is right
SLACK = 64  # characters that may stand around an answer: one that is lost in a long text is none
