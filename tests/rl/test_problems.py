"""Problems have a prompt that ends where the answer begins, a truth, and a difficulty; what is none is refused by name."""

import json

import pytest

from kimivl.data.source import Source
from kimivl.processor.chat import Provenance
from kimivl.rl.problems import Problems


def test_a_problem_is_read(problems):
    assert problems.truths == {"p0": "0", "p1": "1", "p2": "2", "p3": "seven"}
    assert problems.difficulties == {"p0": 0.0, "p1": 1.0, "p2": 2.0, "p3": 3.0}
    for name, pictures in zip(problems.truths, (0, 1, 2, 1)):
        prompt = problems.prompt(name)
        assert len(prompt.grids) == pictures and not (prompt.provenance == Provenance.ANSWER).any()
        tail = problems.processor.tokenizer.decode(prompt.ids[-3:].tolist())
        assert tail.startswith("<|im_assistant|>") or tail.endswith("<|im_middle|>")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "why?"}], "ends with a question of the user and the true answer"),
        ([{"role": "user", "content": "why?"}, {"role": "assistant", "content": " "}], "the true answer is empty"),
    ],
)
def test_what_is_no_problem_is_named(tmp_path, processor, messages, words):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.jsonl").write_text(json.dumps({"id": "x", "messages": messages}))
    with pytest.raises(ValueError, match=rf"train\.jsonl:1 \(id x\).*{words}"):
        Problems(Source(tmp_path, "bad"), processor)
