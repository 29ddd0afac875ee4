"""Recipes: the truth of a run. YAML files → typed objects, with `key.path=value` overrides.

What it is: the schema of `recipes/**/*.yaml` and its reader. Every number of a run stands there, none in code.
What it is not: the doing (`train/`, `eval/`).
Facts: the stages are the paper's (§2.3, §2.4, Table 1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from kimivl.config.base import Config, ConfigError, parse
from kimivl.config.model import ModelConfig, TextConfig, TextEncoderConfig, preset

StageKind = Literal["text", "vit", "align", "joint", "cooldown", "long_context", "sft"]


class PhaseConfig(Config):
    """One piece of a learning-rate schedule: from `start` to `end` in `steps` steps."""

    steps: int = Field(gt=0)
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    shape: Literal["linear", "cosine"] = "linear"


class MixturePoint(Config):
    """Shares of the data sources, by tokens, at a moment of the stage; between two points they move linearly.

    `at` is the fraction of the stage's steps. The weights need not add up to 1.
    """

    at: float = Field(default=0.0, ge=0, le=1)
    weights: dict[str, float]


class ResolutionPoint(Config):
    """Progressive resolution: from this fraction of the stage's steps on, images have at most `patches` patches."""

    at: float = Field(ge=0, le=1)
    patches: int = Field(gt=0)


class OptimizerConfig(Config):
    """Muon for matrices and AdamW for the rest, or AdamW for all."""

    kind: Literal["muon", "adamw"] = "muon"
    weight_decay: float = 0.1
    momentum: float = 0.95
    max_grad_norm: float = 1.0  # not in the paper


class StageConfig(Config):
    """One training stage.

    `language` and `vision` name where those weights come from: an earlier stage, or an entry of the recipe's `imports`.
    Without them the weights start at random.
    A step trains on `packs` packs, each holding samples of at most `context` tokens up to `pack_tokens` tokens and
    `pack_patches` patches.
    """

    name: str
    kind: StageKind
    model: Literal["kimi_vl", "caption_decoder"] = "kimi_vl"  # only `text` stages may train the caption decoder
    language: str | None = None
    vision: str | None = None
    caption_decoder: str | None = None  # only in `vit`: the stage that trained the decoder
    steps: int = Field(gt=0)
    context: int = Field(gt=0)
    packs: int = Field(default=1, gt=0)
    pack_tokens: int = Field(gt=0)
    pack_patches: int = Field(default=0, ge=0)
    schedule: tuple[PhaseConfig, ...]
    schedule_start: int = Field(default=0, ge=0)  # where in the schedule the first step stands, to continue an earlier stage's
    mixture: tuple[MixturePoint, ...]
    resolution: tuple[ResolutionPoint, ...] = ()
    optimizer: OptimizerConfig = OptimizerConfig()
    balance_rate: float = Field(default=1e-3, ge=0)  # u of Moonlight's rule; 0 leaves the router's bias alone
    rope_theta: float | None = None  # resets the RoPE base from this stage on
    checkpoint_every: int = Field(default=200, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "StageConfig":
        if self.pack_tokens < self.context:
            raise ValueError(
                f"pack_tokens {self.pack_tokens} is below context {self.context}: the longest sample must fit a pack"
            )
        if not self.mixture or self.mixture[0].at != 0:
            raise ValueError("mixture must begin with a point at 0")
        if [point.at for point in self.mixture] != sorted({point.at for point in self.mixture}):
            raise ValueError("mixture points must rise")
        if any(not any(weight > 0 for weight in point.weights.values()) for point in self.mixture):
            raise ValueError("every mixture point needs a source with a weight above 0")
        return self


class ImportConfig(Config):
    """Published weights to start from: a folder in the Hugging Face layout."""

    kind: Literal["siglip", "moonlight", "kimi_vl"]
    folder: Path


class BenchmarkConfig(Config):
    """One held-out set: answers are generated greedily and scored.

    `controls` maps a summary key to what replaces the picture: a blank one, or another question's.
    """

    key: str
    source: str
    split: str = "test"
    metric: Literal["exact", "character_error_rate", "point_in_box"]
    max_new_tokens: int = 16
    controls: dict[str, Literal["blank", "shuffled"]] = {}


class NeedleConfig(Config):
    """A needle-in-a-haystack test of the text context, before and after the long-context stage.

    Lengths are multiples of the pre-training context.
    """

    before: str  # stage names
    after: str
    context: int
    multiples: tuple[int, ...] = (1, 4, 16)
    items: int = 100


class ComparisonConfig(Config):
    """A short fixed-budget run with each optimizer, on the data of `stage`, at the best of several learning rates."""

    stage: str
    steps: int
    rates: tuple[float, ...]


class HeldOutTextConfig(Config):
    """Held-out text whose loss is followed through the language-model stages, every so many steps."""

    source: str
    split: str = "test"
    samples: int = 60
    every: int = 50


class EvaluationConfig(Config):
    """What is measured at the end of a run."""

    benchmarks: tuple[BenchmarkConfig, ...] = ()
    needle: NeedleConfig | None = None
    muon_vs_adamw: ComparisonConfig | None = None
    text_before: str | None = None  # the stages whose models give text_loss_before and text_loss_after
    text_after: str | None = None


class RecipeConfig(Config):
    """A whole run."""

    name: str
    seed: int = 0
    model: str | ModelConfig
    caption_decoder: TextConfig | None = None  # stage 1's tiny text decoder
    text_encoder: TextEncoderConfig | None = None  # stage 1's text encoder
    tokenizer_ranks: int | None = None  # train a byte-pair vocabulary of this many ranks on `tokenizer_sources`
    tokenizer_sources: tuple[str, ...] = ()
    tokenizer_folder: Path | None = None  # or take this processor's
    data: Path
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    imports: dict[str, ImportConfig] = {}
    stages: tuple[StageConfig, ...]
    held_out_text: HeldOutTextConfig | None = None
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def model_config_(self) -> ModelConfig:
        """The model's shape, with a preset's name resolved."""
        return preset(self.model) if isinstance(self.model, str) else self.model

    @property
    def pretraining_context(self) -> int:
        """The context before its extension: that of the first stage of the language model."""
        return next(stage.context for stage in self.stages if stage.kind != "vit" and stage.model == "kimi_vl")

    def stage(self, name: str) -> StageConfig:
        """The stage of that name. Raises: ConfigError with the known names."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigError(f"no stage named {name!r}; the stages are: {', '.join(stage.name for stage in self.stages)}")

    @model_validator(mode="after")
    def _check(self) -> "RecipeConfig":
        known = set(self.imports)
        for stage in self.stages:
            if stage.kind == "vit" and (self.caption_decoder is None or self.text_encoder is None):
                raise ValueError(f"stage {stage.name} needs the recipe's caption_decoder and text_encoder")
            for role in ("language", "vision", "caption_decoder"):
                source = getattr(stage, role)
                if source is not None and source not in known:
                    raise ValueError(f"stage {stage.name}: {role} is {source!r}, which is neither an earlier stage nor an import")
            if stage.name in known:
                raise ValueError(f"two stages or imports are named {stage.name!r}")
            known.add(stage.name)
        if (self.tokenizer_ranks is None) == (self.tokenizer_folder is None):
            raise ValueError("give either tokenizer_ranks (train a vocabulary) or tokenizer_folder (take one)")
        return self


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """Reads a recipe file.

    Args:
        overrides: `key.path=value` changes; the value is YAML; list items are named by index or by their `name`.
    Raises: ConfigError naming file, key and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"recipe {path} does not exist")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values")
    values.pop("definitions", None)  # a place for YAML anchors
    for override in overrides:
        _apply(values, override)
    return parse(RecipeConfig, values, str(path))


def _apply(values: dict[str, Any], override: str) -> None:
    keys, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} must look like key.path=value")
    *parents, last = keys.split(".")
    target: Any = values
    for key in parents:
        target = _child(target, key, override)
    value = yaml.safe_load(text)
    if isinstance(target, list):
        target[_index(target, last, override)] = value
    else:
        target[last] = value


def _child(target: Any, key: str, override: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, key, override)]
    if isinstance(target, dict):
        return target.setdefault(key, {})
    raise ConfigError(f"override {override!r}: there is nothing below the plain value at {key!r}")


def _index(items: list[Any], key: str, override: str) -> int:
    for index, item in enumerate(items):
        if str(index) == key or (isinstance(item, dict) and item.get("name") == key):
            return index
    raise ConfigError(f"override {override!r}: no item {key!r} in the list")
