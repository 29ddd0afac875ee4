"""Held-out sets: a model's generated answers, scored.

What it is: `evaluate_model`, which answers every benchmark of a recipe with a model directory, greedily, together with the
controls, and keeps every answer as a line of `<key>.jsonl`.
What it is not: the scores (`score/`), the questions (`items.py`), or anything that looks at the model's insides: what
counts is the text that it writes.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

from kimivl.config.evaluation import BenchmarkConfig
from kimivl.config.recipe import RecipeConfig
from kimivl.engine.engine import Engine
from kimivl.engine.sampler import Sampling
from kimivl.eval.items import CONTROLS, Item, load_items
from kimivl.eval.parts import Parts, Result, fingerprint
from kimivl.eval.progress import Advance, Lines, no_lines
from kimivl.eval.uncertainty import interval
from kimivl.model.atomic import write_atomic
from kimivl.ops.dtype import compute_dtype
from kimivl.processor.processor import Encoded
from kimivl.score.characters import character_edits
from kimivl.score.exact import exact
from kimivl.score.pointing import point_in_outline

BATCH = 512  # prompts handed to the engine at a time: their pictures are in memory together


def evaluate_model(model_folder: Path, recipe: RecipeConfig, output: Path, lines: Lines = no_lines) -> dict[str, Result]:
    """Answers all benchmarks of the recipe, or takes what `output` holds of them.

    Args:
        model_folder: weights, config and processor in the official layout.
        output: folder for `<key>.json` (the result) and `<key>.jsonl` (every answer).
    Returns: for every key, controls included: `score`, `low` and `high` (95 % interval), `items`, `metric`, `control`, `seconds`.
    Raises: FileNotFoundError or ValueError naming the file or the record that is missing or wrong.
    """
    model, parts = _Model(model_folder, recipe), Parts(output)
    results: dict[str, Result] = {}
    for benchmark in recipe.evaluation.benchmarks:
        data = fingerprint(recipe.data / benchmark.source / f"{benchmark.split}.jsonl")
        for key, control in ({benchmark.key: None} | benchmark.controls).items():
            inputs = {"benchmark": benchmark.model_dump(), "control": control, "data": data} | model.inputs
            measure = partial(_measure, model, benchmark, key, control, output, lines)
            results[key] = parts.measured(key, inputs, measure)
    return results


class _Model:
    """A model that is loaded when the first answer is asked for: finished parts need none."""

    def __init__(self, folder: Path, recipe: RecipeConfig):
        self.folder, self.recipe = folder, recipe

    @cached_property
    def engine(self) -> Engine:
        return Engine.from_pretrained(self.folder, dtype=self.recipe.dtype)

    @cached_property
    def inputs(self) -> Result:
        """What an answer depends on beside the question."""
        return {"model": fingerprint(self.folder), "dtype": str(compute_dtype(self.recipe.dtype))}


def _measure(model: _Model, benchmark: BenchmarkConfig, key: str, control: str | None, output: Path, lines: Lines) -> Result:
    items = load_items(model.recipe.data, benchmark.source, benchmark.split)
    asked = CONTROLS[control](items) if control else items
    start = time.perf_counter()
    answers = answer(model.engine, asked, benchmark.max_new_tokens, lines(key, len(items)))
    seconds = time.perf_counter() - start
    counts = [METRICS[benchmark.metric](prediction, item) for prediction, item in zip(answers, items)]
    _keep_answers(output / f"{key}.jsonl", asked, answers, counts, model.recipe.data)
    about = {"items": len(items), "metric": benchmark.metric, "control": control, "seconds": round(seconds, 2)}
    return rate(counts, items) | about


def answer(engine: Engine, items: Sequence[Item], max_new_tokens: int, advance: Advance = lambda items: None) -> list[str]:
    """The greedy answer to every question, without special tokens and without space around it."""
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=0.0)
    answers: list[str] = []
    for batch in _batches(engine, items):
        answers += [completion.text.strip() for completion in engine.generate(batch, sampling, advance)]
    return answers


def _batches(engine: Engine, items: Sequence[Item]) -> Iterator[list[Encoded]]:
    for start in range(0, len(items), BATCH):
        yield [engine.processor.encode_chat(item.messages, add_generation_prompt=True) for item in items[start : start + BATCH]]


# What an answer counts and out of how much: a set's score is the sum of the first over the sum of the second.
Counts = tuple[float, float]


def _exact(prediction: str, item: Item) -> Counts:
    return exact(prediction, item.truth), 1.0


def _characters(prediction: str, item: Item) -> Counts:
    return float(character_edits(prediction, item.truth)), float(len(item.truth.strip()))


def _point(prediction: str, item: Item) -> Counts:
    if item.outline is None:
        raise ValueError(f'test record {item.id} has no outline: pointing needs "meta": {{"outline": [[x, y], …]}}')
    return point_in_outline(prediction, item.outline), 1.0


METRICS: dict[str, Callable[[str, Item], Counts]] = {
    "exact": _exact,
    "character_error_rate": _characters,
    "point_in_outline": _point,
}


def rate(counts: Sequence[Counts], items: Sequence[Item]) -> Result:
    """The set's score and its 95 % interval. Questions about the same pictures are drawn together."""
    parts, wholes = zip(*counts)
    low, high = interval(parts, wholes, [item.images or item.id for item in items])
    return {"score": sum(parts) / sum(wholes), "low": low, "high": high}


def _keep_answers(path: Path, asked: Sequence[Item], answers: Sequence[str], counts: Sequence[Counts], root: Path) -> None:
    """One line per question, with the pictures that the model was shown."""
    lines = [
        {
            "id": item.id,
            "question": item.question,
            "prediction": prediction,
            "truth": item.truth,
            "score": part / whole if whole else 0.0,
            "images": [str(image.relative_to(root)) for image in item.images],
        }
        | ({"outline": item.outline} if item.outline else {})
        for item, prediction, (part, whole) in zip(asked, answers, counts)
    ]
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
