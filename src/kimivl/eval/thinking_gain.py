"""What thinking brings, and what reinforcement learning adds to it: several stages' models on the same held-out problems.

What it is: `measure_arm`, one model's greedy answers, and `thinking_figures`, the keys `think.*` of a summary.
What it is not: a limit on thinking (`thinking.py`), or the spread between seeds.
A difference of two models is taken problem by problem, and its standard error with it: both meet the same problems.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kimivl.engine.engine import Engine
from kimivl.engine.sampler import Sampling
from kimivl.eval.items import Item
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.eval.uncertainty import interval
from kimivl.processor.thoughts import split_thought
from kimivl.score.exact import exact

BATCH = 256  # problems at a time: their pictures are in memory together


def measure_arm(engine: Engine, items: Sequence[Item], max_new_tokens: int, advance: Advance = lambda items: None) -> Result:
    """One model's answers to all problems.

    Returns: `accuracy`, `low`, `high` (95 % interval), `mean_tokens` of a response, `unfinished` (share that was cut),
        `by_family`, `right` (0 or 1 for each problem, in order) and `items`.
    """
    right: list[float] = []
    tokens: list[int] = []
    unfinished = 0
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        prompts = [engine.processor.encode_chat(item.messages, add_generation_prompt=True) for item in batch]
        completions = engine.generate(prompts, Sampling(max_new_tokens=max_new_tokens), advance)
        for item, completion in zip(batch, completions):
            ended = completion.finish_reason == "stop"
            right.append(exact(split_thought(completion.text)[1], item.truth) if ended else 0.0)
            tokens.append(len(completion.ids))
            unfinished += not ended
    low, high = interval(right, [1.0] * len(items), [item.id for item in items])
    families = list(dict.fromkeys(item.family for item in items))
    return {
        "accuracy": _mean(right),
        "low": low,
        "high": high,
        "mean_tokens": _mean(tokens),
        "unfinished": unfinished / len(items),
        "by_family": {name: _mean([r for r, item in zip(right, items) if item.family == name]) for name in families},
        "right": right,
        "items": len(items),
    }


def thinking_figures(arms: Mapping[str, Result]) -> Result:
    """Accuracies, mean tokens and differences, for the arms that there are (`ThinkingConfig.arms`).

    `mean_tokens_rl` is with the length reward, `mean_tokens_rl_no_length` without. `curriculum_gain` compares `rl` with the same
    training on problems drawn uniformly.
    """
    figures: Result = {f"{name}_accuracy": arm["accuracy"] for name, arm in arms.items()}
    figures |= {f"mean_tokens_{name}": arm["mean_tokens"] for name, arm in arms.items()}
    pairs = {"sft_minus_direct": ("sft", "direct"), "rl_minus_sft": ("rl", "sft"), "curriculum_gain": ("rl", "rl_uniform")}
    for key, (one, other) in pairs.items():
        if other in arms:
            figures[key], figures[f"{key}_error"] = difference(arms[one]["right"], arms[other]["right"])
    return figures | {"arms": {name: {k: v for k, v in arm.items() if k != "right"} for name, arm in arms.items()}}


def difference(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Mean difference over the same problems, and its standard error."""
    gaps = np.array(ones) - np.array(others)
    return float(gaps.mean()), float(gaps.std(ddof=1) / len(gaps) ** 0.5)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
