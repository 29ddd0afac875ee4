"""Questions are read with their truth, bad lines are named, and the form of a truth decides how answers to it are checked."""

import json

import pytest
from PIL import Image

from kimivl.curate.reason.questions import Verifiers, read_questions
from kimivl.curate.records import chat, document, image, text


def written(folder, *records) -> str:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    (folder / "q.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "q.jsonl"


def test_the_truth_is_meta_answer_or_else_the_last_answer_behind_its_thought(tmp_path):
    asked = [image("a.png"), text("how "), text("many?\u2028")]
    last = chat("b", [("first?", "1"), (asked, "◁think▷hm◁/think▷ 3 ")])
    open_chat = {"id": "c", "messages": last["messages"][:1], "meta": {"answer": 7}}
    questions = read_questions(
        written(tmp_path, chat("a", [(asked, "wrong")], {"answer": "2", "kind": "x"}), "", last, open_chat)
    )
    assert [(q.id, q.truth, len(q.asked)) for q in questions] == [("a", "2", 1), ("b", "3", 3), ("c", "7", 1)]
    assert [q.text for q in questions] == ["how many?\u2028", "how many?\u2028", "first?"]
    assert questions[1].images() == [tmp_path / "a.png"] and questions[0].meta == {"answer": "2", "kind": "x"}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([chat("a", [("q", "1")]), chat("a", [("r", "2")])], "q.jsonl:2: .*id 'a' too"),
        ([chat("a", [("q", "◁think▷not closed")])], r"q.jsonl:1 \(id a\): there is no answer.*meta.answer"),
        ([chat("a", [("q", "1")], {"answer": ["1", "2"]})], r"q.jsonl:1 .*must be a text or a number, got \['1', '2'\]"),
        ([document("a", "plain", {"answer": "1"})], "a question is a chat"),
        ([chat("a", [([image("b.png")], "1")])], "no picture .*b.png"),
        (["{"], "q.jsonl:1: not valid JSON"),
        ([""], "holds no questions"),
    ],
)
def test_what_is_no_question_is_named(tmp_path, records, said):
    with pytest.raises(ValueError, match=said):
        read_questions(written(tmp_path, *records))


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "q.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="q.jsonl: not UTF-8"):
        read_questions(tmp_path / "q.jsonl")


@pytest.mark.parametrize(
    ("truth", "name", "right", "wrong"),
    [
        ("B", "choice", "The answer is B.", "B or C"),
        ("1204", "number", "1,204", "1204 or 1205"),
        ("1/2", "number", "0.5", "2"),
        (r"\frac{1}{2}", "maths", "0.5", "2"),
        ("x^2+1", "maths", "1+x^2", "x^2"),
        ("3 8", "exact", "3 8.", "8 3"),
        ("a red circle", "exact", "A red circle", "red circle"),
    ],
)
def test_the_form_of_a_truth_decides_how_it_is_checked(truth, name, right, wrong):
    with Verifiers() as verifiers:
        found, score = verifiers.of(truth)
        assert (found, score(right, truth), score(wrong, truth)) == (name, 1.0, 0.0)
