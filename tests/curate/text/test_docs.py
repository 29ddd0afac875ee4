"""Whole files are held out, and nothing of them comes back through a copy elsewhere."""

import pytest

from kimivl.curate.text import docs
from kimivl.curate.text.prose import shingle_hashes

SENTENCE = "This sentence describes what the function {} does with the values that it is given by the caller of {}."


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package of 300 files that all share a paragraph, each with a function described by the first words of the next file."""
    shared = "All of these files end with the very same words, which is what a licence header would look like in real packages."
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        '"""' + "A test file must not be read at all, as it is no documentation of the package. " * 4 + '"""'
    )

    def words_of(i):
        return [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}{chr(97 + j)}" for j in range(6)]

    for i in range(300):
        words, borrowed = words_of(i), words_of(i + 1)[0]
        body = "\n\n".join(SENTENCE.format(w, w[::-1]) for w in words)
        (tmp_path / f"m{i}.py").write_text(
            f'"""{body}\n\n{shared}\n"""\n\ndef function_{i}():\n    """{SENTENCE.format(borrowed, borrowed[::-1])}"""\n'
        )
    (tmp_path / "bad.py").write_text('"""\n' + "x" * 200 + '\n"""\ndef (')
    (tmp_path / "latin.py").write_bytes(b'"""\xe9' + b"x" * 300 + b'"""')
    monkeypatch.setattr(docs, "_root", lambda package: tmp_path)
    monkeypatch.setattr(docs, "BUDGETS", {"toy": 10_000_000})
    return docs.read_library(0, scale=0.999)


def test_files_are_on_one_side_only(library):
    train, test = ({item.origin for item in side} for side in (library.train, library.test))
    assert not train & test
    assert len(train) > 200 and len(test) >= 3
    assert not any("tests/" in origin for origin in train | test)


def test_no_paragraph_is_on_both_sides_or_twice(library):
    lines = [line for item in library.train + library.test for line in item.text.split("\n")]
    assert len(lines) == len(set(lines))
    seen = set().union(*(shingle_hashes(line) for item in library.test for line in item.text.split("\n")))
    for item in library.train:
        for line in item.text.split("\n"):
            shingles = shingle_hashes(line)
            assert len(shingles & seen) <= 0.5 * len(shingles)


def test_no_summary_repeats_a_held_out_sentence(library):
    seen = set().union(*(shingle_hashes(line) for item in library.test for line in item.text.split("\n")))
    described = [sentence for name, sentence in library.summaries if ".function_" in name]
    assert len(described) > 150
    for sentence in described:
        shingles = shingle_hashes(sentence)
        assert len(shingles & seen) <= 0.5 * len(shingles)


def test_documents_have_a_readable_size(library):
    assert all(200 <= len(item.text) <= 4000 + 200 for item in library.train + library.test)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(docs, "BUDGETS", {"no_such_package": 1000})
    with pytest.raises(ValueError, match="no_such_package.*pip install"):
        docs.read_library(0)
