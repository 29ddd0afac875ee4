"""The report's sections about training: minutes, text ability, learning rate, every stage's loss, and the two optimizers.

What it is: charts and tables out of the stages' metrics and the summary, as HTML text.
What it is not: the page (`report.py`) or the lines' making (`curves.py`).
"""

import math
from typing import Any

from kimivl.config.recipe import StageConfig
from kimivl.eval import curves
from kimivl.eval.charts import Band, Series, binned, line_chart, short
from kimivl.eval.goals import change
from kimivl.eval.page import grid, heading, legend, panel, paragraph, section, strip, table
from kimivl.train.run import Run

Summary = dict[str, Any]
LOSS = "loss, nats per token"
STAGE_TITLES = {
    "text": "language model from text",
    "vit": "ViT training: SigLIP + 2 × caption",
    "align": "alignment: MoonViT and projector move",
    "joint": "joint pre-training",
    "cooldown": "joint cooldown",
    "long_context": "long-context activation",
    "sft": "supervised fine-tuning",
    "long_cot": "fine-tuning on long thoughts",
    "rl": "reinforcement learning",
    "dpo": "direct preference optimization",
}
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}


def training(run: Run, summary: Summary) -> str:
    """All stages in one view."""
    words = (
        "Every stage continues from earlier ones, as in the paper: the language model learns to read, the vision encoder to see, "
        "alignment brings the two together, and then everything is trained jointly."
    )
    times = {name: stage["minutes"] for name, stage in summary["stages"].items()}
    minutes = panel(heading("Where the minutes went"), strip(times, curves.COLORS, "min"))
    panels = [minutes, *_text_panel(run, summary), _rate_panel(run)]
    return section("How it was trained", paragraph(words), grid(panels, "stack"))


def _text_panel(run: Run, summary: Summary) -> list[str]:
    points, bands = curves.chained(run, curves.language_stages(run), "held_out_text_loss")
    if not points:
        return []
    series = [Series("held-out text", points, curves.COLORS[0], 2.2, dots=len(points) < 40)]
    head = heading("Text ability through the stages", _text_words(summary))
    return [panel(head, _wide_chart(series, bands, "step of the language model", LOSS))]


def _text_words(summary: Summary) -> str:
    before, after = summary.get("text_loss_before"), summary.get("text_loss_after")
    if before is None or after is None:
        return "Loss on held-out text that no stage trains on."
    growth = change(after / before - 1)
    return f"Loss on held-out text. On its whole split: {before:.3f} before the joint stages, {after:.3f} after them ({growth})."


def _rate_panel(run: Run) -> str:
    points, bands = curves.chained(run, [stage for stage in run.recipe.stages if stage.trains], "lr")
    series = [Series("learning rate", points, curves.COLORS[1], 2.0)]
    head = heading("Learning rate", "All stages, in the order in which they were trained.")
    return panel(head, _wide_chart(series, bands, "step", "learning rate"))


def _wide_chart(series: list[Series], bands: list[Band], x_label: str, y_label: str) -> str:
    """A chart as wide as the page, and a narrow one in its place on a phone, where its texts would be too small."""
    sizes = {"on-desk": (940.0, 260.0), "on-phone": (460.0, 260.0)}
    charts = (f'<div class="{kind}">{line_chart(series, x_label, y_label, bands, size)}</div>' for kind, size in sizes.items())
    return "".join(charts)


def stages(run: Run, summary: Summary) -> str:
    """Each stage on its own."""
    words = (
        "Loss per supervised token, over all data of a stage and for each source. Where the line of a single source falls, "
        "an ability appears."
    )
    styles = curves.style_of_sources(run)
    trained = [stage for stage in run.recipe.stages if stage.trains]
    panels = [one for stage in trained for one in _stage_panels(run, stage, summary["stages"][stage.name], styles)]
    return section("Stage by stage", paragraph(words), grid(panels, "wide"))


def _stage_panels(run: Run, stage: StageConfig, facts: Summary, styles: dict[str, tuple[str, str]]) -> list[str]:
    lines = curves.metrics_of(run, stage)
    title = STAGE_TITLES[stage.kind] if stage.model == "kimi_vl" else "the tiny decoder that writes captions in ViT training"
    speed = f"{facts['minutes']:.1f} min · {facts['tokens_per_second']:,.0f} tokens/s"
    head = heading(stage.name, title, f"{facts['steps']:,} steps · {short(facts['tokens'])} tokens · {speed}")
    if stage.kind == "rl":
        return [_policy_panel(head, lines)]
    series = curves.loss_by_source(lines, styles)
    panels = [panel(head, line_chart(series, "step", LOSS, y_low=0), legend(series))]
    if stage.kind == "vit":
        panels.append(_contrast_panel(stage, lines))
    if stage.kind == "align":
        panels.append(_perplexity_panel(stage, lines))
    return panels


def _policy_panel(head: str, lines: list[curves.Line]) -> str:
    """Reinforcement learning has no loss to follow: its responses are judged."""
    shares = {"right": "right", "solved": "solved at least once", "all_right": "groups all right", "truncated": "cut off"}
    series = [
        Series(name, binned(curves.points(lines, key), 60), curves.COLORS[number], 2.0)
        for number, (key, name) in enumerate(shares.items())
    ]
    return panel(head, line_chart(series, "iteration", "share", y_low=0), legend(series))


def _contrast_panel(stage: StageConfig, lines: list[curves.Line]) -> str:
    series = [Series("SigLIP", binned(curves.points(lines, "siglip"), 60), curves.COLORS[3], 2.0)]
    head = heading(stage.name, "contrastive part of the loss:", "pictures find their own text")
    return panel(head, line_chart(series, "step", "SigLIP loss", y_low=0), legend(series))


def _perplexity_panel(stage: StageConfig, lines: list[curves.Line]) -> str:
    points = [(step, math.exp(loss)) for step, loss in binned(curves.points(lines, "loss_behind_images"), 60)]
    series = [Series("perplexity", points, curves.COLORS[5], 2.0)]
    head = heading(stage.name, "perplexity of image embeddings:", "text behind them, for a language model at rest")
    return panel(head, line_chart(series, "step", "perplexity", log_y=True), legend(series))


def optimizers(summary: Summary) -> str:
    """Muon and AdamW, the same short stage at several rates."""
    result = summary.get("muon_vs_adamw")
    if not result:
        return ""
    words = (
        f"{result['steps']} steps of the stage {result['stage']}, from the same start, on the same data. The rate of each "
        "optimizer is chosen by the training loss over the last tenth of the steps (bold); the loss on held-out text is compared."
    )
    trials = result["all"]
    chosen = ["sum" if _is_chosen(trial, result) else "" for trial in trials]
    head = ["optimizer", "learning rate", "training loss", "held-out loss"]
    numbers = panel(table(head, [_trial_row(trial) for trial in trials], chosen))
    return section("Muon and AdamW", paragraph(words), grid([*_rates_chart(trials), numbers], "wide"))


def _is_chosen(trial: Summary, result: Summary) -> bool:
    best = result[trial["kind"]]
    return best is not None and best["lr"] == trial["lr"]


def _trial_row(trial: Summary) -> list[str]:
    losses = ["diverged" if trial[key] is None else f"{trial[key]:.3f}" for key in ("train_loss", "loss")]
    return [OPTIMIZERS[trial["kind"]], f"{trial['lr']:g}", *losses]


def _rates_chart(trials: list[Summary]) -> list[str]:
    finite = [trial for trial in trials if trial["loss"] is not None]
    series = [
        Series(name, [(trial["lr"], trial["loss"]) for trial in finite if trial["kind"] == kind], color, 2.0, dots=True)
        for (kind, name), color in zip(OPTIMIZERS.items(), curves.COLORS)
    ]
    return [panel(line_chart(series, "peak learning rate", "held-out text loss", log_x=True), legend(series))] if finite else []
