"""Against a real server: what is sent, what is made of replies, patience with failures, and errors that name endpoint and fix."""

import base64
import io
import json
import socket

import pytest
from PIL import Image

from kimivl.curate.reason.endpoint import Endpoint, EndpointError, judge, read_verdict, thinker
from kimivl.curate.reason.questions import Question
from kimivl.curate.reason.thought import Thought
from kimivl.curate.records import chat, image, rng_for, text

REPLY = "◁think▷two and two◁/think▷4"


def question(folder, *turns, truth: str = "4") -> Question:
    return Question("q", tuple(chat("q", turns or [("two and two?", "")])["messages"][:-1]), truth, folder, {})


def tries(server, asked: Question, count: int = 3, **settings) -> list[Thought]:
    return thinker(Endpoint(server.url, "none", **settings), "sage", 0.7)(asked, count, rng_for(0, "seeds"))


def test_tries_differ_in_their_seed_alone_and_can_be_asked_again(chat_server, tmp_path):
    server = chat_server(lambda request: REPLY)
    thoughts = tries(server, question(tmp_path))
    assert [thought.text for thought in thoughts] == [REPLY] * 3 and not any(thought.cut for thought in thoughts)
    seeds = [thought.notes["seed"] for thought in thoughts]
    assert len(set(seeds)) == 3 and {request["seed"] for request in server.asked} == set(seeds)
    assert {(request["model"], request["temperature"]) for request in server.asked} == {("sage", 0.7)}
    assert {thought.notes["served_model"] for thought in thoughts} == {"sage-rev7"}
    assert [thought.notes["seed"] for thought in tries(server, question(tmp_path))] == seeds


def test_the_prompt_asks_for_the_four_behaviours_and_the_picture_is_sent_as_it_is(chat_server, tmp_path):
    Image.effect_noise((20, 10), 50).save(tmp_path / "a.jpg")
    server = chat_server(lambda request: REPLY)
    tries(server, question(tmp_path, ([image("a.jpg"), text("how many?")], "")), 1)
    system, user = server.asked[0]["messages"]
    assert system["role"] == "system" and user["role"] == "user"
    assert all(word in system["content"] for word in ("Plan", "Evaluate", "Reflect", "Explore", "◁think▷", "◁/think▷"))
    picture, words = user["content"]
    assert words == {"type": "text", "text": "how many?"} and picture["type"] == "image_url"
    head, content = picture["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64" and base64.b64decode(content) == (tmp_path / "a.jpg").read_bytes()


def test_a_picture_in_a_rare_format_is_sent_as_png(chat_server, tmp_path):
    noise = Image.effect_noise((6, 5), 50).convert("RGB")
    noise.save(tmp_path / "a.bmp")
    server = chat_server(lambda request: REPLY)
    tries(server, question(tmp_path, ([image("a.bmp")], "")), 1)
    url = server.asked[0]["messages"][1]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as sent:
        assert sent.tobytes() == noise.tobytes()


def test_a_broken_picture_is_named(chat_server, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="a.png is no picture"):
        tries(chat_server(lambda request: REPLY), question(tmp_path, ([image("a.png")], "")))


def test_earlier_turns_are_sent_without_their_thoughts_and_a_system_turn_behind_the_instruction(chat_server, tmp_path):
    server = chat_server(lambda request: REPLY)
    turns = question(tmp_path, ("one?", "◁think▷hm◁/think▷1"), ("two?", "")).asked
    tries(server, Question("q", ({"role": "system", "content": "Be brief."}, *turns), "2", tmp_path, {}), 1)
    messages = server.asked[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].endswith("\n\nBe brief.") and messages[2]["content"] == "1"


@pytest.mark.parametrize(
    ("message", "expected", "cut"),
    [
        ({"content": "4", "reasoning_content": "two and two"}, REPLY, False),
        ({"content": "\n4", "reasoning": "two and two"}, "◁think▷two and two◁/think▷\n4", False),
        ({"content": REPLY, "reasoning_content": "unseen"}, REPLY, False),
        ({"content": "◁think▷two", "finish_reason": "length"}, "◁think▷two", True),
        ({"content": None}, "", False),
    ],
)
def test_replies_become_thoughts(chat_server, tmp_path, message, expected, cut):
    [thought] = tries(chat_server(lambda request: message), question(tmp_path), 1)
    assert (thought.text, thought.cut) == (expected, cut)


def test_no_more_requests_at_once_than_allowed(chat_server, tmp_path):
    server = chat_server(lambda request: REPLY, seconds=lambda request: 0.05)
    tries(server, question(tmp_path), 12, concurrency=3)
    assert server.most == 3 and len(server.asked) == 12


def test_a_busy_endpoint_is_asked_again(chat_server, tmp_path):
    failures = [500, 429, 503]
    server = chat_server(lambda request: failures.pop() if failures else REPLY)
    assert tries(server, question(tmp_path), 1)[0].text == REPLY and len(server.asked) == 4


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (500, "answered 500 .*failure 500.*see its log"),
        (401, "answered 401 .*OPENAI_API_KEY"),
        (404, "answered 404 .*'sage'.*/v1"),
        (429, "answered 429 .*later"),
        (400, "answered 400 .*failure 400"),
        (b"<html>welcome</html>", "no chat completion.*/v1"),
    ],
)
def test_an_endpoint_that_fails_is_named_with_the_fix(chat_server, tmp_path, written, said):
    server = chat_server(lambda request: written)
    with pytest.raises(EndpointError, match=f"^{server.url} .*{said}"):
        tries(server, question(tmp_path), 1, retries=1)
    assert len(server.asked) == (2 if written in (500, 429) else 1)


def test_an_endpoint_that_is_silent_or_not_there_is_named(chat_server, tmp_path):
    slow = chat_server(lambda request: REPLY, seconds=lambda request: 2)
    with pytest.raises(EndpointError, match=f"{slow.url} gave no answer within 0.2 seconds"):
        tries(slow, question(tmp_path), 1, timeout=0.2, retries=0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=f":{port}/v1 cannot be reached .*is the server running"):
        thinker(Endpoint(f"http://127.0.0.1:{port}/v1", "none", retries=0), "sage", 1.0)(question(tmp_path), 1, rng_for(0, "x"))
    with pytest.raises(ValueError, match="'localhost:8000' is no address"):
        Endpoint("localhost:8000", "none")


def test_the_key_is_sent(chat_server, tmp_path):
    server = chat_server(lambda request: REPLY)
    thinker(Endpoint(server.url, "secret"), "sage", 1.0)(question(tmp_path), 1, rng_for(0, "x"))
    assert server.keys == ["Bearer secret"]


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        ('{"correct": true}', True),
        (' {"correct": false, "why": "two steps are missing"}\n', False),
        ('```json\n{"correct": true}\n```', True),
        ('◁think▷{"correct": false}?◁/think▷{"correct": true}', True),
        ("It is correct.", None),
        ('{"correct": "true"}', None),
        ('{"correct": 1}', None),
        ("[true]", None),
        ('{"correct": true} {"correct": false}', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_a_verdict_is_read_only_in_the_form_it_is_asked_for(written, verdict):
    assert read_verdict(written) is verdict


def test_the_judge_sees_the_pictures_of_all_turns_as_the_thinker_does(chat_server, tmp_path):
    for name in ("a.png", "b.bmp"):
        Image.effect_noise((6, 5), 50).convert("RGB").save(tmp_path / name)
    server = chat_server(lambda request: '{"correct": true}')
    asked = question(tmp_path, ([image("a.png"), text("one?")], "1"), ([image("b.bmp"), text("two?")], ""))
    tries(server, asked, 1)
    judge(Endpoint(server.url, "none"), "critic")(asked, Thought((text(REPLY),)))
    thinking, judging = (
        [part for message in request["messages"] if message["role"] == "user" for part in message["content"]]
        for request in server.asked
    )
    shown = [part for part in thinking if part["type"] == "image_url"]
    assert len(shown) == 2 and judging[:2] == shown
    assert json.loads(judging[2]["text"])["question"] == "two?" and len(judging) == 3


def test_the_judge_is_told_question_reference_and_response(chat_server, tmp_path):
    server = chat_server(lambda request: '{"correct": true}')
    asked = question(tmp_path, ([text("two and "), text("two?")], ""))
    verdict = judge(Endpoint(server.url, "none"), "critic")
    assert verdict(asked, Thought((text(REPLY),))) is True
    [request] = server.asked
    case = {"question": "two and two?", "reference": "4", "response": REPLY}
    [part] = request["messages"][1]["content"]
    assert request["model"] == "critic" and request["temperature"] == 0 and json.loads(part["text"]) == case
    server.write = lambda request: {"content": '{"correct": true}', "finish_reason": "length"}
    assert verdict(asked, Thought((text(REPLY),))) is None
