"""`metrics.jsonl` after interruptions: every step once, in order, whatever a killed process left behind."""

import json

import pytest

from kimivl.train.metrics import MetricsFile, read_metrics, steps_made


def write_steps(path, first: int, steps: range) -> None:
    file = MetricsFile(path, first)
    for step in steps:
        file.write({"step": step, "loss": 1 / (step + 1)})
    file.close()


def test_lines_are_on_disk_as_they_are_written(tmp_path):
    file = MetricsFile(tmp_path / "new" / "metrics.jsonl", 0)
    file.write({"step": 0, "loss": 0.1, "update_rms": {"experts": 0.2}})
    assert (tmp_path / "new" / "metrics.jsonl").read_text() == '{"step": 0, "loss": 0.1, "update_rms": {"experts": 0.2}}\n'
    file.close()


@pytest.mark.parametrize("resumed_at", [0, 3, 5])
def test_a_resumed_run_repeats_and_loses_no_step(tmp_path, resumed_at):
    """The first process wrote steps 0 … 4 and had its last checkpoint before step `resumed_at`."""
    path = tmp_path / "metrics.jsonl"
    write_steps(path, 0, range(5))
    again = MetricsFile(path, resumed_at)
    again.close()
    assert list(again.interrupted) == list(range(resumed_at, 5))
    assert all(line["step"] == step for step, line in again.interrupted.items())
    write_steps(path, resumed_at, range(resumed_at, 8))
    assert [line["step"] for line in read_metrics(path)] == list(range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_lines_of_interrupted_steps_are_known_until_their_steps_are_made_again_however_often_that_is_interrupted(tmp_path):
    """Steps 0 … 6 are made, the checkpoint is at 2; then one process ends at once, one in step 3, one at its checkpoint at 4."""
    path = tmp_path / "metrics.jsonl"
    write_steps(path, 0, range(7))
    lines = read_metrics(path)
    for first, made in ((2, 2), (2, 4), (4, 4)):
        file = MetricsFile(path, first)
        assert file.interrupted == {step: lines[step] for step in range(first, 7)}
        assert steps_made(path) == 7
        for step in range(first, made):
            file.write({"step": step, "loss": "made again"})
        file.close()
        assert [line["step"] for line in read_metrics(path)] == list(range(max(first, made)))
    write_steps(path, 4, range(4, 7))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"] and steps_made(path) == 7


@pytest.mark.parametrize("half", ['{"st', '{"step": 2, "loss": 0.3333333333333333}'])
def test_a_last_line_that_was_not_finished_is_dropped(tmp_path, half):
    path = tmp_path / "metrics.jsonl"
    write_steps(path, 0, range(2))
    with path.open("a") as file:
        file.write(half)
    assert [line["step"] for line in read_metrics(path)] == [0, 1]
    write_steps(path, 2, range(2, 4))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_values_survive_a_resumption_to_the_bit(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_steps(path, 0, range(7))
    before = path.read_bytes()
    MetricsFile(path, 7).close()
    assert path.read_bytes() == before


def test_a_full_disk_is_named(tmp_path):
    """Every write to /dev/full fails as it does on a full disk."""
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    file._file.close()
    file._file = open("/dev/full", "a")
    with pytest.raises(OSError, match=r"could not write .*/metrics\.jsonl: .*No space left on device. Free some space"):
        file.write({"step": 0})
    file.close()
