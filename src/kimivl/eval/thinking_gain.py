"""What thinking brings, and what reinforcement learning adds to it: several stages' models on the same held-out problems.

What it is: `measure_arm`, one model's answers, and `thinking_figures`, the keys `think.*` of a summary.
What it is not: a limit on thinking (`thinking.py`), or the spread between seeds.
Why sampled: the distribution is what reinforcement learning trains; the greedy answer is its likeliest path and stands beside.
A difference of two models is taken problem by problem, and its standard error with it: both meet the same problems.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kimivl.engine.engine import Completion, Engine, Request
from kimivl.engine.sampler import Sampling
from kimivl.eval.items import Item
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.eval.uncertainty import interval
from kimivl.processor.thoughts import split_thought
from kimivl.score import Score
from kimivl.score.exact import exact

BATCH = 64  # problems at a time: their pictures are in memory together
SAMPLES = 4  # responses to each problem


def measure_arm(
    engine: Engine, items: Sequence[Item], max_new_tokens: int, advance: Advance = lambda items: None, score: Score = exact
) -> Result:
    """One model's answers to all problems: `SAMPLES` of each at temperature 1, and the greedy one; right where `score` gives 1.

    Returns: `accuracy` (share of the sampled responses that are right), `low`, `high` (95 % interval over problems), `solved`
        (share of the problems with a right response), `greedy` (share of the greedy answers that are right), `mean_tokens` of a
        response, `unfinished` (share that was cut), `by_family`, `items`, and of each problem in order
        `right` and `lengths`, the mean tokens of its responses.
    """
    shares: list[float] = []
    lengths: list[float] = []
    greedy = ended = 0.0
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        prompts = [engine.processor.encode_chat(item.messages, add_generation_prompt=True) for item in batch]
        requests = [Request(prompt, (item.id, n)) for item, prompt in zip(batch, prompts) for n in range(SAMPLES)]
        sampled = engine.respond(requests, Sampling(max_new_tokens, temperature=1.0))
        for place, (item, best) in enumerate(zip(batch, engine.generate(prompts, Sampling(max_new_tokens), advance))):
            responses = sampled[place * SAMPLES : (place + 1) * SAMPLES]
            shares.append(_mean([_right(response, item, score) for response in responses]))
            lengths.append(_mean([len(response.ids) for response in responses]))
            ended += sum(response.finish_reason == "stop" for response in responses)
            greedy += _right(best, item, score)
    low, high = interval(shares, [1.0] * len(items), [item.id for item in items])
    families = list(dict.fromkeys(item.family for item in items))
    return {
        "accuracy": _mean(shares),
        "low": low,
        "high": high,
        "solved": _mean([share > 0 for share in shares]),
        "greedy": greedy / len(items),
        "mean_tokens": _mean(lengths),
        "unfinished": 1 - ended / (SAMPLES * len(items)),
        "by_family": {name: _mean([share for share, item in zip(shares, items) if item.family == name]) for name in families},
        "right": shares,
        "lengths": lengths,
        "items": len(items),
    }


def _right(response: Completion, item: Item, score: Score) -> float:
    """A response that did not end by itself is wrong, whatever it says."""
    return float(response.finish_reason == "stop" and score(split_thought(response.text)[1], item.truth) == 1.0)


def thinking_figures(arms: Mapping[str, Result]) -> Result:
    """Accuracies, mean tokens and differences, for the arms that there are (`ThinkingConfig.arms`).

    `mean_tokens_rl` is with the length reward, `mean_tokens_rl_no_length` without. `length_reward_gain` is what the length reward
    brings in accuracy, `length_reward_saved` the share of the tokens that it saves. `curriculum_gain` compares `rl` with the same
    training on problems drawn uniformly.
    """
    figures: Result = {f"{name}_accuracy": arm["accuracy"] for name, arm in arms.items()}
    figures |= {f"{name}_greedy": arm["greedy"] for name, arm in arms.items()}
    figures |= {f"mean_tokens_{name}": arm["mean_tokens"] for name, arm in arms.items()}
    pairs = {
        "sft_minus_direct": ("sft", "direct"), "rl_minus_sft": ("rl", "sft"), "curriculum_gain": ("rl", "rl_uniform"),
        "length_reward_gain": ("rl", "rl_no_length"), "rl_minus_equal_compute_sft": ("rl", "equal_compute_sft"),
    }  # fmt: skip
    for key, (one, other) in pairs.items():
        if other in arms:
            figures[key], figures[f"{key}_error"] = difference(arms[one]["right"], arms[other]["right"])
    if "rl_no_length" in arms:
        saved, error = difference(arms["rl_no_length"]["lengths"], arms["rl"]["lengths"])
        usual = arms["rl_no_length"]["mean_tokens"]
        figures["length_reward_saved"], figures["length_reward_saved_error"] = saved / usual, error / usual
    each = ("right", "lengths")  # of every problem: for the differences, and too much for a summary
    return figures | {"arms": {name: {k: v for k, v in arm.items() if k not in each} for name, arm in arms.items()}}


def difference(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Mean difference over the same problems, and its standard error."""
    gaps = np.array(ones) - np.array(others)
    return float(gaps.mean()), float(gaps.std(ddof=1) / len(gaps) ** 0.5)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
