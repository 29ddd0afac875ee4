"""The page of a run for people: `runs/NAME/report/index.html`, one file that needs nothing else.

What it is: `write_report`, which tells in this order what was asked and reached, what the model answers, how its scores stand
against the controls, how it learned, how far it reads, and what it is made of.
What it is not: a measurement; every number comes from `summary.json`, the stages' metrics and the kept answers.
"""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from kimivl.config.recipe import StageConfig
from kimivl.eval import curves, gallery
from kimivl.eval.charts import Band, Series, binned, line_chart, short
from kimivl.eval.goals import Goal, change, percent, reached
from kimivl.eval.page import grid, heat_map, legend, page, panel, paragraph, section, strip, table
from kimivl.eval.summary import at
from kimivl.train.run import Run, write_atomic

Summary = dict[str, Any]
STAGE_TITLES = {
    "text": "language model from text",
    "vit": "ViT training: SigLIP + 2 × caption",
    "align": "alignment: MoonViT and projector move",
    "joint": "joint pre-training",
    "cooldown": "joint cooldown",
    "long_context": "long-context activation",
    "sft": "joint supervised fine-tuning",
}
METRIC_NAMES = {"exact": "right", "character_error_rate": "character errors", "point_in_box": "hits"}
SET_TITLES = {
    "easy_vqa_test_accuracy": "easy-VQA: shapes and colours",
    "digits_test_accuracy": "Handwritten digits",
    "reading_cer.held_out_font": "Reading unseen words in an unseen font",
    "reading_cer.known_fonts": "Reading unseen words in known fonts",
    "pointing_hit_rate": "Pointing",
    "counting_accuracy": "Counting",
    "clips_accuracy": "Short clips",
}
CONTROL_NAMES = {"blank": "with a blank picture", "shuffled": "with another question’s picture"}


def write_report(run: Run) -> Path:
    """Writes the page from `summary.json` and returns its path. Raises: FileNotFoundError if the run is not measured."""
    summary: Summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    sections = [
        _head(summary), _goals(summary), _answers(run, summary), _scores(summary), _training(run, summary), _stages(run, summary),
        _needles(summary), _optimizers(summary), _sizes(summary), _foot(summary),
    ]  # fmt: skip
    path = run.folder / "report" / "index.html"
    write_atomic(path, page(f"kimivl: {summary['name']}", "\n".join(sections)))
    return path


def _head(summary: Summary) -> str:
    parameters, machine = summary["parameters"], summary["machine"]
    lead = (
        f"A vision-language model of {short(parameters['total'])} parameters, {short(parameters['active'])} of them active for a token, "
        f"trained through {len(summary['stages'])} stages in {summary['train_minutes']:.1f} minutes "
        f"on {machine['cores']} cores in {machine['dtype']}. Seed {summary['seed']}."
    )
    return f"<header><h1>kimivl · {escape(summary['name'])}</h1>{paragraph(lead, 'lead')}</header>"


def _goals(summary: Summary) -> str:
    cards = [_goal_card(goal, value, summary) for goal, value in reached(summary)]
    met = sum(goal.met(value) for goal, value in reached(summary))
    if not cards:
        return ""
    words = f"{met} of {len(cards)} goals are met. The mark on each bar is the goal; it was set before the model was trained."
    return section("Asked and reached", paragraph(words), grid(cards, "goals"))


def _goal_card(goal: Goal, value: float, summary: Summary) -> str:
    kind, word = ("met", "✓ met") if goal.met(value) else ("missed", "✗ missed")
    low, high = goal.scale
    place, limit = (100 * min(max((number - low) / (high - low), 0), 1) for number in (value, goal.limit))
    beside = [f"{name} {goal.show(number)}" for key, name in (goal.beside or {}).items() if (number := at(summary, key)) is not None]
    return (
        f'<div class="panel goal"><span class="title">{escape(goal.title)}</span><span class="value">{goal.show(value)}</span>'
        f'<div class="meter {kind}"><i style="width:{place:.1f}%"></i><b style="left:{limit:.1f}%"></b></div>'
        f'<span class="asked"><span class="{kind}">{word}</span> · asked {goal.side} {goal.show(goal.limit)}</span>'
        f'<span class="beside">{escape(" · ".join(beside))}</span></div>'
    )


def _answers(run: Run, summary: Summary) -> str:
    sets = [_answer_set(run, key, result) for key, result in summary.get("details", {}).items() if result["control"] is None]
    legend_text = "Where the model was asked to point, the red cross is its answer and the green box the thing."
    return section("What it answers", paragraph(f"{gallery.RULE} {legend_text}"), *sets) if any(sets) else ""


def _answer_set(run: Run, key: str, result: Summary) -> str:
    chosen = gallery.choose(gallery.read_answers(run.folder / "evaluation" / f"{key}.jsonl"), result["metric"])
    cards = "\n".join(gallery.card(answer, result["metric"], run.recipe.data) for answer in chosen)
    head = f'<div class="set"><h3>{escape(set_title(key))}</h3><div class="facts">{escape(_score_words(result))}</div></div>'
    return f'{head}<div class="samples">{cards}</div>' if chosen else ""


def _score_words(result: Summary) -> str:
    return f"{percent(result['score'])} {METRIC_NAMES[result['metric']]} in {result['items']:,} answers"


def set_title(key: str) -> str:
    """A held-out set's name for people."""
    return SET_TITLES.get(key, key.replace("_", " ").replace(".", ", "))


def _scores(summary: Summary) -> str:
    rows, kinds = [], []
    for key, result in summary.get("details", {}).items():
        control = result["control"]
        rows.append([
            CONTROL_NAMES[control] if control else set_title(key), METRIC_NAMES[result["metric"]], percent(result["score"]),
            f"{100 * result['low']:.1f} – {100 * result['high']:.1f}", f"{result['items']:,}",
        ])  # fmt: skip
        kinds.append("control" if control else "")
    words = (
        "Answers are generated greedily and compared with the truth. A control asks the same questions about a white picture, or about "
        "the picture of another question: what a model scores there it owes to the words alone. The interval (95 %) draws the test "
        "pictures again and again."
    )
    head = ["held-out set", "counted", "score", "interval, %", "questions"]
    return section("Held-out scores and controls", paragraph(words), panel(table(head, rows, kinds))) if rows else ""


def _training(run: Run, summary: Summary) -> str:
    times = {name: stage["minutes"] for name, stage in summary["stages"].items()}
    stages = curves.language_stages(run)
    charts = [panel("<h3>Where the minutes went</h3>", strip(times, curves.COLORS, "min"))]
    text, bands = curves.chained(run, stages, "held_out_text_loss")
    if text:
        series = [Series("held-out text", text, curves.COLORS[0], 2.2, dots=len(text) < 40)]
        head = f"<h3>Text ability through the stages</h3>{paragraph(_text_words(summary), 'facts')}"
        charts.append(panel(head, _wide_chart(series, bands, "step of the language model", "loss, nats per token")))
    rates, bands = curves.chained(run, run.recipe.stages, "lr")
    series = [Series("learning rate", rates, curves.COLORS[1], 2.0)]
    head = f"<h3>Learning rate</h3>{paragraph('All stages, in the order in which they were trained.', 'facts')}"
    charts.append(panel(head, _wide_chart(series, bands, "step", "learning rate")))
    words = "Every stage continues from the one before it, as in the paper: the language model first reads, then the vision encoder learns to see, "
    words += "alignment brings them together, and everything is trained jointly."
    return section("How it was trained", paragraph(words), grid(charts, "stack"))


def _wide_chart(series: list[Series], bands: list[Band], x_label: str, y_label: str) -> str:
    """A chart as wide as the page, and a narrow one in its place on a phone, where its texts would be too small."""
    sizes = {"on-desk": (940.0, 260.0), "on-phone": (460.0, 260.0)}
    charts = (f'<div class="{kind}">{line_chart(series, x_label, y_label, bands, size)}</div>' for kind, size in sizes.items())
    return "".join(charts)


def _text_words(summary: Summary) -> str:
    before, after = summary.get("text_loss_before"), summary.get("text_loss_after")
    if before is None or after is None:
        return "Loss on held-out text that no stage trains on."
    return f"Loss on held-out text. On the whole split: {before:.3f} before the joint stages, {after:.3f} after them ({change(after / before - 1)})."


def _stages(run: Run, summary: Summary) -> str:
    styles = curves.style_of_sources(run)
    panels = [chart for stage in run.recipe.stages for chart in _stage_panels(run, stage, summary["stages"][stage.name], styles)]
    words = "Loss per supervised token, over all data of a stage and for each source. Falling lines of single sources show when an ability appears."
    return section("Stage by stage", paragraph(words), grid(panels, "wide"))


def _stage_panels(run: Run, stage: StageConfig, facts: Summary, styles: dict[str, tuple[str, str]]) -> list[str]:
    lines = curves.metrics_of(run, stage)
    text = f"{facts['steps']:,} steps · {short(facts['tokens'])} tokens · {facts['minutes']:.1f} min · {facts['tokens_per_second']:,.0f} tokens/s"
    title = STAGE_TITLES[stage.kind] if stage.model == "kimi_vl" else "the tiny decoder that writes captions for the ViT stage"
    head = f"<h3>{escape(stage.name)}</h3><div class=\"facts two\">{escape(title)}<br>{escape(text)}</div>"
    series = curves.loss_by_source(lines, styles)
    panels = [panel(head, line_chart(series, "step", "loss, nats per token", y_low=0), legend(series))]
    if stage.kind == "vit":
        contrast = [Series("SigLIP", binned(curves.points(lines, "siglip")), curves.COLORS[3], 2.0)]
        words = "Contrastive part of the loss: pictures find their own text"
        panels.append(panel(_extra_head(stage, words), line_chart(contrast, "step", "SigLIP loss", y_low=0), legend(contrast)))
    if stage.kind == "align":
        perplexity = [(step, math.exp(loss)) for step, loss in binned(curves.points(lines, "loss"))]
        falling = [Series("perplexity", perplexity, curves.COLORS[5], 2.0)]
        words = "Perplexity of text behind image embeddings, for a language model that stands still"
        panels.append(panel(_extra_head(stage, words), line_chart(falling, "step", "perplexity", log_y=True), legend(falling)))
    return panels


def _extra_head(stage: StageConfig, words: str) -> str:
    return f"<h3>{escape(stage.name)}</h3><div class=\"facts two\">{escape(words)}</div>"


def _needles(summary: Summary) -> str:
    needle = summary.get("needle")
    if not needle:
        return ""
    panels = [_needle_panel(when, needle["stages"][when], rows) for when, rows in needle["table"].items()]
    words = (
        "One sentence with a four-digit code is hidden in held-out text and asked for at the end; names and codes never occur in training. "
        "Cells are per cent of needles found, columns the length of the document in tokens (the first is what pre-training saw), rows the "
        "place of the needle from the document’s start."
    )
    return section("Needle in a haystack", paragraph(words), grid(panels, "wide"))


def _needle_panel(when: str, stage: str, rows: list[Summary]) -> str:
    bins = len(rows[0]["by_depth"])
    depths = {f"{100 * i // bins}–{100 * (i + 1) // bins} %": [row["by_depth"][i] for row in rows] for i in range(bins)}
    shown = {name: values for name, values in depths.items() if any(value is not None for value in values)}
    head = f"<h3>{when}</h3><div class=\"facts\">model of stage {escape(stage)} · {rows[0]['items']} needles a length</div>"
    return panel(head, heat_map([f"{row['tokens']:,}" for row in rows], shown, [row["recall"] for row in rows]))


def _optimizers(summary: Summary) -> str:
    result = summary.get("muon_vs_adamw")
    if not result:
        return ""
    names = {"muon": "Muon", "adamw": "AdamW"}
    rows = [_optimizer_row(trial, names, result) for trial in result["all"]]
    best = ["sum" if result[t["kind"]] and result[t["kind"]]["lr"] == t["lr"] else "" for t in result["all"]]
    series = [
        Series(names[kind], [(t["lr"], t["loss"]) for t in result["all"] if t["kind"] == kind and t["loss"] is not None], color, 2.0, dots=True)
        for kind, color in zip(names, curves.COLORS)
    ]
    chart = line_chart(series, "peak learning rate", "held-out text loss", log_x=True) + legend(series) if any(s.points for s in series) else ""
    words = (
        f"{result['steps']} steps of the stage {result['stage']}, from the same start, on the same data. The rate of each optimizer is chosen by "
        "the training loss over the last tenth of the steps (bold); what is compared is the loss on held-out text."
    )
    numbers = table(["optimizer", "learning rate", "training loss", "held-out loss"], rows, best)
    return section("Muon and AdamW", paragraph(words), grid([panel(chart), panel(numbers)], "wide"))


def _optimizer_row(trial: Summary, names: dict[str, str], result: Summary) -> list[str]:
    losses = ["diverged" if trial[key] is None else f"{trial[key]:.3f}" for key in ("train_loss", "loss")]
    return [names[trial["kind"]], f"{trial['lr']:g}", *losses]


def _sizes(summary: Summary) -> str:
    names = {"vision": "MoonViT", "projector": "projector", "language": "language model", "total": "all", "active": "active for one token"}
    parameters = table(["part", "parameters"], [[title, f"{summary['parameters'][key]:,}"] for key, title in names.items()])
    rows = [
        [name, f"{s['context']:,}", f"{s['steps']:,}", f"{s['tokens']:,}", f"{s['patches']:,}", f"{s['minutes']:.2f}", f"{s['tokens_per_second']:,.0f}"]
        for name, s in summary["stages"].items()
    ]
    totals, minutes = summary["totals"], summary["train_minutes"]
    speed = totals["tokens"] / (60 * minutes)
    rows.append(["all", "", *(f"{totals[key]:,}" for key in ("steps", "tokens", "patches")), f"{minutes:.2f}", f"{speed:,.0f}"])
    head = ["stage", "context", "steps", "tokens", "patches", "minutes", "tokens/s"]
    stages = table(head, rows, [""] * (len(rows) - 1) + ["sum"])
    return section("Sizes and speeds", grid([panel(parameters)], "wide"), '<div style="height:1rem"></div>', panel(stages))


def _foot(summary: Summary) -> str:
    machine = summary["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = f"Measured on {machine['cores']} cores ({machine['processor']}), {machine['dtype']}, Python {machine['python']}, {versions}. "
    text += "The same figures for machines: summary.json beside this folder; every answer: evaluation/*.jsonl."
    return f"<footer>{paragraph(text, 'note')}</footer>"
