"""A measurement is made once, and again only when what it was made from has changed."""

import pytest

from kimivl.eval.parts import Parts, fingerprint


def test_a_finished_part_is_not_measured_again(tmp_path):
    calls = []
    for _ in range(2):
        parts = Parts(tmp_path / "evaluation")  # as after a restart
        result = parts.measured("a.b", {"steps": (1, 2)}, lambda: calls.append(1) or {"score": 0.5})
        assert result == {"score": 0.5}
    assert len(calls) == 1
    assert (tmp_path / "evaluation" / "a.b.json").exists()


def test_other_inputs_are_measured(tmp_path):
    parts = Parts(tmp_path)
    assert parts.measured("a", {"model": "x"}, lambda: {"score": 1}) == {"score": 1}
    assert parts.measured("a", {"model": "y"}, lambda: {"score": 2}) == {"score": 2}
    assert parts.measured("a", {"model": "y"}, lambda: {"score": 3}) == {"score": 2}


def test_a_failed_measurement_leaves_nothing(tmp_path):
    def fail():
        raise RuntimeError("killed")

    parts = Parts(tmp_path)
    with pytest.raises(RuntimeError):
        parts.measured("a", {}, fail)
    assert list(tmp_path.iterdir()) == []
    assert parts.measured("a", {}, lambda: {"score": 1}) == {"score": 1}


def test_fingerprints_follow_names_and_content(tmp_path):
    (tmp_path / "x").mkdir()
    file = tmp_path / "x" / "weights"
    file.write_text("1")
    first = fingerprint(tmp_path / "x"), fingerprint(file)
    assert (fingerprint(tmp_path / "x"), fingerprint(file)) == first
    file.write_text("2")
    assert fingerprint(tmp_path / "x") != first[0] and fingerprint(file) != first[1]
    file.write_text("1")
    file.rename(tmp_path / "x" / "other")
    assert fingerprint(tmp_path / "x") != first[0]
    with pytest.raises(FileNotFoundError, match="weights does not exist"):
        fingerprint(file)
