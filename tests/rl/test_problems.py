"""Problems have a prompt that ends where the answer begins, a truth, and a difficulty; what is none is refused by name."""

import json

import pytest

from kimivl.data.source import Source
from kimivl.processor.chat import Provenance
from kimivl.rl.problems import Problems

QUESTION, ANSWER = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}


@pytest.fixture
def read(tmp_path, processor):
    """The problems of records: `read({"id": "x", "meta": {…}}, …)`; the messages are a question and its answer unless given."""

    def read(*records) -> Problems:
        (tmp_path / "some").mkdir()
        lines = [json.dumps({"messages": [QUESTION, ANSWER]} | record) + "\n" for record in records]
        (tmp_path / "some" / "train.jsonl").write_text("".join(lines))
        return Problems(Source(tmp_path, "some"), processor)

    return read


def test_a_problem_is_read(problems):
    assert problems.truths == {"p0": "0", "p1": "1", "p2": "2", "p3": "seven"}
    assert problems.difficulties == {"p0": 1 / 8, "p1": 3 / 8, "p2": 5 / 8, "p3": 7 / 8}
    for name, pictures in zip(problems.truths, (0, 1, 2, 1)):
        prompt = problems.prompt(name)
        assert len(prompt.grids) == pictures and not (prompt.provenance == Provenance.ANSWER).any()
        tail = problems.processor.tokenizer.decode(prompt.ids[-3:].tolist())
        assert tail.startswith("<|im_assistant|>") or tail.endswith("<|im_middle|>")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"messages": [QUESTION]}, "ends with a question of the user and the true answer"),
        ({"messages": [QUESTION, ANSWER | {"content": " "}]}, "the true answer is empty"),
        ({"meta": {"answer": " "}}, "the true answer is empty"),
        ({"meta": {"answer": True}}, "meta.answer must be a text or a number, got True"),
        ({"meta": {"answer": ["7"]}}, "meta.answer must be a text or a number, got \\['7'\\]"),
        ({"meta": {"difficulty": "hard"}}, "meta.difficulty must be a number.*got 'hard'"),
        ({"meta": {"difficulty": [3]}}, "meta.difficulty must be a number.*got \\[3\\]"),
        ({"meta": {"difficulty": True}}, "meta.difficulty must be a number.*got True"),
        ({"meta": {"family": 3}}, "meta.family must be a text, got 3"),
        ({"id": "first"}, "line 1 has this id too; give every problem its own"),
    ],
)
def test_what_is_no_problem_is_named(read, record, words):
    record = {"id": "x"} | record
    with pytest.raises(ValueError, match=rf"train\.jsonl:2 \(id {record['id']}\): .*{words}"):
        read({"id": "first"}, record)


def test_a_true_answer_may_be_a_number(read):
    problems = read(*({"id": f"q{number}", "meta": {"answer": answer}} for number, answer in enumerate((7, 0.5, "07"))))
    assert problems.truths == {"q0": "7", "q1": "0.5", "q2": "07"}


def test_difficulties_are_ranks_within_the_family(read):
    """Tiles of one family, hops of another, and two that tell no family."""
    sizes = {"tiles": (3, 4, 4, 5), "hops": (10**400, 20), "": (7, 1.5)}
    records = [
        {"id": f"{family}-{number}", "meta": {"difficulty": size} | ({"family": family} if family else {})}
        for family, of in sizes.items()
        for number, size in enumerate(of)
    ]
    shares = list(read(*records).difficulties.values())
    assert shares == [1 / 8, 1 / 2, 1 / 2, 7 / 8, 3 / 4, 1 / 4, 3 / 4, 1 / 4]
