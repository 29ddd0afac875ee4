"""Changes of a stage's data while it runs: from which step on they hold, and what a log must not be."""

import hashlib
import json

import pytest

from kimivl.data.log import DataLog, Entry, Exclusion, Inclusion, digest_of, exclusions_of, weights_of


def test_what_was_appended_last_holds_from_its_step_on(tmp_path):
    log = DataLog(tmp_path / "stage" / "data_log.jsonl")
    assert weights_of(log.until(0)) is None and digest_of(log.until(100)) == "" and exclusions_of(log.until(9)) == {}
    log.append(Entry(step=5, weights={"a": 3, "b": 1, "c": 0}))
    log.append(Entry(step=8, weights={"b": 2}))
    log.append(Entry(step=8, excluded=Exclusion(source="a", id="a-1", versions=("x",), reason="torn")))
    assert [weights_of(log.until(step)) for step in (4, 5, 7, 8, 99)] == [None, *[{"a": 0.75, "b": 0.25}] * 2, *[{"b": 1.0}] * 2]
    assert exclusions_of(log.until(7)) == {} and list(exclusions_of(log.until(8))) == [("a", "a-1")]
    assert len({digest_of(log.until(step)) for step in (4, 5, 6, 7, 8, 9)}) == 3


def test_another_process_sees_what_was_appended_and_the_file_is_plain_json(tmp_path):
    path = tmp_path / "data_log.jsonl"
    writer, reader = DataLog(path), DataLog(path)
    assert weights_of(reader.until(3)) is None
    writer.append(Entry(step=3, weights={"ä": 1}))
    assert weights_of(reader.until(3)) == {"ä": 1.0} and digest_of(reader.until(3)) == digest_of(writer.until(3))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 3, "weights": {"ä": 1.0}}]
    with path.open("a") as file:
        file.write('{"step": 4, "weights": {"b')  # still being written
    assert weights_of(reader.until(9)) == {"ä": 1.0}


def test_what_was_left_out_is_taken_in_again_from_its_step_on_and_may_be_left_out_once_more(tmp_path):
    log, excluded = DataLog(tmp_path / "data_log.jsonl"), Exclusion(source="a", id="a-1")
    for step, change in (
        (2, {"excluded": excluded}),
        (5, {"included": Inclusion(source="a", id="a-1")}),
        (7, {"excluded": excluded}),
    ):
        log.append(Entry(step=step, **change))
    log.append(Entry(step=9, included=Inclusion(source="b", id="a-1")))
    assert [len(exclusions_of(log.until(step))) for step in (1, 2, 4, 5, 6, 7, 9)] == [0, 1, 1, 0, 0, 1, 1]


def test_digests_are_of_what_stands_in_the_file(tmp_path):
    """BLAKE2b of the lines as a person would write them, so that an older log has the same one whatever entries gain later."""
    log = DataLog(tmp_path / "data_log.jsonl")
    log.append(Entry(step=0, weights={"a": 2}))
    log.append(Entry(step=3, excluded=Exclusion(source="a", id="7")))
    lines = b'{"step":0,"weights":{"a":2.0}}\n{"step":3,"excluded":{"source":"a","id":"7"}}'
    assert digest_of(log.until(9)) == hashlib.blake2b(lines, digest_size=8).hexdigest()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "data_log.jsonl:2: not an entry of a data log"),
        ("[]", "step: this key is missing"),
        ('{"step": 1}', "either weights, excluded or included"),
        ('{"step": 1, "weights": {"a": 0}}', "at least one source needs a weight above 0"),
        ('{"step": -1, "weights": {"a": 1}}', "step: .* greater than or equal to 0"),
        ('{"step": 1, "weigths": {"a": 1}}', "did you mean 'weights'"),
        ('{"step": 1, "weights": {"a": 1}, "excluded": {"source": "a", "id": "1"}}', "either weights, excluded or included"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path, line, words):
    path = tmp_path / "data_log.jsonl"
    path.write_text('{"step": 0, "weights": {"a": 1}}\n' + line + "\n")
    with pytest.raises(ValueError, match=words):
        DataLog(path).until(0)


def test_a_log_without_a_file_takes_nothing():
    with pytest.raises(ValueError, match="no file"):
        DataLog().append(Entry(step=0, weights={"a": 1}))
