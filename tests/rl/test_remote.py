"""Roll-outs from a server: tokens in, tokens out, the trainer's probabilities, and a loud end where the server is not at them."""

import copy
import json
import socket
import sys

import pytest
import torch

from kimivl.config.base import ConfigError, parse
from kimivl.config.recipe import StageConfig
from kimivl.config.rl import RemoteRolloutsConfig, RLConfig
from kimivl.engine.engine import Engine, runs_in_circles
from kimivl.model.layout import load_model
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.rl.policy import response_packs, token_logps
from kimivl.rl.problems import fingerprint
from kimivl.rl.remote import finished, remote_rollouts
from kimivl.rl.rollout import Limits, Response
from kimivl.rl.token_client import Answer, RolloutServerError, TokenClient
from kimivl.rl.verifier import Verifier
from kimivl.train.metrics import read_metrics
from kimivl.train.policy_trainer import PolicyTrainer
from tests.rl.server import Served

PROTOCOLS = ("completions", "chat")


@pytest.fixture
def serve(policy, processor):
    """A server of a copy of the policy: `with serve("no_ids") as server`."""

    def make(*faults, fails=0, processor=processor):
        return Served(Engine(copy.deepcopy(policy), processor), set(faults), fails)

    return make


def settings_for(server: Served, **changes) -> RemoteRolloutsConfig:
    values = {
        "kind": "remote", "url": server.address("/v1"), "model": "policy", "protocol": "completions", "concurrency": 4,
        "update_url": server.address("/collective_rpc"),
        "update_body": {"method": "reload_weights", "kwargs": {"weights_path": "{folder}"}},
        "reset_urls": [server.address("/reset_prefix_cache"), server.address("/reset_encoder_cache")],
        "retries": 0, "timeout": 20,
    }  # fmt: skip
    return parse(RemoteRolloutsConfig, values | changes, "the tests' settings")


@pytest.fixture
def remote(engine, problems, tmp_path):
    """Roll-outs of the trainer's engine from a server: `remote(server, max_tokens=20, protocol="chat")`."""

    def make(server, max_tokens=30, segment=None, repeat_stop=0, **changes):
        client = TokenClient(settings_for(server, **changes), engine, "none")
        return remote_rollouts(
            client, engine, problems, Limits(max_tokens, segment or max_tokens, 512, repeat_stop), 5, tmp_path / "w"
        )

    return make


def nudge(engine: Engine, part: str, by: float) -> None:
    """Moves the weights of one part, each in its own direction."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in engine.model.named_parameters():
        if name.startswith(part):
            parameter.data += by * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_trainer_finds_the_servers_log_probabilities_with_no_one_and_two_pictures(
    serve, remote, engine, prompts, new_group, protocol
):
    with serve() as server:
        responses = remote(server, protocol=protocol).write(new_group(["p0", "p1", "p2", "p3"]), prompts, 0)
    (pack,) = response_packs(responses, prompts, 0, 4000)
    with torch.no_grad():
        gap_S = (token_logps(engine.model, pack, engine.allowed_A) - pack.behaviour_S).abs()
    assert len(gap_S) == sum(len(response.ids) for response in responses) and float(gap_S.max()) <= 1e-4
    assert len({response.ids for response in responses}) > len(responses) // 2  # each has draws of its own
    for response in responses:
        ended = response.ids[-1] in engine.stop_ids
        assert response.finish == ("stop" if ended else "length") and (ended or len(response.ids) == 30)
        assert set(response.iterations) == {0} and response.pictures == fingerprint(prompts[response.problem])


def test_a_paused_response_goes_on_with_its_own_tokens(serve, remote, prompts, new_group, engine):
    with serve() as server:
        rollouts = remote(server, segment=7)
        first = rollouts.write(new_group(["p1", "p0"], 4), prompts, 0)
        second = rollouts.write(first, prompts, 1)
    paused = [response for response in first if response.finish is None]
    assert paused and all(len(response.ids) == 7 for response in paused)
    for before, after in zip(first, second):
        assert after.ids[: len(before.ids)] == before.ids and (before.finish is None) == (after != before)
    (pack,) = response_packs(second, prompts, 1, 4000)
    with torch.no_grad():
        assert float((token_logps(engine.model, pack, engine.allowed_A) - pack.behaviour_S).abs().max()) <= 1e-4


def test_what_is_asked_for_leaves_the_distribution_alone(serve, remote, prompts, new_group, engine):
    with serve() as server:
        remote(server).write(new_group(["p2"], 2), prompts, 0)
    body = server.bodies[-1]
    assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1, 1, -1, 0, 1)
    pad = engine.processor.tokenizer.media_pad_id
    assert body["prompt"].count(pad) == 2 == len(body["multi_modal_data"]["image"]) < prompts["p2"].ids.tolist().count(pad)
    biased = {int(id) for id in body["logit_bias"]}
    assert biased.isdisjoint(engine.allowed_A.tolist()) and len(biased) + len(engine.allowed_A) == 300 + 256
    assert set(body["stop_token_ids"]) == engine.stop_ids


def test_every_iteration_publishes_resets_and_looks_before_it_writes(serve, remote, engine, prompts, new_group, tmp_path):
    with serve() as server:
        rollouts = remote(server)
        rollouts.write(new_group(["p1"], 2), prompts, 0)
        nudge(engine, "language_model.", 0.05)
        rollouts.write(new_group(["p1"], 2, iteration=1), prompts, 1)
    once = ["/collective_rpc", "/reset_prefix_cache", "/reset_encoder_cache", *["/v1/completions"] * 3]
    assert server.paths == once * 2
    published = load_model(tmp_path / "w")
    for name, value in engine.model.state_dict().items():
        assert torch.equal(published.state_dict()[name], value) and torch.equal(server.engine.model.state_dict()[name], value)
    assert Processor.from_pretrained(tmp_path / "w").image_processor == engine.processor.image_processor


@pytest.mark.parametrize(("by", "words"), [(0.3, "nats per token off the trainer's"), (1e-3, "bit by bit as before the update")])
def test_a_server_that_ignores_an_update_is_found_out_after_a_large_and_a_small_one(
    serve, remote, engine, prompts, new_group, by, words
):
    with serve("keeps_weights") as server:
        rollouts = remote(server)
        rollouts.write(new_group(["p1"], 2), prompts, 0)  # the server began with these weights
        nudge(engine, "language_model.", by)
        with pytest.raises(RolloutServerError, match=f"{server.address()}.*{words}"):
            rollouts.write(new_group(["p1"], 2, iteration=1), prompts, 1)


@pytest.mark.parametrize("by", [1.0, 0.02])
def test_features_of_pictures_that_outlive_an_update_are_found_out(serve, remote, engine, prompts, new_group, by):
    with serve("keeps_features") as server:
        rollouts = remote(server)
        rollouts.write(new_group(["p1"], 2), prompts, 0)
        nudge(engine, "vision_tower.", by)
        with pytest.raises(RolloutServerError, match="reset_urls clear"):
            rollouts.write(new_group(["p1"], 2, iteration=1), prompts, 1)
    with serve() as server:  # the same with a cache that is cleared
        rollouts = remote(server)
        rollouts.write(new_group(["p1"], 2), prompts, 0)
        nudge(engine, "vision_tower.", by)
        rollouts.write(new_group(["p1"], 2, iteration=1), prompts, 1)


def test_weights_that_did_not_move_are_no_fault(serve, remote, prompts, new_group):
    with serve() as server:
        rollouts = remote(server)
        for iteration in range(2):
            rollouts.write(new_group(["p0"], 1, iteration), prompts, iteration)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no_ids", "no token ids: it must support return_token_ids"),
        ("no_logprobs", "no log-probabilities.*must support logprobs"),
        ("no_usage", "read None prompt tokens where the trainer has"),
        ("other_prompt", "read other prompt tokens than the trainer has.*at place 3"),
        ("special_token", "must support logit_bias"),
        ("goes_on", "must support stop_token_ids"),
    ],
)
def test_a_server_that_training_cannot_trust_is_told_what_it_must_do(serve, remote, prompts, new_group, protocol, fault, words):
    with serve(fault) as server, pytest.raises(RolloutServerError, match=f"{server.address()}.*{words}"):
        remote(server, protocol=protocol).write(new_group(["p1"]), prompts, 0)


def test_an_answer_without_its_closing_token_is_refused(serve, remote, prompts, new_group):
    with serve("drops_end") as server, pytest.raises(RolloutServerError, match="without the token that closes it"):
        remote(server, max_tokens=200, canary_tokens=1).write(new_group(["p0"], 8), prompts, 0)


def test_ids_may_come_as_the_texts_of_tokens(serve, remote, prompts, new_group):
    with serve() as plain, serve("id_tokens") as other:
        answers = [remote(server, protocol="chat").write(new_group(["p1"]), prompts, 0) for server in (plain, other)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("limit", "words"), [(1, r"read \d+ prompt tokens.*preprocessor_config"), (4, "reads pictures otherwise")]
)
def test_another_preprocessing_of_pictures_is_found_by_token_count_or_canary(
    serve, remote, prompts, new_group, processor, protocol, limit, words
):
    """p1 shows 2 × 4 patches, 2 tokens. A budget of 1 patch leaves one token; one of 4 leaves two, of a smaller picture."""
    small = Processor(processor.tokenizer, ImageProcessor(patch_size=4, in_token_limit=limit))
    with serve(processor=small) as server, pytest.raises(RolloutServerError, match=words):
        remote(server, protocol=protocol).write(new_group(["p1"]), prompts, 0)


def test_a_server_that_reads_ids_and_ignores_pictures_is_refused(serve, remote, prompts, new_group):
    with serve("ignores_pictures") as server, pytest.raises(RolloutServerError, match="must take pictures beside token ids"):
        remote(server).write(new_group(["p1"]), prompts, 0)


def test_a_server_that_is_down_is_named(serve, remote, prompts, new_group):
    with serve() as server:
        rollouts = remote(server)
    words = f"{server.address('/collective_rpc')} cannot be reached .*is the server running"
    with pytest.raises(RolloutServerError, match=words):
        rollouts.write(new_group(["p0"]), prompts, 0)


def test_a_server_that_says_nothing_is_given_up(remote, prompts, new_group):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rollouts = remote(Deaf(silent.getsockname()[1]), timeout=0.2)
        with pytest.raises(RolloutServerError, match="gave no answer within 0.2 seconds: raise timeout"):
            rollouts.write(new_group(["p0"]), prompts, 0)


class Deaf:
    """The address of something that takes connections and never answers."""

    def __init__(self, port: int):
        self.port = port

    def address(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def test_a_busy_server_is_asked_again_and_an_unknown_address_is_not(serve, remote, prompts, new_group):
    with serve(fails=1) as server:
        remote(server, retries=1).write(new_group(["p0"], 1), prompts, 0)
        assert server.paths[:2] == ["/collective_rpc"] * 2
    with serve() as server, pytest.raises(RolloutServerError, match=r"/nothing answered 404"):
        remote(server, retries=1, reset_urls=[server.address("/nothing")]).write(new_group(["p0"], 1), prompts, 0)


def test_no_more_requests_run_at_once_than_are_allowed(serve, remote, prompts, new_group):
    with serve() as server:
        remote(server, concurrency=3).write(new_group(["p0", "p1"], 8), prompts, 0)
    assert 1 < server.most_at_once <= 3


def test_answers_in_circles_are_cut_where_our_engine_cuts_them(prompts):
    """Looked at after every 16 tokens of the response: 3 tokens are there, 13 more complete the first 16."""
    response, limits = Response("p", 0, 0, (7, 1, 2), (0.0,) * 3, (0,) * 3), Limits(64, 64, 512, repeat_stop=12)
    answer = Answer((1, 2) * 20, tuple(float(-place) for place in range(40)), ended=False)
    cut = finished(response, answer, limits, 1, prompts["p0"])
    assert cut.finish == "repeat" and cut.ids == (7, 1, 2, *(1, 2) * 6, 1) and cut.iterations == (0,) * 3 + (1,) * 13
    assert finished(response, answer, Limits(64, 64, 512), 1, prompts["p0"]).finish is None
    assert finished(response, answer, Limits(43, 64, 512), 1, prompts["p0"]).finish == "length"
    full = Limits(64, 64, len(prompts["p0"].ids) + 43)
    assert finished(response, answer, full, 1, prompts["p0"]).finish == "length"


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("start", [0, 3, 15, 16, 40])
def test_the_cut_is_the_first_that_our_engine_makes(prompts, start, ended):
    """Whatever is written already, and wherever the circle begins: a closing token goes before a cut at the same place."""
    limits = Limits(4096, 4096, 8192, repeat_stop=20)
    for straight in range(0, 40, 3):
        for length in (44, 45, 46, 47, 48, 64):
            ids = (*range(100, 100 + straight), *((1, 2) * 40))[: start + length]
            response = Response("p", 0, 0, ids[:start], (0.0,) * start, (0,) * start)
            answer = Answer(ids[start:], (-1.0,) * (len(ids) - start), ended)
            written = [end for end in range(start + 1, len(ids) + (not ended)) if runs_in_circles(ids[:end], 20)]
            cut = finished(response, answer, limits, 1, prompts["p0"])
            assert (cut.ids, cut.finish) == ((ids[: written[0]], "repeat") if written else (ids, "stop" if ended else None))


@pytest.mark.parametrize(("repeat_stop", "most"), [(0, 5), (64, 5)])
def test_a_long_answer_is_not_copied_at_every_token(prompts, repeat_stop, most):
    ids = Counted(range(3000))
    finished(Response("p", 0, 0), Answer(ids, (0.0,) * 3000, False), Limits(4096, 4096, 8192, repeat_stop), 0, prompts["p0"])
    assert 0 < ids.copies <= most


class Counted(tuple):
    """Tokens that count how often they, or a part of them, are copied."""

    copies = 0

    def __getitem__(self, place):
        self.copies += 1
        return super().__getitem__(place)

    def __iter__(self):
        self.copies += 1
        return super().__iter__()


def test_a_chat_cannot_pause(serve):
    with serve() as server:
        chat = settings_for(server, protocol="chat").model_dump()
    with pytest.raises(ConfigError, match="a chat cannot go on.*leave out segment"):
        parse(RLConfig, {"prompts": 4, "max_tokens": 20, "segment": 5, "rollouts": chat}, "here")


def test_a_missing_openai_says_what_to_install(serve, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with serve() as server, pytest.raises(ValueError, match=r"pip install 'kimivl\[endpoint\]'"):
        TokenClient(settings_for(server), engine, "none")


def test_a_policy_is_trained_through_a_server(serve, remote, engine, problems, tmp_path):
    """Two iterations; the server follows the weights, and what it drew is what the trainer expects."""
    phase = {"steps": 2, "start": 1e-2, "end": 1e-2}
    with serve() as server:
        rl = {"prompts": 4, "samples": 4, "max_tokens": 20, "minibatches": 2, "rollouts": settings_for(server).model_dump()}
        values = {"name": "rl", "kind": "rl", "steps": 2, "context": 200, "pack_tokens": 400, "schedule": [phase], "rl": rl}
        stage = parse(StageConfig, values | {"mixture": [{"weights": {"problems": 1}}]}, "the tests' stage")
        before = copy.deepcopy(server.engine.model.state_dict())
        with Verifier("exact") as verifier:
            verifier.right = lambda texts, truth: [bool(len(text) % 2) for text in texts]  # what a random policy meets
            rollouts = remote(server, max_tokens=20)
            PolicyTrainer(stage, engine, problems, rollouts, verifier, tmp_path / "stage", seed=3).run()
    lines = read_metrics(tmp_path / "stage" / "metrics.jsonl")
    assert len(lines) == 2 and any(line["advantage_size"] > 0 for line in lines)
    for line in lines:
        assert line["engine_gap"] <= 1e-4 and line["ratio_mean"] == pytest.approx(1, abs=1e-3) and line["ratio_capped"] == 0
    assert any(not torch.equal(before[name], value) for name, value in server.engine.model.state_dict().items())
    assert json.loads((tmp_path / "stage" / "responses.jsonl").read_text().splitlines()[1])["responses"]
