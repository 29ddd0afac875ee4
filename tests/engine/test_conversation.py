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
    chat.attach([ImagePart(Image.new("RGB", (80, 80)))])  # 100 tokens
    with pytest.raises(ValueError, match="context"):
        chat.ask("what?")
    assert chat.messages == before and chat.attached == []
    assert "".join(chat.ask("b")) is not None  # the next one can be asked


def test_a_picture_that_no_question_could_show_is_refused_when_it_is_attached(engine):
    chat = Conversation(engine, SAMPLING)
    with pytest.raises(ValueError, match="must stay below 512"):
        chat.attach([TextPart("0.0s"), ImagePart(Image.new("RGB", (4, 4 * 512)))])
    assert chat.attached == []


def test_a_clip_takes_about_half_of_the_context_at_most(engine):
    """16 frames of 50 × 50 patches would take 10,000 tokens; the context of 512 leaves 16 for each, which are 64 patches."""
    chat = Conversation(engine, SAMPLING)
    frame = ImagePart(Image.new("RGB", (200, 200)))
    chat.attach_clip([part for place in range(16) for part in (TextPart(f"{place}.0s"), frame)])
    assert [part.image.size for part in chat.attached if isinstance(part, ImagePart)] == [(32, 32)] * 16
    assert [part.text for part in chat.attached if isinstance(part, TextPart)][-1] == "15.0s"
    small = ImagePart(Image.new("RGB", (16, 24)))
    chat.attach_clip([small])
    assert chat.attached[-1].image.size == (16, 24)


def test_the_same_question_again_is_drawn_anew_and_the_whole_talk_repeats_by_its_seed(engine):
    def talk(seed):
        chat = Conversation(engine, Sampling(max_new_tokens=12, temperature=1.0, seed=seed))
        answers = []
        for _ in range(2):
            answers.append("".join(chat.ask("hello")))
            chat.reset()
        return answers

    first = talk(5)
    assert first[0] != first[1]
    assert talk(5) == first and talk(70) != first


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
