"""Responses do not depend on their company or on pauses, and survive a checkpoint."""

import json
from dataclasses import replace

import pytest

from kimivl.engine.engine import Engine
from kimivl.rl.problems import fingerprint
from kimivl.rl.rollout import Limits, NativeRollouts, Response


def test_a_paused_response_ends_as_if_it_had_been_written_in_one_go(rollouts, prompts, new_group):
    whole = rollouts(max_tokens=30).write(new_group(["p0", "p1", "p2"]), prompts, 0)
    parts, engine = new_group(["p0", "p1", "p2"]), rollouts(max_tokens=30, segment=7)
    for iteration in range(5):
        parts = engine.write(parts, prompts, iteration)
    assert [(response.ids, response.finish) for response in parts] == [(response.ids, response.finish) for response in whole]
    for response in parts:
        assert response.iterations == tuple(place // 7 for place in range(len(response.ids)))
        assert len(response.logps) == len(response.ids) and response.pictures == fingerprint(prompts[response.problem])


def test_a_response_that_is_not_finished_says_so(rollouts, prompts, new_group):
    first = rollouts(max_tokens=30, segment=7).write(new_group(["p1"], 8), prompts, 0)
    paused = [response for response in first if response.finish is None]
    assert paused and all(len(response.ids) == 7 for response in paused)


def test_a_finished_response_is_left_as_it_is(rollouts, prompts, new_group):
    done = rollouts(max_tokens=3).write(new_group(["p1"]), prompts, 0)
    assert all(response.finish for response in done)
    assert rollouts().write(done, prompts, 1) == done


def test_a_response_depends_on_its_own_name_alone(rollouts, prompts, new_group):
    together = rollouts().write(new_group(["p0", "p1", "p2", "p3"]), prompts, 0)
    alone = [rollouts().write([response], prompts, 0)[0] for response in new_group(["p0", "p1", "p2", "p3"])]
    assert [response.ids for response in together] == [response.ids for response in alone]
    assert len({response.ids for response in together}) == len(together)
    later = rollouts().write(new_group(["p0"], iteration=1), prompts, 1)
    assert {response.ids for response in later}.isdisjoint({response.ids for response in together})


def test_a_response_comes_back_from_json(rollouts, prompts, new_group):
    for response in rollouts().write(new_group(["p1"]), prompts, 0):
        assert Response.from_json(json.loads(json.dumps(response.to_json()))) == response


@pytest.mark.parametrize("change", ["pixels", "grid", "text"])
def test_a_fingerprint_tells_other_pictures_and_other_words(prompts, change):
    prompt = prompts["p1"]
    other = {
        "pixels": lambda: replace(prompt, patches=prompt.patches + 1e-3),
        "grid": lambda: replace(prompt, grids=prompt.grids[:, ::-1]),
        "text": lambda: replace(prompt, ids=prompt.ids + 1),
    }[change]()
    assert fingerprint(other) != fingerprint(prompt) == fingerprint(replace(prompt, ids=prompt.ids.copy()))


def test_the_end_of_the_context_ends_a_response_instead_of_pausing_it(engine, prompts, new_group):
    """Ten places are left behind the longest prompt; a response that were paused there could never go on."""
    names, room = ["p0", "p2"], 10
    context = max(len(prompts[name].ids) for name in names) + room
    shorter = NativeRollouts(Engine(engine.model, engine.processor, context), Limits(64, 4, context), seed=5)
    responses = new_group(names, 4)
    for iteration in range(64):
        responses = shorter.write(responses, prompts, iteration)
    assert all(response.finish for response in responses)
    cut = [response for response in responses if response.finish == "length" and len(response.ids) < 64]
    assert cut and all(len(prompts[response.problem].ids) + len(response.ids) == context for response in cut)


def test_a_prompt_that_fills_the_context_is_named(engine, prompts, new_group):
    length = len(prompts["p0"].ids)
    words = f"problem 'p0' has {length} tokens.*no room in the context of {length}: raise context, or remove the problem"
    with pytest.raises(ValueError, match=words):
        NativeRollouts(engine, Limits(8, 8, length), seed=5).write(new_group(["p0"], 1), prompts, 0)
