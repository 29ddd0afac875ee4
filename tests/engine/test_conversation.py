"""A chat's history holds what was asked and what was seen of the answer, and only that."""

import pytest
from PIL import Image

from kimivl.engine.conversation import Conversation
from kimivl.engine.engine import Engine
from kimivl.engine.sampler import Sampling
from kimivl.processor.messages import ImagePart, Message, TextPart

SAMPLING = Sampling(max_new_tokens=6, temperature=1.0)


def turn(role, *parts):
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def test_a_finished_answer_stands_in_the_history(engine):
    chat = Conversation(engine, SAMPLING)
    first = "".join(chat.ask("hello"))
    second = "".join(chat.ask("and now?"))
    assert chat.messages == [turn("user", "hello"), turn("assistant", first), turn("user", "and now?"), turn("assistant", second)]


def test_the_history_is_read_by_the_model(engine, processor):
    chat = Conversation(engine, SAMPLING)
    "".join(chat.ask("hello"))
    expected = processor.encode_chat([*chat.messages, turn("user", "next")], add_generation_prompt=True)
    assert chat.prompt("next").ids.tolist() == expected.ids.tolist()


@pytest.mark.parametrize("pieces_seen", [0, 1, 3])
def test_an_interrupted_answer_stays_as_far_as_it_was_seen(engine, pieces_seen):
    chat = Conversation(engine, Sampling(max_new_tokens=50, temperature=1.0))
    answer = chat.ask("hello")
    seen = "".join(next(answer) for _ in range(pieces_seen))
    answer.close()
    assert [message.role for message in chat.messages] == ["user", "assistant"]
    assert "".join(part.text for part in chat.messages[1].parts) == seen
    "".join(chat.ask("go on"))  # the history can be rendered


def test_pictures_go_with_the_next_question_only(engine):
    chat = Conversation(engine, SAMPLING)
    picture = ImagePart(Image.new("RGB", (16, 16)))
    chat.attach([TextPart("0.0s"), picture])
    "".join(chat.ask("what?"))
    "".join(chat.ask("sure?"))
    assert chat.messages[0] == turn("user", "0.0s", picture, "what?")
    assert chat.messages[2] == turn("user", "sure?")


def test_a_question_that_cannot_be_asked_leaves_no_trace(new_model, processor):
    chat = Conversation(Engine(new_model(max_position_embeddings=80), processor), SAMPLING)
    "".join(chat.ask("a"))
    before = list(chat.messages)
    with pytest.raises(ValueError, match="context"):
        chat.ask("word " * 100)
    assert chat.messages == before


def test_reset_forgets_everything(engine):
    chat = Conversation(engine, SAMPLING)
    "".join(chat.ask("hello"))
    chat.attach([TextPart("0.0s")])
    chat.reset()
    assert (chat.messages, chat.attached) == ([], [])


def test_a_whole_answer_tells_its_cost_and_is_what_would_be_streamed(engine):
    chat = Conversation(engine, SAMPLING)
    chat.attach([ImagePart(Image.new("RGB", (16, 24)))])
    answer = chat.answer("what?")
    assert answer["image_tokens"] == 6  # 4 × 6 patches of 4 pixels, merged 2 × 2
    assert answer["prompt_tokens"] == len(chat.prompt("what?").ids)
    assert answer["answer"] == "".join(chat.ask("what?"))
