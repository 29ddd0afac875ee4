"""Lengths that are counted once: equal to what is rendered, and forgotten when the source or the vocabulary is another."""

import json
import os

import numpy as np
import pytest

from kimivl.cli import main
from kimivl.data.lengths import all_lengths, counted, length_of, lengths_of, measure_lengths
from kimivl.data.pieces import outline
from kimivl.data.source import Source
from kimivl.processor.bpe import train_ranks
from kimivl.processor.tokenizer import Tokenizer


@pytest.fixture
def source(write, paint):
    pictures = [paint("mixed", f"{number}.png", (8 * number, 16)) for number in (1, 2, 3)]
    question = {"role": "user", "content": [*pictures[:2], {"type": "text", "text": "Which is wider?"}]}
    chat = {"messages": [question, {"role": "assistant", "content": "the second"}]}
    document = {"content": [{"type": "text", "text": "before"}, pictures[2], {"type": "text", "text": "behind"}]}
    return write("mixed", [chat, document, {"content": "plain"}])


def test_a_table_holds_what_rendering_gives(source, processor):
    """The three samples have 2·(2·4), 2·6 … patches: four patches are a token, which is not counted here."""
    measure_lengths(source, processor.tokenizer)
    table = lengths_of(source, processor.tokenizer)
    for row in range(3):
        whole = outline(source[row], processor)
        image_tokens = int(whole.grids.prod(1).sum()) // 4
        assert table[row]["tokens"] == len(whole.ids) - image_tokens == length_of(source[row], processor.tokenizer).tokens
        assert tuple(table[row]) == counted(whole.ids, whole.supervised, whole.provenance)
    assert table[2]["tokens"] == len("plain") + 1  # bytes and [EOS]
    assert len(set(table["fingerprint"])) == 3


def test_the_fingerprint_tells_texts_and_masks_apart_and_pictures_not(processor):
    ids, learned, kinds = np.arange(4), np.array([0, 1, 1, 0], bool), np.array([0, 5, 6, 6], np.uint8)
    first = counted(ids, learned, kinds)
    assert counted(np.array([0, 1, 2, 4]), learned, kinds).fingerprint != first.fingerprint
    assert counted(ids, ~learned, kinds).fingerprint != first.fingerprint
    assert counted(np.array([0, 9, 2, 3]), learned, kinds) == first and first.tokens == 3


def test_a_table_is_of_one_state_of_the_source_and_one_vocabulary(source, processor):
    assert lengths_of(source, processor.tokenizer) is None
    measure_lengths(source, processor.tokenizer)
    assert lengths_of(source, processor.tokenizer) is not None
    assert lengths_of(source, Tokenizer(train_ranks(["abab"], 257))) is None
    with source.path.open("a") as file:
        file.write(json.dumps({"id": "new", "content": "text"}) + "\n")
    changed = Source(source.path.parent.parent, "mixed")
    assert len(changed) == 4 and lengths_of(changed, processor.tokenizer) is None
    os.utime(changed.path, ns=(0, 0))
    assert lengths_of(Source(source.path.parent.parent, "mixed"), processor.tokenizer) is None


def test_tables_say_whose_tokens_they_are(source, processor):
    other = Tokenizer(train_ranks(["abab"], 257))
    measure_lengths(source, processor.tokenizer, called="runs/a/processor")
    measure_lengths(source, other)
    found = {each.tokenizer: each for each in all_lengths(source.path, source.records.identity)}
    assert set(found) == {processor.tokenizer.digest, other.digest}
    first = found[processor.tokenizer.digest]
    assert first.tokens_N.tolist() == lengths_of(source, processor.tokenizer)["tokens"].tolist()
    assert first.name == f"runs/a/processor ({processor.tokenizer.vocab_size:,} tokens, digest {first.tokenizer[:8]})"
    assert all_lengths(source.path, "another state of the source") == []


def test_a_row_that_cannot_be_rendered_is_named_and_no_table_is_left(write, processor):
    source = write("tried", [{"content": [{"type": "text", "text": "a", "ids": [98]}]}])
    with pytest.raises(ValueError, match="sample tried-0 of .*train.jsonl: the ids of the text 'a'"):
        measure_lengths(source, processor.tokenizer)
    assert not source.path.with_suffix(".lengths").exists()


def test_the_command_counts_a_source_and_says_where(source, processor, tmp_path, capsys):
    processor.save_pretrained(tmp_path / "processor")
    assert main(["data", "lengths", str(source.path.parent), "--processor", str(tmp_path / "processor")]) == 0
    (table,) = (source.path.parent / "train.lengths").glob("*.npy")
    assert f"lengths: {table}" in capsys.readouterr().out and len(lengths_of(source, processor.tokenizer)) == 3
    assert main(["data", "lengths", str(tmp_path / "nothing"), "--processor", str(tmp_path / "processor")]) == 1
    assert "data source 'nothing' has no file" in capsys.readouterr().err
