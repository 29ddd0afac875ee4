"""What the nano run is asked to reach, and whether a run does.

What it is: the limits that were set before the model was trained, as data.
What it is not: a reason to fail; a missed goal is shown as missed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kimivl.eval.summary import at

RECIPE = "nano"
Figures = Mapping[str, Any]


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def minutes(value: float) -> str:
    return f"{value:.1f} min"


def change(value: float) -> str:
    return f"{100 * value:+.1f} %".replace("-", "−")


@dataclass(frozen=True)
class Goal:
    """`value` reads a figure out of a summary (None if it is not there), `beside` shares to be seen with it."""

    title: str
    value: Callable[[Figures], float | None]
    side: Literal["≤", "≥", ">"]
    limit: float
    show: Callable[[float], str] = percent
    scale: tuple[float, float] = (0.0, 1.0)  # what the ends of the meter stand for
    beside: Mapping[str, str] | None = None  # key → what it is

    @property
    def asked(self) -> str:
        """The limit in words: "≥ 92 %"."""
        return f"{self.side} {self.show(self.limit)}".replace(".0 ", " ")

    def met(self, value: float) -> bool:
        return {"≤": value <= self.limit, "≥": value >= self.limit, ">": value > self.limit}[self.side]


def figure(key: str) -> Callable[[Figures], float | None]:
    """Reads a key with dots."""
    return lambda figures: at(figures, key)


def rl_gain(figures: Figures) -> float | None:
    """What reinforcement learning adds, if it lies above two standard errors; else 0."""
    gain, error = at(figures, "think.rl_minus_sft"), at(figures, "think.rl_minus_sft_error")
    return None if gain is None else gain if gain > 2 * error else 0.0


def saved_tokens(figures: Figures) -> float | None:
    """By what share the length reward shortens responses, if that lies above two standard errors and costs at most one point of
    accuracy; else 0."""
    saved, gain = at(figures, "think.length_reward_saved"), at(figures, "think.length_reward_gain")
    error = at(figures, "think.length_reward_saved_error")
    if saved is None or gain is None or error is None:
        return None
    return saved if saved > 2 * error and gain >= -0.01 else 0.0


def text_change(figures: Figures) -> float | None:
    """By how much the held-out text loss has grown through the joint stages, as a share of what it was."""
    before, after = figures.get("text_loss_before"), figures.get("text_loss_after")
    return None if before is None or after is None else after / before - 1


EASY_VQA_CONTROLS = {"easy_vqa_blind_accuracy": "blank picture", "easy_vqa_shuffled_accuracy": "another question’s picture"}
THINKING = {"think.direct_accuracy": "answering at once", "think.sft_accuracy": "thinking"}
LEARNING = {"think.rl_accuracy": "afterwards", "think.equal_compute_sft_accuracy": "right responses only"}
LENGTHS = {"think.rl_accuracy": "right with it", "think.rl_no_length_accuracy": "right without"}
NEEDLES = {"needle_recall.before": "before", "needle_recall.after_16x": "at 16×"}

GOALS = (
    Goal("Training, all stages", figure("train_minutes"), "≤", 20, minutes, (0, 30)),
    Goal("easy-VQA, answers right", figure("easy_vqa_test_accuracy"), "≥", 0.92, beside=EASY_VQA_CONTROLS),
    Goal("Handwritten digits read", figure("digits_test_accuracy"), "≥", 0.95),
    Goal("Reading errors, known fonts", figure("reading_cer.known_fonts"), "≤", 0.05, scale=(0, 0.3)),
    Goal("Reading errors, unseen font", figure("reading_cer.held_out_font"), "≤", 0.20, scale=(0, 0.5)),
    Goal("Pointing hits", figure("pointing_hit_rate"), "≥", 0.80),
    Goal("Text loss through joint stages", text_change, "≤", 0.02, change, (-0.05, 0.05)),
    Goal("Learning to think, all stages", figure("think_minutes"), "≤", 10, minutes, (0, 20)),
    Goal("Gain by thinking", figure("think.sft_minus_direct"), "≥", 0.20, change, beside=THINKING),
    Goal("Gain by reinforcement learning", rl_gain, "≥", 0.08, change, (0, 0.4), beside=LEARNING),
    Goal("Shorter by the length reward", saved_tokens, ">", 0.0, change, (-0.1, 0.3), beside=LENGTHS),
    Goal("Needles found at 4× context", figure("needle_recall.after"), "≥", 0.90, beside=NEEDLES),
)


def reached(figures: Figures) -> list[tuple[Goal, float]]:
    """The goals that this summary has a figure for, with the figure; none for runs of other recipes."""
    if figures["name"] != RECIPE:
        return []
    return [(goal, value) for goal in GOALS if (value := goal.value(figures)) is not None]
