"""What the policy that is being trained thinks of responses: the log-probability of each of their tokens, with gradients.

What it is: `response_packs`, responses behind their prompts in packs, and `token_logps`.
What it is not: the objective (`mirror_descent.py`).
The responses to one prompt share its pictures, which are encoded once a pack.

Shapes: T tokens of a pack, S of them written by the policy, D hidden width, A tokens that an answer may hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kimivl.model.kimi_vl import KimiVL
from kimivl.ops.cross_entropy import linear_cross_entropy
from kimivl.ops.segments import Segments
from kimivl.processor.processor import Encoded
from kimivl.rl.problems import fingerprint
from kimivl.rl.rollout import Response


@dataclass(frozen=True)
class ResponsePack:
    """Responses behind their prompts, each a segment.

    `place_S` is where a written token is predicted, `target_S` that token, `response_S` its response's number among all that
    were given, `behaviour_S` its log-probability when it was written.
    `patches_P`, `grids`: each picture once; `shown`: which of them the segments show, in order.
    """

    ids_T: Tensor
    segments: Segments
    place_S: Tensor
    target_S: Tensor
    response_S: Tensor
    behaviour_S: Tensor
    patches_P: Tensor
    grids: list[tuple[int, int]]
    shown: list[int]
    problems: list[str]  # of each segment


def response_packs(
    responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int, pack_tokens: int
) -> list[ResponsePack]:
    """Packs of at most `pack_tokens` tokens; only tokens that were written in `iteration` are its policy's and count.

    Raises: ValueError if a response was written to other pictures than the prompt has.
    """
    packs: list[list[int]] = []
    room = 0
    pictures = {name: fingerprint(prompts[name]) for name in {response.problem for response in responses}}
    for number, response in enumerate(responses):
        if response.pictures != pictures[response.problem]:
            raise ValueError(
                f"a response to {response.problem} was written to other tokens or pictures than the trainer has: the engine must "
                "preprocess pictures as the trainer does"
            )
        length = len(prompts[response.problem].ids) + len(response.ids)
        if not packs or length > room:
            packs.append([])
            room = pack_tokens
        packs[-1].append(number)
        room -= length
    return [_pack(numbers, responses, prompts, iteration) for numbers in packs]


def _pack(numbers: Sequence[int], responses: Sequence[Response], prompts: Mapping[str, Encoded], iteration: int) -> ResponsePack:
    ids: list[np.ndarray] = []
    place, target, response_of, behaviour = [], [], [], []
    pictures: dict[str, list[int]] = {}  # problem → its pictures' places in `grids`
    patches: list[np.ndarray] = []
    grids: list[tuple[int, int]] = []
    shown: list[int] = []
    start = 0
    for number in numbers:
        response = responses[number]
        prompt = prompts[response.problem]
        if response.problem not in pictures:
            pictures[response.problem] = list(range(len(grids), len(grids) + len(prompt.grids)))
            patches.append(prompt.patches)
            grids += [(int(rows), int(columns)) for rows, columns in prompt.grids]
        shown += pictures[response.problem]
        text = np.array(response.ids[:-1], np.int64)  # nothing is predicted behind the last token
        ids += [prompt.ids, text]
        for offset, (id, when, logp) in enumerate(zip(response.ids, response.iterations, response.logps)):
            if when == iteration:
                place.append(start + len(prompt.ids) - 1 + offset)
                target.append(id)
                response_of.append(number)
                behaviour.append(logp)
        start += len(prompt.ids) + len(text)
    return ResponsePack(
        ids_T=torch.from_numpy(np.concatenate(ids)),
        segments=Segments([len(prompts[responses[n].problem].ids) + len(responses[n].ids) - 1 for n in numbers]),
        place_S=torch.tensor(place, dtype=torch.long),
        target_S=torch.tensor(target, dtype=torch.long),
        response_S=torch.tensor(response_of, dtype=torch.long),
        behaviour_S=torch.tensor(behaviour),
        patches_P=torch.from_numpy(np.concatenate(patches)),
        grids=grids,
        shown=shown,
        problems=[responses[number].problem for number in numbers],
    )


def token_logps(model: KimiVL, pack: ResponsePack, allowed_A: Tensor) -> Tensor:
    """Of each written token, among the tokens that an answer may hold: the distribution that the engine draws from. fp32 [S]

    Args:
        allowed_A: their ids, rising.
    """
    output = model.language_model(model.embed(pack.ids_T, _features(model, pack)), pack.segments)
    hidden_SD = output.hidden_TD.index_select(0, pack.place_S)
    weight_AD = model.language_model.lm_head.weight.index_select(0, allowed_A)
    return -linear_cross_entropy(hidden_SD, weight_AD, torch.searchsorted(allowed_A, pack.target_S))


def _features(model: KimiVL, pack: ResponsePack) -> Tensor | None:
    """Every picture is encoded once, and its features stand wherever a response shows it."""
    if not pack.grids:
        return None
    features = model.image_features(pack.patches_P, pack.grids)
    rows, columns = model.config.vision_config.merge_kernel_size
    of_picture = features.split([height * width // (rows * columns) for height, width in pack.grids])
    return torch.cat([of_picture[picture] for picture in pack.shown])
