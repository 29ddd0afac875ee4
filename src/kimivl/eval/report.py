"""The page of a run for people: `runs/NAME/report/index.html`, one file that needs nothing else.

What it is: `write_report`, which tells in this order what was asked and reached, what the model answers, how its scores stand
against the controls, how it learned (`report_training.py`) and learned to think (`report_gain.py`, `report_thinking.py`), how far
it reads, and what it is made of.
What it is not: a measurement; every number comes from `summary.json`, the stages' metrics and the kept answers.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

from kimivl.eval import gallery
from kimivl.eval.charts import short
from kimivl.eval.goals import GOALS, Goal, percent, reached
from kimivl.eval.page import grid, heading, heat_map, page, panel, paragraph, section, table
from kimivl.eval.report_gain import learning_to_think
from kimivl.eval.report_thinking import thinking
from kimivl.eval.report_training import optimizers, stages, training
from kimivl.eval.summary import at
from kimivl.model.atomic import write_atomic
from kimivl.train.run import Run

Summary = dict[str, Any]
SET_TITLES = {
    "easy_vqa_test_accuracy": "easy-VQA: shapes and colours",
    "digits_test_accuracy": "Handwritten digits",
    "reading_cer.held_out_font": "Reading unseen words in an unseen font",
    "reading_cer.known_fonts": "Reading unseen words in known fonts",
    "pointing_hit_rate": "Pointing",
    "counting_accuracy": "Counting",
    "clips_accuracy": "Short clips",
}
METRIC_NAMES = {"exact": "right", "character_error_rate": "character errors", "point_in_outline": "hits"}
COUNTED = {"exact": "", "character_error_rate": ": character errors", "point_in_outline": ": hits"}
CONTROL_NAMES = {"blank": "with a blank picture", "shuffled": "with another question’s picture"}
PART_NAMES = {
    "vision": "MoonViT",
    "projector": "projector",
    "language": "language model",
    "total": "all",
    "active": "active for one token",
}


def write_report(run: Run) -> Path:
    """Writes the page from `summary.json` and returns its path. Raises: FileNotFoundError if the run is not measured."""
    summary: Summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    sections = [
        _head(summary),
        _goals(summary),
        _answers(run, summary),
        _scores(summary),
        training(run, summary),
        stages(run, summary),
        learning_to_think(run, summary),
        thinking(summary.get("think", {}).get("budget_curve", {})),
        _needles(summary),
        optimizers(summary),
        _sizes(run, summary),
        _foot(summary),
    ]
    path = run.folder / "report" / "index.html"
    write_atomic(path, page(f"kimivl: {summary['name']}", "\n".join(sections)))
    return path


def _head(summary: Summary) -> str:
    parameters, machine = summary["parameters"], summary["machine"]
    lead = (
        f"A vision-language model of {short(parameters['total'])} parameters, "
        f"of which a token uses {short(parameters['active'])}, trained through {len(summary['stages'])} stages "
        f"in {_all_minutes(summary):.1f} minutes on {machine['cores']} cores in {machine['dtype']}. Seed {summary['seed']}."
    )
    return f"<header><h1>kimivl · {escape(summary['name'])}</h1>{paragraph(lead, 'lead')}</header>"


def _all_minutes(summary: Summary) -> float:
    return sum(stage["minutes"] for stage in summary["stages"].values())


def _goals(summary: Summary) -> str:
    found = reached(summary)
    met = sum(goal.met(value) for goal, value in found)
    missing = f", {len(GOALS) - len(found)} are not measured" if len(found) < len(GOALS) else ""
    words = f"{met} of {len(GOALS)} goals are met{missing}. The mark on each bar is the goal, set before the model was trained."
    cards = [_goal_card(goal, value, summary) for goal, value in found]
    return section("Asked and reached", paragraph(words), grid(cards, "goals")) if cards else ""


def _goal_card(goal: Goal, value: float, summary: Summary) -> str:
    kind, word = ("met", "✓ met") if goal.met(value) else ("missed", "✗ missed")
    low, high = goal.scale
    place, limit = (100 * min(max((number - low) / (high - low), 0), 1) for number in (value, goal.limit))
    figures = [(name, at(summary, key)) for key, name in (goal.beside or {}).items()]
    beside = " · ".join(f"{name} {percent(number)}" for name, number in figures if number is not None)
    return (
        f'<div class="panel goal"><span class="title">{escape(goal.title)}</span><span class="value">{goal.show(value)}</span>'
        f'<div class="meter {kind}"><i style="width:{place:.1f}%"></i><b style="left:{limit:.1f}%"></b></div>'
        f'<span class="asked"><span class="{kind}">{word}</span><span>asked {goal.asked}</span></span>'
        f'<span class="beside">{escape(beside)}</span></div>'
    )


def _answers(run: Run, summary: Summary) -> str:
    sets = [_answer_set(run, key, result) for key, result in summary["details"].items() if result["control"] is None]
    words = f"{gallery.RULE} Where the model was asked to point, the red cross is its answer and the green outline the thing."
    return section("What it answers", paragraph(words), *sets) if any(sets) else ""


def _answer_set(run: Run, key: str, result: Summary) -> str:
    answers = gallery.read_answers(run.folder / "evaluation" / f"{key}.jsonl")
    cards = [gallery.card(answer, result["metric"], run.recipe.data) for answer in gallery.choose(answers, result["metric"])]
    score = f"{percent(result['score'])} {METRIC_NAMES[result['metric']]} in {result['items']:,} answers"
    samples = "\n".join(cards)
    return f'<div class="set">{heading(set_title(key), score)}</div><div class="samples">{samples}</div>' if cards else ""


def set_title(key: str) -> str:
    """A held-out set's name for people."""
    return SET_TITLES.get(key, key.replace("_", " ").replace(".", ", "))


def _scores(summary: Summary) -> str:
    details = summary["details"]
    words = (
        "Answers are generated greedily and compared with the truth; scores are shares of right answers unless said otherwise. "
        "A control asks the same questions about a white picture, or about the picture of another question: what a model scores "
        "there it owes to the words alone. The interval (95 %) draws the test pictures again and again."
    )
    rows = [_score_row(key, result) for key, result in details.items()]
    numbers = table(
        ["held-out set", "score", "interval, %", "questions"],
        rows,
        ["control" if result["control"] else "" for result in details.values()],
    )
    return section("Held-out scores and controls", paragraph(words), panel(numbers)) if rows else ""


def _score_row(key: str, result: Summary) -> list[str]:
    control = result["control"]
    name = CONTROL_NAMES[control] if control else set_title(key) + COUNTED[result["metric"]]
    interval = f"{100 * result['low']:.1f} – {100 * result['high']:.1f}"
    return [name, percent(result["score"]), interval, f"{result['items']:,}"]


def _needles(summary: Summary) -> str:
    needle = summary.get("needle")
    if not needle:
        return ""
    words = (
        "One sentence with a code of three words is hidden in held-out text and asked for at the end; names and codes never "
        "occur in training. Cells are per cent of needles found. Columns are the document’s length in tokens, as multiples of "
        "what pre-training saw; rows are the place of the needle from the document’s start."
    )
    panels = [_needle_panel(when, needle["stages"][when], rows) for when, rows in needle["table"].items()]
    return section("Needle in a haystack", paragraph(words), grid(panels, "wide"))


def _needle_panel(when: str, stage: str, rows: list[Summary]) -> str:
    bins = len(rows[0]["by_depth"])
    depths = {f"{100 * i // bins}–{100 * (i + 1) // bins} %": [row["by_depth"][i] for row in rows] for i in range(bins)}
    shown = {name: values for name, values in depths.items() if any(value is not None for value in values)}
    columns = [f"{row['tokens']:,} ({row['multiple']}×)" for row in rows]
    facts = f"model of stage {stage} · {rows[0]['items']} needles a length"
    cells = heat_map(columns, shown, [row["recall"] for row in rows])
    return panel(heading(f"{when.capitalize()} long-context activation", facts), cells)


def _sizes(run: Run, summary: Summary) -> str:
    counts = [[title, f"{summary['parameters'][key]:,}"] for key, title in PART_NAMES.items()]
    parts = [panel(table(["part", "parameters"], counts)), panel(_shape(run))]
    return section("Sizes and speeds", grid(parts, "wide"), grid([panel(_speeds(summary))], "stack"))


def _speeds(summary: Summary) -> str:
    total = summary["totals"] | {"context": None, "minutes": _all_minutes(summary)}
    total["tokens_per_second"] = total["tokens"] / (60 * total["minutes"])
    stages = summary["stages"] | {"all": total}
    head = ["stage", "context", "steps", "tokens", "patches", "minutes", "tokens/s"]
    return table(head, [_speed_row(name, stage) for name, stage in stages.items()], [""] * (len(stages) - 1) + ["sum"])


def _speed_row(name: str, stage: Summary) -> list[str]:
    counts = ["" if stage[key] is None else f"{stage[key]:,}" for key in ("context", "steps", "tokens", "patches")]
    return [name, *counts, f"{stage['minutes']:.2f}", f"{stage['tokens_per_second']:,.0f}"]


def _shape(run: Run) -> str:
    vision, text = run.recipe.model_config_.vision_config, run.recipe.model_config_.text_config
    rows = [
        ["MoonViT", f"{vision.num_hidden_layers} layers of {vision.hidden_size}, patches of {vision.patch_size} pixels"],
        ["language model", f"{text.num_hidden_layers} layers of {text.hidden_size}, {text.num_attention_heads} heads"],
        ["experts", f"{text.num_experts_per_tok} of {text.n_routed_experts}, and {text.n_shared_experts} shared"],
        ["cached per token and layer", f"{text.kv_lora_rank} + {text.qk_rope_head_dim} numbers"],
        ["vocabulary", f"{text.vocab_size:,} tokens"],
    ]
    return table(["shape", ""], rows)


def _foot(summary: Summary) -> str:
    machine = summary["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = (
        f"Measured on {machine['cores']} cores ({machine['processor']}) in {machine['dtype']}. "
        f"Python {machine['python']}, {versions}. "
        "The same figures for machines: summary.json beside this folder; every answer: evaluation/*.jsonl."
    )
    return f"<footer>{paragraph(text, 'note')}</footer>"
