"""Needle in a haystack: how far back does a language model find a fact that only its context tells?

What it is: `make_needles`, documents whose lengths are multiples of the pre-training context, with facts at evenly spread
depths, and `measure_needles`, which asks one stage's model for them.
What it is not: a chat; the prompt is a document that breaks off where the value stands, so base models can take it.
Facts: paper §2.3 and table 2 (recall by length). A needle counts as found if the generated text is the value, all of it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kimivl.config.evaluation import HeldOutTextConfig, NeedleConfig
from kimivl.config.recipe import RecipeConfig
from kimivl.data.source import Source, key_of
from kimivl.engine.engine import Engine
from kimivl.engine.sampler import Sampling
from kimivl.eval.haystack import Haystack, Needle, unused_facts
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.eval.uncertainty import interval
from kimivl.processor.messages import TextPart
from kimivl.processor.processor import Processor
from kimivl.score.exact import exact

DEPTH_BINS = 10  # rows of the grid


def measure_needles(
    model_folder: Path, dtype: str, needles: Mapping[int, list[Needle]], context: int, advance: Advance
) -> Result:
    """Recall of one model over all lengths and depths.

    Args:
        dtype: as in a recipe.
        needles: of each multiple of `context`, see `make_needles`.
    Returns: `lengths`, one row for each multiple: `multiple`, `tokens`, `recall`, `low`, `high`, `items` and `by_depth`, the
        recall in each of `DEPTH_BINS` equal parts of the document from its start on (None where no needle lies).
    """
    # A model that never saw such lengths is asked all the same: rotary positions have no end, only the config names one.
    engine = Engine.from_pretrained(model_folder, dtype, context=context * max(needles))
    return {"lengths": [_row(engine, multiple, multiple * context, hidden, advance) for multiple, hidden in needles.items()]}


def make_needles(processor: Processor, recipe: RecipeConfig, settings: NeedleConfig) -> dict[int, list[Needle]]:
    """The needles of every multiple, the same in every run of a recipe. Depths are (i + ½) / items, hence spread evenly."""
    assert recipe.held_out_text is not None  # the caller's check
    haystack = Haystack(held_out_texts(recipe.data, recipe.held_out_text), processor)
    names, values = unused_facts(recipe)

    def needle(multiple: int, number: int) -> Needle:
        rng = np.random.Generator(np.random.Philox(key=key_of(recipe.seed, "needle", multiple, number)))
        name, value = names[rng.integers(len(names))], values[rng.integers(len(values))]
        return haystack.needle(multiple * settings.context, (number + 0.5) / settings.items, name, value, rng)

    return {multiple: [needle(multiple, number) for number in range(settings.items)] for multiple in settings.multiples}


def held_out_texts(root: Path, settings: HeldOutTextConfig) -> list[str]:
    """The texts of the held-out split, whole."""
    source = Source(root, settings.source, settings.split)
    return ["".join(part.text for part in source[row].parts if isinstance(part, TextPart)) for row in range(len(source))]


def found(engine: Engine, needles: list[Needle], advance: Advance) -> list[bool]:
    """Whether the model goes on with the value of each needle, and ends the sentence there."""
    sampling = Sampling(max_new_tokens=1 + max(needle.answer_tokens for needle in needles))  # the value and its full stop
    completions = engine.generate([needle.prompt for needle in needles], sampling, advance)
    return [bool(exact(completion.text.split(".")[0], needle.value)) for completion, needle in zip(completions, needles)]


def _row(engine: Engine, multiple: int, tokens: int, needles: list[Needle], advance: Advance) -> Result:
    hits = found(engine, needles, advance)
    low, high = interval(hits, [1.0] * len(hits), range(len(hits)))
    return {
        "multiple": multiple,
        "tokens": tokens,
        "recall": sum(hits) / len(hits),
        "low": low,
        "high": high,
        "items": len(hits),
        "by_depth": by_depth([needle.depth for needle in needles], hits),
    }


def by_depth(depths: list[float], hits: list[bool]) -> list[float | None]:
    """The share of hits in each of `DEPTH_BINS` equal parts of the document."""
    bins: list[list[bool]] = [[] for _ in range(DEPTH_BINS)]
    for depth, hit in zip(depths, hits):
        bins[min(int(depth * DEPTH_BINS), DEPTH_BINS - 1)].append(hit)
    return [sum(part) / len(part) if part else None for part in bins]
