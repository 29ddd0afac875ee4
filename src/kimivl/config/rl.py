"""What the stages that sample responses, or learn from them, say beside what every stage says.

What it is: the schema. The meaning of each value stands with the code that uses it: `rl/mirror_descent.py`,
`rl/length_reward.py`, `rl/prompt_sampler.py`, `rl/remote.py`, `rl/workers.py`, `train/policy_trainer.py`; of `sample` and
`dpo` stages in `train/sampling.py`, `rl/preference.py` and `train/preference_trainer.py`.
Facts: the papers publish the method and none of these numbers (reference/posttraining.md §2.1); defaults are Kimi k1.5's choice
where it names one, ours elsewhere.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

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

    @model_validator(mode="after")
    def _check(self) -> "ObjectiveConfig":
        if self.kind == "imitation" and self != ObjectiveConfig.model_construct(kind="imitation"):
            raise ValueError("imitation has no use for tau, baseline and level: leave them out")
        return self


class LengthRewardConfig(Config):
    """Off unless it has a weight."""

    weight: float = Field(default=0.0, ge=0, lt=2)
    warm_up: int = Field(default=0, ge=0)


class SamplingConfig(Config):
    """Curriculum and prioritized sampling of problems.

    `pass_rates`: an earlier `sample` stage on the same problems, whose share of right responses says how easy each is; without it
    the curriculum goes by the problems' own difficulties.
    """

    warm_up: int = Field(default=0, ge=0)
    easy_first: int = Field(default=0, ge=0)
    floor: float = Field(default=0.05, gt=0, le=1)
    memory: float = Field(default=0.7, ge=0, le=1)
    give_up_after: int = Field(default=5, ge=1)
    uniform: bool = False
    pass_rates: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "SamplingConfig":
        if self.uniform and (self.warm_up or self.easy_first or self.pass_rates):
            raise ValueError("uniform draws every problem equally often: leave out warm_up, easy_first and pass_rates")
        return self


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address: it begins with http:// or https://")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class NativeRolloutsConfig(Config):
    """Our own engine, in the trainer's process."""

    kind: Literal["native"] = "native"


class RayRolloutsConfig(Config):
    """Our own engine in `workers` processes with `cpus` cores each. `address`: of a Ray cluster; without it, this machine."""

    kind: Literal["ray"]
    workers: int = Field(default=2, gt=0)
    cpus: int = Field(default=1, gt=0)
    address: str | None = None


class RemoteRolloutsConfig(Config):
    """A server that speaks OpenAI's protocol, for instance vLLM.

    `url` mostly ends in /v1; `model` is what the server calls what it serves. `protocol`: "completions" sends token ids, with
    pictures as `multi_modal_data`; "chat" sends text and pictures, for servers that take no pictures beside ids.
    `folder` is where each iteration's weights are written, where the server can read them; the run's own folder unless given.
    Then `update_body` is sent to `update_url`, with {folder} filled in, and an empty request to each of `reset_urls`, which must
    clear the cache of prefixes and the cache of what the vision encoder made of pictures.
    `canary_gap`: mean |server − trainer| in nats per token of a fixed prompt's answer, above which the run stops.
    """

    kind: Literal["remote"]
    url: Address
    model: str
    protocol: Literal["completions", "chat"]
    update_url: Address
    update_body: dict[str, Any] = {}
    reset_urls: tuple[Address, ...] = Field(min_length=1)
    folder: Path | None = None
    concurrency: int = Field(default=64, gt=0)
    timeout: float = Field(default=600.0, gt=0)
    retries: int = Field(default=3, ge=0)
    canary_tokens: int = Field(default=16, gt=0)
    canary_gap: float = Field(default=0.1, gt=0)


RolloutsConfig = Annotated[NativeRolloutsConfig | RayRolloutsConfig | RemoteRolloutsConfig, Field(discriminator="kind")]


class RLConfig(Config):
    """One iteration: `samples` responses to each of `prompts` problems, then `minibatches` updates.

    `max_tokens` bounds a response, `segment` what is written of it in one iteration: a longer one goes on in the next.
    With one minibatch the pull to the policy that wrote the responses has no gradient: they are one and the same.
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
    rollouts: RolloutsConfig = NativeRolloutsConfig()

    @model_validator(mode="after")
    def _check(self) -> "RLConfig":
        if self.minibatches > self.prompts:
            raise ValueError(f"{self.minibatches} minibatches cannot share {self.prompts} prompts: raise prompts")
        if self.segment is not None and self.segment > self.max_tokens:
            raise ValueError(f"segment {self.segment} is above max_tokens {self.max_tokens}, so it bounds nothing: leave it out")
        chats = isinstance(self.rollouts, RemoteRolloutsConfig) and self.rollouts.protocol == "chat"
        if chats and self.segment is not None and self.segment < self.max_tokens:
            raise ValueError(
                "a chat cannot go on with the tokens of a paused response: leave out segment, or take a server that reads token "
                "ids and set rollouts.protocol: completions"
            )
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
