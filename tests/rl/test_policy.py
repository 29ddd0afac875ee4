"""The trainer sees every token with the probability that the engine drew it with, and encodes a shared picture once."""

from dataclasses import replace

import pytest
import torch

from kimivl.model.moonvit import MoonViT
from kimivl.ops.segments import Segments
from kimivl.rl.policy import response_packs, token_logps


def test_engine_and_trainer_agree_on_every_token_with_no_one_and_two_pictures(engine, rollouts, prompts, new_group):
    responses = rollouts().write(new_group(["p0", "p1", "p2", "p3"], 4), prompts, 0)
    packs = response_packs(responses, prompts, 0, pack_tokens=400)
    assert len(packs) > 1
    gaps = [(token_logps(engine.model, pack, engine.allowed_A) - pack.behaviour_S).abs() for pack in packs]
    assert sum(map(len, gaps)) == sum(len(response.ids) for response in responses)
    assert float(torch.cat(gaps).detach().mean()) <= 1e-5


def test_the_packed_logps_and_their_gradients_are_those_of_each_text_alone(engine, rollouts, prompts, new_group):
    model = engine.model
    responses = rollouts().write(new_group(["p2", "p1"], 2), prompts, 0)
    (pack,) = response_packs(responses, prompts, 0, pack_tokens=4000)
    token_logps(model, pack, engine.allowed_A).sum().backward()
    packed = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    for response in responses:
        prompt = prompts[response.problem]
        ids = torch.tensor([*prompt.ids.tolist(), *response.ids])
        output = model(ids, Segments([len(ids)]), torch.from_numpy(prompt.patches), [tuple(g) for g in prompt.grids.tolist()])
        logits = model.language_model.logits(output.hidden_TD[len(prompt.ids) - 1 : -1])[:, engine.allowed_A]
        target = torch.searchsorted(engine.allowed_A, torch.tensor(response.ids))
        logits.log_softmax(-1).gather(1, target[:, None]).sum().backward()
    for name, gradient in packed.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, rtol=1e-4, atol=1e-4)


def test_only_what_this_iterations_policy_wrote_counts(rollouts, prompts, new_group):
    first = rollouts(segment=7).write(new_group(["p1"], 3), prompts, 0)
    second = rollouts(segment=7).write(first, prompts, 1)
    (pack,) = response_packs(second, prompts, 1, pack_tokens=4000)
    new = [token for response in second for token, when in zip(response.ids, response.iterations) if when == 1]
    assert pack.target_S.tolist() == new and 0 < len(new) < sum(len(response.ids) for response in second)
    following = torch.cat([pack.ids_T, torch.tensor([-1])])
    inner = pack.place_S[:-1][pack.place_S[1:] == pack.place_S[:-1] + 1]
    assert (following[inner + 1] == pack.target_S[:-1][pack.place_S[1:] == pack.place_S[:-1] + 1]).all()


def test_a_picture_that_many_responses_show_is_encoded_once(engine, rollouts, prompts, new_group, monkeypatch):
    responses = rollouts().write(new_group(["p1", "p2"], 4), prompts, 0)
    (pack,) = response_packs(responses, prompts, 0, pack_tokens=4000)
    encoded, original = [], MoonViT.forward
    monkeypatch.setattr(MoonViT, "forward", lambda self, *picture: encoded.append(len(picture[1])) or original(self, *picture))
    token_logps(engine.model, pack, engine.allowed_A)
    assert encoded == [1 + 2] and len(pack.shown) == 4 * (1 + 2)


def test_other_pictures_than_the_engine_saw_are_refused(rollouts, prompts, new_group):
    responses = rollouts().write(new_group(["p1"], 2), prompts, 0)
    other = {"p1": replace(prompts["p1"], patches=prompts["p1"].patches * 0.5)}
    with pytest.raises(ValueError, match="a response to p1 was written to other tokens or pictures"):
        response_packs(responses, other, 0, 400)
