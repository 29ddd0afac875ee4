"""Roll-outs by our own engine in many processes, on one machine or a cluster.

What it is: `RayRollouts`, a thin wrapper: each worker is `NativeRollouts` on a copy of the model, in an actor of Ray.
What it is not: a scheduler of its own, or anything that the algorithm knows of; nothing outside this file imports ray.
Every token is drawn by its response's name and place, so the number of workers decides nothing: in fp32 the ids are those of
`NativeRollouts`, unless two tokens tie to the last bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kimivl.config.model import ModelConfig
from kimivl.engine.engine import Engine
from kimivl.model.kimi_vl import KimiVL
from kimivl.processor.processor import Encoded, Processor
from kimivl.rl.rollout import Limits, NativeRollouts, Response


class RayRollouts:
    """Responses from `workers` actors; a context manager that ends them.

    Args:
        engine: the trainer's.
        cpus: cores of each worker.
        address: of a cluster; without it Ray is started on this machine, unless it runs already in this process.
    Raises: ValueError if the package `ray` is missing, or the cluster has fewer cores than the workers need.
    """

    exact = True  # the same module, in the same dtype

    def __init__(self, engine: Engine, limits: Limits, seed: int, workers: int, cpus: int = 1, address: str | None = None):
        self.engine, self.ray = engine, _ray()
        self._started = not self.ray.is_initialized()
        if self._started:
            cores = None if address else workers * cpus  # a machine with fewer cores is shared instead of waited for
            self.ray.init(address=address, num_cpus=cores, include_dashboard=False, log_to_driver=False)
        self._check_cores(workers * cpus)
        actor = self.ray.remote(num_cpus=cpus)(Worker)
        model = engine.model
        made_of = (model.config, model.dtype, engine.processor, engine.context, limits, seed, cpus)
        self.workers = [actor.remote(*made_of) for _ in range(workers)]

    def _check_cores(self, needed: int) -> None:
        """A worker without a core would be waited for without an end."""
        cores = int(self.ray.cluster_resources().get("CPU", 0))
        if cores < needed:
            self._end()
            raise ValueError(f"the workers need {needed} cores and the Ray cluster has {cores}: lower workers or cpus")

    def write(self, responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int) -> list[Response]:
        """As `Rollouts`. Raises: what a worker raised, with its name in front."""
        weights = self._weights()
        written = list(responses)
        jobs = []
        for worker, places in zip(self.workers, shares(responses, len(self.workers))):
            if places:
                part = [responses[place] for place in places]
                needed = {response.problem: prompts[response.problem] for response in part}
                jobs.append((places, worker.write.remote(weights, part, needed, iteration)))
        for places, job in jobs:
            for place, response in zip(places, self.ray.get(job)):
                written[place] = response
        return written

    def _weights(self) -> Any:
        """Once an iteration into the object store, in the dtype that the model computes in; each machine fetches them once."""
        with self.engine.between_updates():
            return self.ray.put(self.engine.model.state_dict())

    def __enter__(self) -> "RayRollouts":
        return self

    def __exit__(self, *error: Any) -> None:
        for worker in self.workers:
            self.ray.kill(worker)
        self._end()

    def _end(self) -> None:
        if self._started:
            self.ray.shutdown()


class Worker:
    """What lives in an actor. Its weights come with every call."""

    def __init__(
        self, config: ModelConfig, dtype: torch.dtype, processor: Processor, context: int, limits: Limits, seed: int, cpus: int
    ):  # fmt: skip
        torch.set_num_threads(cpus)
        with torch.device("meta"):
            model = KimiVL(config, dtype)
        self.rollouts = NativeRollouts(Engine(model.to_empty(device="cpu"), processor, context), limits, seed)

    def write(
        self, weights: Mapping[str, torch.Tensor], responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int
    ) -> list[Response]:
        self.rollouts.engine.model.load_state_dict(weights)
        return self.rollouts.write(responses, prompts, iteration)


def shares(responses: Sequence[Response], workers: int) -> list[list[int]]:
    """Places of the unfinished responses for each worker: a problem's together, since they share its prompt; the largest first,
    each to the worker that has least to do."""
    by_problem: dict[str, list[int]] = {}
    for place, response in enumerate(responses):
        if response.finish is None:
            by_problem.setdefault(response.problem, []).append(place)
    found: list[list[int]] = [[] for _ in range(workers)]
    for places in sorted(by_problem.values(), key=len, reverse=True):
        min(found, key=len).extend(places)
    return found


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ValueError("roll-outs by many workers need the package ray: pip install 'kimivl[ray]'") from None
    return ray
