"""Who writes the responses of a stage, as its recipe says.

What it is: `rollouts_for`, from the recipe's `rollouts` to an engine that is ready, and its end.
What it is not: the engines (`rl/rollout.py`, `rl/remote.py`, `rl/workers.py`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimivl.config.rl import RayRolloutsConfig, RemoteRolloutsConfig, RLConfig
from kimivl.engine.engine import Engine
from kimivl.rl.problems import Problems
from kimivl.rl.remote import remote_rollouts
from kimivl.rl.rollout import Limits, NativeRollouts, Rollouts
from kimivl.rl.token_client import TokenClient
from kimivl.rl.workers import RayRollouts


@contextmanager
def rollouts_for(settings: RLConfig, engine: Engine, problems: Problems, folder: Path, seed: int) -> Iterator[Rollouts]:
    """The stage's engine; what it started is ended behind it.

    Args:
        engine: the trainer's.
        folder: the stage's, in which weights for a server are written unless the recipe names another place.
    Raises: ValueError naming the package that the chosen engine needs.
    """
    segment = settings.segment or settings.max_tokens
    limits = Limits(settings.max_tokens, segment, engine.context, settings.repeat_stop)
    chosen = settings.rollouts
    if isinstance(chosen, RayRolloutsConfig):
        with RayRollouts(engine, limits, seed, chosen.workers, chosen.cpus, chosen.address) as workers:
            yield workers
    elif isinstance(chosen, RemoteRolloutsConfig):
        client = TokenClient(chosen, engine, os.environ.get("OPENAI_API_KEY", "none"))  # a key has no place in a recipe
        yield remote_rollouts(client, engine, problems, limits, seed, folder / "served")
    else:
        yield NativeRollouts(engine, limits, seed)
