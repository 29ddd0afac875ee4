"""The report's part about learning to think: who answers how many problems, and how reinforcement learning went.

What it is: `learning_to_think`, a table of the compared models, curves of every stage of reinforcement learning, and what the
policy wrote to a problem of the beginning and to one of the end.
What it is not: accuracy by budget (`report_thinking.py`), or a measurement.
"""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from kimivl.config.recipe import StageConfig
from kimivl.eval import curves
from kimivl.eval.charts import Series, binned, line_chart
from kimivl.eval.page import grid, heading, legend, panel, paragraph, section, table
from kimivl.train.run import Run

Summary = dict[str, Any]
ARM_TITLES = {
    "direct": "answering at once, no thought",
    "sft": "long-CoT SFT",
    "rl": "reinforcement learning",
    "equal_compute_sft": "… on right responses only (rejection sampling)",
    "rl_no_length": "… without the length reward",
    "rl_uniform": "… problems drawn uniformly",
}
MARKS = {True: "✓", False: "✗"}


def learning_to_think(run: Run, summary: Summary) -> str:
    """The section; nothing if nothing was measured."""
    figures = summary.get("think")
    if not figures:
        return ""
    words = "The same held-out problems for every model, four responses to each at temperature 1; greedy answers stand beside."
    policies = [stage for stage in run.recipe.stages if stage.kind == "rl"]
    parts = [paragraph(words), grid([panel(_arms(figures["arms"]))], "stack"), paragraph(_differences(figures))]
    parts += [grid([_rewards(run, policies), _lengths(run, policies)], "wide"), _responses(run, policies)]
    return section("Learning to think", *parts)


def _arms(arms: Summary) -> str:
    families = list(next(iter(arms.values()))["by_family"])
    head = ["model", "right", "95 %", "greedy", "tokens", "cut off", *families]
    rows = [
        [ARM_TITLES[name], _percent(arm["accuracy"]), f"{_percent(arm['low'])} … {_percent(arm['high'])}"]
        + [
            _percent(arm["greedy"]),
            f"{arm['mean_tokens']:.0f}",
            _percent(arm["unfinished"]),
            *(_percent(arm["by_family"][f]) for f in families),
        ]
        for name, arm in arms.items()
    ]
    return table(head, rows)


def _differences(figures: Summary) -> str:
    names = {
        "sft_minus_direct": "thinking brings",
        "rl_minus_sft": "reinforcement learning adds",
        "curriculum_gain": "of that, curriculum and priority bring",
        "length_reward_gain": "the length reward",
    }
    told = [
        f"{words} {100 * figures[key]:+.1f} points (standard error {100 * figures[f'{key}_error']:.1f})".replace("-", "−")
        for key, words in names.items()
        if key in figures
    ]
    return f"Problem by problem, {'; '.join(told)}."


def _rewards(run: Run, policies: Sequence[StageConfig]) -> str:
    series = _series(run, policies, "right")
    head = heading("Right responses", "sampled at temperature 1, on problems that the sampler chose")
    return panel(head, line_chart(series, "iteration", "share right", y_low=0), legend(series))


def _lengths(run: Run, policies: Sequence[StageConfig]) -> str:
    series = _series(run, policies, "length")
    head = heading("Length of responses", "tokens, thought and answer together")
    return panel(head, line_chart(series, "iteration", "tokens"), legend(series))


def _series(run: Run, policies: Sequence[StageConfig], key: str) -> list[Series]:
    lines = [(stage.name, curves.metrics_of(run, stage)) for stage in policies]
    return [
        Series(name, binned(curves.points(of_stage, key), 30), curves.COLORS[number % len(curves.COLORS)], 2.0)
        for number, (name, of_stage) in enumerate(lines)
    ]


def _responses(run: Run, policies: Sequence[StageConfig]) -> str:
    """What the first policy wrote to the first problem of its first iteration, and to that of its last."""
    if not policies:
        return ""
    path = run.stages_folder / policies[0].name / "responses.jsonl"
    examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    examples = [example for example in examples if example.get("responses")]
    shown = [examples[0], examples[-1]] if len(examples) > 1 else examples
    return grid([panel(*_example(policies[0].name, example)) for example in shown], "wide")


def _example(name: str, example: Summary) -> list[str]:
    facts = f"{example['problem']}, true answer {example['truth']}"
    head = heading(f"{name}, iteration {example['step'] + 1}", facts)
    return [head, *(f"<pre>{escape(_told(response))}</pre>" for response in example["responses"][:3])]


def _told(response: Summary) -> str:
    return f"{MARKS[response['right']]} {response['tokens']} tokens, reward {response['reward']:.2f}\n{response['text']}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
