"""How full packs are on real data: every stage of a recipe that trains on packs, with samples that may wait and without.

What it is: `packing`, the share of `pack_tokens` that packs use, and for how many packs a sample waits.
Where patches are scarcer than tokens, packs are full when patches are; that share stands beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kimivl.config.recipe import RecipeConfig, StageConfig
from kimivl.data.plan import Planner
from kimivl.data.source import Source
from kimivl.processor.processor import Processor


@dataclass(frozen=True)
class Fullness:
    """Of a stage. `tokens`, `patches`: used of their budgets; `longest_wait`: packs that a sample stayed behind its place."""

    stage: str
    look_ahead: int
    tokens: float
    patches: float
    longest_wait: int


def packing(recipe: RecipeConfig, processor: Processor, look_ahead: int, steps: int) -> Iterator[Fullness]:
    """Every stage that trains on packs, over its first `steps` steps. Those that need a run's own data are left out."""
    for stage in recipe.stages:
        if stage.reads_packs and not set(stage.sources) & set(recipe.samplings):
            yield _fullness(stage.model_copy(update={"look_ahead": look_ahead}), recipe.data, recipe.seed, processor, steps)


def _fullness(stage: StageConfig, data: Path, seed: int, processor: Processor, steps: int) -> Fullness:
    planner = Planner(stage, {name: Source(data, name) for name in stage.sources}, processor, seed)
    tokens = patches = packs = longest = 0
    waiting: dict[tuple[str, int, int], int] = {}  # place → packs that it has waited for
    for step in range(min(steps, stage.steps)):
        made = planner.packs(step)
        packs += len(made)
        tokens += sum(piece.tokens for pack in made for piece in pack)
        patches += sum(piece.patches for pack in made for piece in pack)
        waiting = {place: waiting.get(place, 0) + len(made) for place in planner.state.waiting}
        longest = max(longest, *waiting.values(), 0)
    return Fullness(
        stage.name, stage.look_ahead, tokens / (packs * stage.pack_tokens), patches / (packs * stage.pack_patches), longest
    )
