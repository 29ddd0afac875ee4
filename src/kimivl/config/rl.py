"""What the stages that sample responses, or learn from them, say beside what every stage says.

What it is: the schema. The meaning of each value stands with the code that uses it: `rl/mirror_descent.py`,
`rl/length_reward.py`, `rl/prompt_sampler.py`, `train/policy_trainer.py`; of `sample` and `dpo` stages in `train/sampling.py`,
`rl/preference.py` and `train/preference_trainer.py`.
Facts: the papers publish the method and none of these numbers (reference/posttraining.md §2.1); defaults are Kimi k1.5's choice
where it names one, ours elsewhere.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from kimivl.config.base import Config

ScoreName = Literal["exact", "number", "relaxed_number", "choice", "anls", "box", "point", "maths"]


def _long_enough(tokens: int) -> int:
    if 0 < tokens < 3:
        raise ValueError(f"repeat_stop is 0 (off) or at least 3 tokens, got {tokens}")
    return tokens


RepeatStop = Annotated[int, Field(ge=0), AfterValidator(_long_enough)]


class ObjectiveConfig(Config):
    """`mirror_descent` is the papers'. `imitation` trains on right answers only, as rejection sampling does, for comparison."""

    kind: Literal["mirror_descent", "imitation"] = "mirror_descent"
    tau: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    baseline: Literal["mean", "leave_one_out", "log_partition"] = "mean"
    level: Literal["sequence", "per_length", "token"] = "sequence"


class LengthRewardConfig(Config):
    """Off unless it has a weight."""

    weight: float = Field(default=0.0, ge=0, lt=2)
    warm_up: int = Field(default=0, ge=0)


class SamplingConfig(Config):
    """Curriculum and prioritized sampling of problems."""

    warm_up: int = Field(default=0, ge=0)
    easy_first: int = Field(default=0, ge=0)
    floor: float = Field(default=0.05, gt=0, le=1)
    memory: float = Field(default=0.7, ge=0, le=1)
    give_up_after: int = Field(default=5, ge=1)
    uniform: bool = False


class RLConfig(Config):
    """One iteration: `samples` responses to each of `prompts` problems, then `minibatches` updates.

    `max_tokens` bounds a response, `segment` what is written of it in one iteration: a longer one goes on in the next.
    """

    prompts: int = Field(gt=0)
    samples: int = Field(default=8, ge=2)
    max_tokens: int = Field(gt=0)
    segment: int | None = Field(default=None, gt=0)
    repeat_stop: RepeatStop = 0
    minibatches: int = Field(default=4, gt=0)
    score: ScoreName = "exact"
    objective: ObjectiveConfig = ObjectiveConfig()
    length_reward: LengthRewardConfig = LengthRewardConfig()
    sampling: SamplingConfig = SamplingConfig()
    reset_optimizer: bool = False

    @model_validator(mode="after")
    def _check(self) -> "RLConfig":
        if self.minibatches > self.prompts:
            raise ValueError(f"{self.minibatches} minibatches cannot share {self.prompts} prompts: raise prompts")
        return self


class SampleConfig(Config):
    """`samples` responses of at most `max_tokens` tokens to each problem of the source, or to `problems` of them."""

    samples: int = Field(default=8, ge=2)  # Kimi k1.5's n
    problems: int | None = Field(default=None, gt=0)
    max_tokens: int = Field(gt=0)
    repeat_stop: RepeatStop = 0
    score: ScoreName = "exact"


class DPOConfig(Config):
    """A step learns from `pairs` pairs; `beta` is the strength of the pull towards the model that the stage starts from."""

    pairs: int = Field(gt=0)
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)  # Kimi k1.5 gives none; DPO's own paper's
