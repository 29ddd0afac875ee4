"""What a recipe says about measuring its run.

What it is: the schema of the keys `evaluation` and `held_out_text`.
What it is not: the measuring (`eval/`), or the check that the stages named here are there (`recipe.py`).
"""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from kimivl.config.base import AboveZero, Config, Name


class BenchmarkConfig(Config):
    """One held-out set: answers are generated greedily and scored.

    `controls` maps a summary key to what replaces the picture: a blank one, or another question's.
    """

    key: Name
    source: str
    split: str = "test"
    metric: Literal["exact", "character_error_rate", "point_in_outline"]
    max_new_tokens: int = Field(default=16, gt=0)
    controls: dict[Name, Literal["blank", "shuffled"]] = {}


class NeedleConfig(Config):
    """A needle-in-a-haystack test of the text context, before and after the long-context stage.

    Lengths are multiples of the pre-training context.
    """

    before: str  # stage names
    after: str
    context: int = Field(ge=64)  # less leaves no room for a haystack beside the fact, its question and the answer
    multiples: tuple[PositiveInt, ...] = Field(default=(1, 4, 16), min_length=1)
    items: int = Field(default=100, gt=0)


class ComparisonConfig(Config):
    """A short fixed-budget run with each optimizer, on the data of `stage`, at the best of several learning rates."""

    stage: str
    steps: int = Field(gt=0)
    rates: tuple[AboveZero, ...] = Field(min_length=1)


class ThinkingConfig(Config):
    """What thinking and reinforcement learning bring, on the held-out problems of `source`: the stages that are compared.

    `direct` answers without a thought, `sft` is long-CoT SFT, `rl` comes behind it. The others are for comparison:
    `equal_compute_sft` trained on right responses only, `rl_no_length` without the length reward, `rl_uniform` without
    curriculum and priority. `budgets` are thinking tokens.
    """

    source: str
    split: str = "test"
    direct: str
    sft: str
    rl: str
    equal_compute_sft: str | None = None
    rl_no_length: str | None = None
    rl_uniform: str | None = None
    max_new_tokens: int = Field(gt=0)
    budgets: tuple[int, ...] = ()
    answer_tokens: int = Field(default=32, gt=0)

    @property
    def arms(self) -> dict[str, str]:
        """Name of each comparison → its stage."""
        named = {
            "direct": self.direct, "sft": self.sft, "rl": self.rl, "equal_compute_sft": self.equal_compute_sft,
            "rl_no_length": self.rl_no_length, "rl_uniform": self.rl_uniform,
        }  # fmt: skip
        return {name: stage for name, stage in named.items() if stage is not None}

    @field_validator("budgets")
    @classmethod
    def _rising(cls, budgets: tuple[int, ...]) -> tuple[int, ...]:
        if list(budgets) != sorted(set(budgets)) or any(budget < 0 for budget in budgets):
            raise ValueError(f"budgets are rising numbers of tokens from 0 on, got {list(budgets)}")
        return budgets


class HeldOutTextConfig(Config):
    """Held-out text whose loss is followed through the language-model stages, every so many steps."""

    source: str
    split: str = "test"
    samples: int = Field(default=60, gt=0)
    every: int = Field(default=50, gt=0)


class EvaluationConfig(Config):
    """What is measured at the end of a run."""

    benchmarks: tuple[BenchmarkConfig, ...] = ()
    needle: NeedleConfig | None = None
    muon_vs_adamw: ComparisonConfig | None = None
    thinking: ThinkingConfig | None = None
    text_before: str | None = None  # the stages whose models give text_loss_before and text_loss_after
    text_after: str | None = None

    @property
    def stages(self) -> dict[str, str]:
        """The stages whose models are measured: the key that names one → its name."""
        named = {"text_before": self.text_before, "text_after": self.text_after}
        named |= {"needle.before": self.needle.before, "needle.after": self.needle.after} if self.needle else {}
        named |= {f"thinking.{arm}": stage for arm, stage in self.thinking.arms.items()} if self.thinking else {}
        named |= {"muon_vs_adamw.stage": self.muon_vs_adamw.stage} if self.muon_vs_adamw else {}
        return {key: name for key, name in named.items() if name is not None}

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        keys = [key for benchmark in self.benchmarks for key in (benchmark.key, *benchmark.controls)]
        for place, key in enumerate(keys):
            if key in keys[:place] or any(other.startswith(f"{key}.") for other in keys):
                raise ValueError(f"the benchmark key {key!r} is there twice, or begins another key; rename one of them")
        return self
