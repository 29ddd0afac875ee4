"""Recipes: the truth of a run. YAML files → typed objects.

What it is: the schema of `recipes/**/*.yaml` and its reader. What may differ between runs stands there; what the papers fix
(the weight of the caption loss, Muon's constants) stands in code, each beside its source.
What it is not: the doing (`train/`, `eval/`), the schema of what is measured (`evaluation.py`) and of stages with responses
(`rl.py`), or the `key.path=value` changes of a command line (`overrides.py`).
Facts: the stages are the paper's (§2.3, §2.4, Table 1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from kimivl.config.augment import AugmentConfig
from kimivl.config.base import AboveZero, Config, ConfigError, Name, Weight, parse
from kimivl.config.evaluation import EvaluationConfig, HeldOutTextConfig
from kimivl.config.model import ModelConfig, TextConfig, TextEncoderConfig, preset
from kimivl.config.overrides import overridden
from kimivl.config.rl import DPOConfig, RLConfig, SampleConfig
from kimivl.config.store import StoreConfig

StageKind = Literal[
    "text", "vit", "align", "joint", "cooldown", "long_context", "sft", "long_cot", "rl", "average", "sample", "dpo"
]  # fmt: skip

# Keys that one kind of stage has and must have, each with what it looks like.
OWN_KEYS = {
    "rl": "rl: {prompts: …, max_tokens: …}", "average": "average: [stage, stage]", "sample": "sample: {max_tokens: …}",
    "dpo": "dpo: {pairs: …}",
}  # fmt: skip
# What training needs, and all that stages without training may say beside their own key.
NEEDED = ("steps", "context", "pack_tokens", "schedule")
ALLOWED = {"average": {"name", "kind"}, "sample": {"name", "kind", "language", "vision", "context", "mixture"}}
# What stages that learn from responses have no use for: a minibatch is as many packs as it needs, and the router's bias stays.
IDLE = ("packs", "pack_patches", "resolution", "augment", "look_ahead", "packing", "shares", "balance_rate")


class PhaseConfig(Config):
    """One piece of a learning-rate schedule: from `start` to `end` in `steps` steps."""

    steps: int = Field(gt=0)
    start: Weight
    end: Weight
    shape: Literal["linear", "cosine"] = "linear"


class MixturePoint(Config):
    """Shares of the data sources at a moment of the stage; between two points they move linearly.

    `at` is the fraction of the stage's steps. The weights need not add up to 1.
    """

    at: float = Field(default=0.0, ge=0, le=1)
    weights: dict[str, Weight]


class ResolutionPoint(Config):
    """Progressive resolution: from this fraction of the stage's steps on, images have at most `patches` patches."""

    at: float = Field(ge=0, le=1)
    patches: int = Field(gt=0)


class OptimizerConfig(Config):
    """Muon for matrices and AdamW for the rest, or AdamW for all."""

    kind: Literal["muon", "adamw"] = "muon"
    weight_decay: Weight = 0.1
    momentum: float = Field(default=0.95, ge=0, lt=1)
    max_grad_norm: AboveZero = 1.0  # not in the paper


class StageConfig(Config):
    """One training stage.

    `language` and `vision` name where those weights come from: an earlier stage, or an entry of the recipe's `imports`.
    Without them the weights start at random.
    A step trains on `packs` packs, each holding samples of at most `context` tokens up to `pack_tokens` tokens and
    `pack_patches` patches. In an `rl` stage a step is an iteration, the mixture is one source of problems, and `context` bounds
    prompt and response together.
    Two kinds do not train. `average` makes the mean of earlier stages' models. `sample` has a model answer one source of
    problems; later stages name it in their mixture as the source of the shortest right responses, `dpo` stages as the source of
    pairs.
    """

    name: Name
    kind: StageKind
    model: Literal["kimi_vl", "caption_decoder"] = "kimi_vl"  # only `text` stages may train the caption decoder
    language: str | None = None
    vision: str | None = None
    caption_decoder: str | None = None  # only in `vit`: the stage that trained the decoder
    steps: int = Field(default=0, ge=0)  # 0, none, or empty only in stages that do not train
    context: int = Field(default=0, ge=0)
    packs: int = Field(default=1, gt=0)
    pack_tokens: int = Field(default=0, ge=0)
    pack_patches: int = Field(default=0, ge=0)
    schedule: tuple[PhaseConfig, ...] = ()
    schedule_start: int = Field(default=0, ge=0)  # where in the schedule the first step stands, to continue an earlier stage's
    mixture: tuple[MixturePoint, ...] = ()
    resolution: tuple[ResolutionPoint, ...] = ()
    augment: dict[str, AugmentConfig] = {}  # source → how its samples are changed at random
    optimizer: OptimizerConfig = OptimizerConfig()
    look_ahead: int = Field(default=0, ge=0)  # samples that may wait because they do not fit, while others go before them
    packing: Literal["in_order", "grouped", "balanced"] = "in_order"  # what `data/packing.py` makes packs of
    shares: Literal["tokens", "samples"] = "tokens"  # what the weights of a mixture count
    balance_rate: float = Field(default=1e-3, ge=0)  # u of Moonlight's rule; 0 leaves the router's bias alone
    rope_theta: AboveZero | None = None  # resets the RoPE base from this stage on
    checkpoint_every: int = Field(default=200, gt=0)
    rl: RLConfig | None = None  # these four only in stages of that kind
    average: tuple[str, ...] | None = None  # the stages whose models are averaged
    sample: SampleConfig | None = None
    dpo: DPOConfig | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """All data sources that the mixture names."""
        return tuple(dict.fromkeys(name for point in self.mixture for name in point.weights))

    @property
    def trains(self) -> bool:
        return self.kind not in ALLOWED

    @property
    def reads_packs(self) -> bool:
        """Whether the stage learns from packs of its mixture, and not from responses."""
        return self.trains and self.kind not in ("rl", "dpo")

    @property
    def speaks(self) -> bool:
        """Whether the stage makes a whole model."""
        return self.kind not in ("vit", "sample") and self.model == "kimi_vl"

    @model_validator(mode="after")
    def _check(self) -> "StageConfig":
        self._check_keys()
        if self.kind in ("rl", "sample", "dpo") and len(self.sources) != 1:
            what, stage = "pairs" if self.kind == "dpo" else "problems", "an rl" if self.kind == "rl" else f"a {self.kind}"
            names = ", ".join(self.sources) or "none"
            raise ValueError(f"{stage} stage takes its {what} from one source, but the mixture names {names}")
        if self.trains:
            self._check_training()
        if self.average is not None and len(set(self.average)) < max(2, len(self.average)):
            raise ValueError(f"average names at least two stages, each once, got {', '.join(self.average) or 'none'}")
        return self

    def _check_keys(self) -> None:
        """Every kind of stage has the keys that it needs, and none that would mean nothing."""
        for key, form in OWN_KEYS.items():
            if (self.kind == key) != (getattr(self, key) is not None):
                raise ValueError(f"a stage of kind {key!r}, and no other, says how under the key {form}")
        needed = NEEDED if self.trains else ("context",) if self.kind == "sample" else ()
        if missing := [key for key in needed if not getattr(self, key)]:
            raise ValueError(f"a stage of kind {self.kind!r} needs {', '.join(missing)}")
        fields = type(self).model_fields
        unused = [key for key in fields if not self.trains and key not in ALLOWED[self.kind] | {self.kind}]
        unused += IDLE if self.trains and not self.reads_packs else ()
        if idle := [key for key in unused if getattr(self, key) != fields[key].default]:
            raise ValueError(f"a stage of kind {self.kind!r} has no use for {', '.join(idle)}")

    def _check_training(self) -> None:
        if self.pack_tokens < self.context:
            raise ValueError(
                f"pack_tokens {self.pack_tokens} is below context {self.context}: the longest sample must fit a pack"
            )
        scheduled = sum(phase.steps for phase in self.schedule) - self.schedule_start
        if scheduled < self.steps:
            raise ValueError(f"the schedule ends {self.steps - scheduled} steps before the stage; lengthen its last phase")
        if not self.mixture or self.mixture[0].at != 0:
            raise ValueError("mixture must begin with a point at 0")
        for key in ("mixture", "resolution"):
            moments = [point.at for point in getattr(self, key)]
            if moments != sorted(set(moments)):
                raise ValueError(f"{key} points must rise, got {moments}")
        if any(not any(weight > 0 for weight in point.weights.values()) for point in self.mixture):
            raise ValueError("every mixture point needs a source with a weight above 0")
        if unknown := sorted(set(self.augment) - set(self.sources)):
            raise ValueError(f"augment names {', '.join(unknown)}, which the mixture does not")
        if self.rl and self.rl.max_tokens >= self.context:
            raise ValueError(f"rl.max_tokens {self.rl.max_tokens} leaves no room for a prompt in the context {self.context}")
        for key, first in self._late_starts().items():
            if first > self.steps:
                raise ValueError(f"rl.{key} {first} lies behind the stage's {self.steps} iterations: lower it")
        if self.dpo and self.pack_tokens < 2 * self.context:
            raise ValueError(f"pack_tokens {self.pack_tokens} is below twice the context {self.context}: a pair must fit a pack")
        if self.model == "caption_decoder" and self.kind != "text":
            raise ValueError(f"model is caption_decoder, which only 'text' stages train, but kind is {self.kind!r}")

    def _late_starts(self) -> dict[str, int]:
        """Iterations from which on something happens in an `rl` stage."""
        if self.rl is None:
            return {}
        reward, sampling = self.rl.length_reward, self.rl.sampling
        starts = {"sampling.warm_up": sampling.warm_up, "sampling.easy_first": sampling.easy_first}
        return starts | ({"length_reward.warm_up": reward.warm_up} if reward.weight else {})


class ImportConfig(Config):
    """Published weights to start from: a folder in the Hugging Face layout."""

    kind: Literal["siglip", "moonlight", "kimi_vl"]
    folder: Path


class RecipeConfig(Config):
    """A whole run."""

    name: Name
    seed: int = 0
    model: str | ModelConfig
    caption_decoder: TextConfig | None = None  # stage 1's tiny text decoder
    text_encoder: TextEncoderConfig | None = None  # stage 1's text encoder
    tokenizer_ranks: int | None = None  # train a byte-pair vocabulary of this many ranks on `tokenizer_sources`
    tokenizer_sources: tuple[str, ...] = ()
    tokenizer_folder: Path | None = None  # or take this processor's
    data: Path
    store: StoreConfig = StoreConfig()  # how pictures that lie in an object store are fetched and kept
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    imports: dict[str, ImportConfig] = {}
    stages: tuple[StageConfig, ...]
    chat_stage: str | None = None  # the stage whose model answers benchmarks and chats; the last one unless named
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

    @property
    def held_out_files(self) -> tuple[tuple[str, str], ...]:
        """(source, split) of all that is held out: the text that is followed, and the benchmarks."""
        text = [(self.held_out_text.source, self.held_out_text.split)] if self.held_out_text else []
        thinking = self.evaluation.thinking
        text += [(thinking.source, thinking.split)] if thinking else []
        return (*text, *((benchmark.source, benchmark.split) for benchmark in self.evaluation.benchmarks))

    @property
    def samplings(self) -> tuple[str, ...]:
        """The stages that are sources of data for others. Their names stand for them in a mixture, before those of the data."""
        return tuple(stage.name for stage in self.stages if stage.kind == "sample")

    @property
    def answering(self) -> str:
        """The stage whose model answers benchmarks and chats."""
        return self.chat_stage or self.stages[-1].name

    def stage(self, name: str) -> StageConfig:
        """The stage of that name. Raises: ConfigError with the known names."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigError(f"no stage named {name!r}; the stages are: {', '.join(stage.name for stage in self.stages)}")

    @model_validator(mode="after")
    def _check(self) -> "RecipeConfig":
        _ = self.model_config_  # an unknown preset
        known = set(self.imports)
        for stage in self.stages:
            self._check_stage(stage, known)
            if stage.name in known:
                raise ValueError(f"two stages or imports are named {stage.name!r}")
            known.add(stage.name)
        self._check_evaluation()
        if (self.tokenizer_ranks is None) == (self.tokenizer_folder is None):
            raise ValueError("give either tokenizer_ranks (train a vocabulary) or tokenizer_folder (take one)")
        self._check_companions()
        return self

    def _check_evaluation(self) -> None:
        speaking = [stage.name for stage in self.stages if stage.speaks]
        for key, name in self.evaluation.stages.items():
            if name not in speaking:
                raise ValueError(f"evaluation.{key} is {name!r}, but the stages with a language model are: {', '.join(speaking)}")
            if self.held_out_text is None and not key.startswith("thinking."):
                raise ValueError(f"evaluation.{key} is measured on held-out text: give held_out_text: {{source: …}}")
        if (self.evaluation.benchmarks or self.chat_stage) and self.answering not in speaking:
            key = "chat_stage" if self.chat_stage else "the last stage, which benchmarks ask,"
            raise ValueError(f"{key} is {self.answering!r}, but the stages with a language model are: {', '.join(speaking)}")
        compared = self.evaluation.muon_vs_adamw
        if compared and self.stage(compared.stage).kind == "align":
            raise ValueError(f"muon_vs_adamw.stage is {compared.stage!r}, where the language model does not move; name another")
        if compared and self.stage(compared.stage).kind in OWN_KEYS:
            raise ValueError(f"muon_vs_adamw.stage is {compared.stage!r}, which does not learn the next token; name another")

    def _check_companions(self) -> None:
        """Stage 1's companions read what the run's one tokenizer makes, and meet MoonViT in one space."""
        expected = self.model_config_.text_config.vocab_size
        for key, part in (("caption_decoder", self.caption_decoder), ("text_encoder", self.text_encoder)):
            if part is not None and part.vocab_size != expected:
                raise ValueError(
                    f"{key}.vocab_size is {part.vocab_size}, the model's is {expected}: a run has one tokenizer; make them equal"
                )
        width = self.model_config_.vision_config.hidden_size
        contrastive = any(stage.kind == "vit" for stage in self.stages)
        if contrastive and self.text_encoder is not None and self.text_encoder.projection_size != width:
            raise ValueError(
                f"text_encoder.projection_size is {self.text_encoder.projection_size}, MoonViT's hidden_size {width}: "
                "the contrastive loss compares the two; make them equal"
            )

    def _check_stage(self, stage: StageConfig, known: set[str]) -> None:
        if stage.kind == "vit" and (self.caption_decoder is None or self.text_encoder is None):
            raise ValueError(f"stage {stage.name} needs the recipe's caption_decoder and text_encoder")
        if stage.model == "caption_decoder" and self.caption_decoder is None:
            raise ValueError(f"stage {stage.name} needs the recipe's caption_decoder")
        for role in ("language", "vision", "caption_decoder"):
            source = getattr(stage, role)
            if source is not None and source not in known:
                raise ValueError(f"stage {stage.name}: {role} is {source!r}, which is neither an earlier stage nor an import")
            if source is not None and not self._gives(source, role, stage):
                raise ValueError(f"stage {stage.name}: {role} is {source!r}, which has no weights for kind {stage.kind!r}")
        for name in stage.average or ():
            if name not in known or name in self.imports or not self.stage(name).speaks:
                raise ValueError(f"stage {stage.name}: average names {name!r}, which is no earlier stage with a whole model")
        for name in set(stage.sources) & set(self.samplings):
            if name not in known:
                raise ValueError(f"stage {stage.name}: its mixture names {name!r}, a sample stage that comes later")
        if stage.rl and (measured := stage.rl.sampling.pass_rates):
            if measured not in known or measured not in self.samplings or self.stage(measured).sources != stage.sources:
                raise ValueError(
                    f"stage {stage.name}: pass_rates is {measured!r}, which is no earlier sample stage on its problems"
                )
        if stage.dpo and stage.sources[0] not in self.samplings:
            raise ValueError(f"stage {stage.name}: its pairs come from {stage.sources[0]!r}, which is no earlier sample stage")
        if stage.dpo and stage.context < self.stage(stage.sources[0]).context:
            raise ValueError(f"stage {stage.name}: raise its context to that of {stage.sources[0]}, which wrote the responses")

    def _gives(self, source: str, role: str, stage: StageConfig) -> bool:
        """Whether an import or an earlier stage holds what `stage` takes in this role (`train/build.py` reads it)."""
        to_vit = stage.kind == "vit"
        if source in self.imports:
            kind = self.imports[source].kind
            if role == "vision":
                return kind == "siglip" or (kind == "kimi_vl" and not to_vit)
            return role == "language" and kind != "siglip" and not to_vit
        giver = self.stage(source)
        if giver.kind == "sample":
            return False
        if to_vit:
            return role == "caption_decoder" and giver.model == "caption_decoder"
        return role != "caption_decoder" and giver.model == stage.model and not (role == "language" and giver.kind == "vit")


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
    return parse(RecipeConfig, overridden(values, overrides), str(path))
