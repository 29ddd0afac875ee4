"""Requests: answers that share a prompt, that go on from a pause, that run in circles; and what each token's probability was."""

import pytest
import torch

from kimivl.engine.engine import ROW_STEP, Engine, Request, _kept
from kimivl.engine.sampler import Sampling, repeats
from kimivl.model.moonvit import MoonViT
from kimivl.ops.segments import Segments

FREE = Sampling(max_new_tokens=40, temperature=1.0, seed=3)


def requests_for(prompts, samples: int) -> list[Request]:
    return [Request(prompt, (number, sample)) for number, prompt in enumerate(prompts) for sample in range(samples)]


def test_many_answers_to_a_prompt_equal_each_one_alone(engine, prompts):
    requests = requests_for(prompts[:3], 4)
    together = engine.respond(requests, FREE)
    assert together == [engine.respond([request], FREE)[0] for request in requests]
    assert len({tuple(completion.ids) for completion in together}) > 3 * 3  # every key draws its own answer


def test_a_shared_prompt_and_its_picture_are_read_once(engine, prompts, monkeypatch):
    read: list[int] = []
    original, encoded = engine.model.language_model.forward, MoonViT.forward
    monkeypatch.setattr(
        engine.model.language_model, "forward", lambda x_TD, segments: read.append(len(x_TD)) or original(x_TD, segments)
    )
    pictures: list[int] = []
    monkeypatch.setattr(
        MoonViT, "forward", lambda self, patches, grids: pictures.append(len(grids)) or encoded(self, patches, grids)
    )
    engine.respond(requests_for(prompts[:1], 8), FREE)
    assert read == [len(prompts[0].ids)] and pictures == [1]


@pytest.mark.parametrize("cut", [1, 7, 16, 33])
def test_a_paused_answer_goes_on_as_if_it_had_never_stopped(engine, prompts, cut):
    for request, whole in zip(requests_for(prompts, 2), engine.respond(requests_for(prompts, 2), FREE)):
        first = whole.ids[:cut]
        if len(first) == len(whole.ids):
            continue
        rest = Sampling(max_new_tokens=40 - cut, temperature=1.0, seed=3)
        (completion,) = engine.respond([Request(request.prompt, request.key, tuple(first))], rest)
        assert first + completion.ids == whole.ids and completion.finish_reason == whole.finish_reason


def test_the_probability_of_every_token_is_that_of_the_whole_text_read_at_once(engine, prompts):
    tokenizer = engine.processor.tokenizer
    allowed = torch.tensor([*range(tokenizer.n_ranks), *sorted(engine.stop_ids)])
    gaps = []
    for prompt, completion in zip(prompts, engine.generate(prompts, FREE)):
        ids = torch.tensor([*prompt.ids.tolist(), *completion.ids])
        grids = [tuple(grid) for grid in prompt.grids.tolist()]
        with torch.inference_mode():
            output = engine.model(ids, Segments([len(ids)]), torch.from_numpy(prompt.patches), grids)
            logits = engine.model.language_model.logits(output.hidden_TD[len(prompt.ids) - 1 : -1])
        logp = logits[:, allowed].log_softmax(-1)
        places = (allowed == torch.tensor(completion.ids)[:, None]).nonzero()[:, 1]
        gaps.append((logp.gather(1, places[:, None])[:, 0] - torch.tensor(completion.logps)).abs())
    assert float(torch.cat(gaps).mean()) <= 1e-5


def test_an_answer_in_circles_is_cut(scripted, new_prompt):
    engine = scripted([1, 2, *[5, 6, 7] * 40])
    (completion,) = engine.generate([new_prompt("hello")], Sampling(max_new_tokens=100, repeat_stop=12))
    assert completion.finish_reason == "repeat" and len(completion.ids) == 16


def test_what_only_looks_like_circles_goes_on(scripted, new_prompt):
    engine = scripted([number % 11 for number in range(40)])
    (completion,) = engine.generate([new_prompt("hello")], Sampling(max_new_tokens=40, repeat_stop=30))
    assert completion.finish_reason == "length" and len(completion.ids) == 40


@pytest.mark.parametrize(
    ("ids", "length", "expected"),
    [
        ([1, 1, 1], 3, True), ([1, 1], 3, False), ([9, 1, 2, 1, 2, 1, 2], 6, True), ([1, 2, 3, 1, 2, 3], 6, False),
        ([1, 2, 1, 2, 1, 3], 6, False), ([1, 2, 3] * 5, 14, True),
    ],
)  # fmt: skip
def test_circles_are_passages_that_stand_three_times(ids, length, expected):
    assert repeats(ids, length) is expected


def test_between_updates_weights_are_cast_and_given_back_and_pictures_are_seen_anew(new_model, processor, prompts):
    engine = Engine(new_model(torch.bfloat16), processor)
    before = {name: weights.clone() for name, weights in engine.model.state_dict().items()}
    with engine.between_updates():
        first = engine.generate(prompts[:1], FREE)
        assert engine.model.language_model.lm_head.weight.dtype == torch.bfloat16
    for name, weights in engine.model.state_dict().items():
        assert weights.dtype == before[name].dtype and torch.equal(weights, before[name])
    assert engine.generate(prompts[:1], FREE) == first  # the values are those that every step's cast gives
    with torch.no_grad():
        for weights in engine.model.vision_tower.parameters():
            weights.mul_(-2)
    with engine.between_updates():
        assert engine.generate(prompts[:1], FREE) != first


@pytest.mark.parametrize(
    ("rows", "live", "kept"),
    [
        (64, 64, None),
        (64, 49, None),
        (64, 48, 48),
        (64, 41, 48),
        (64, 3, ROW_STEP),
        (8, 1, None),
        (9, 1, None),
        (11, 1, ROW_STEP),
    ],
)
def test_ended_rows_leave_once_a_quarter_can_and_fill_a_round_number_until_then(rows, live, kept):
    live_B = torch.zeros(rows, dtype=torch.bool)
    live_B[torch.randperm(rows, generator=torch.Generator().manual_seed(rows + live))[:live]] = True
    found = _kept(live_B)
    assert (found is None) == (kept is None)
    if found is not None:
        assert int(found.sum()) == kept and bool((found | ~live_B).all())
