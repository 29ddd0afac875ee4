"""`kimivl data think` against a real server: a source that training reads, resumed after a kill, with every drop counted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import kimivl
from kimivl.cli import main
from kimivl.curate.records import chat, image, text
from kimivl.curate.workshop import read_records
from kimivl.data.source import Source
from tests.signals import let_ctrl_c_through

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(kimivl.__file__).parents[1]), "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": ""}


@pytest.fixture
def questions(tmp_path) -> Path:
    """Six sums, each with a picture: what is 10 + n?"""
    folder = tmp_path / "asked"
    (folder / "images").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (16, 16), (40 * number, 0, 0)).save(folder / "images" / f"{number}.png")
    asked = [[image(f"images/{n}.png"), text(f"What is 10 + {n}?")] for n in range(6)]
    lines = [json.dumps(chat(f"sum-{n}", [(asked[n], str(10 + n))], {"level": n})) + "\n" for n in range(6)]
    (folder / "sums.jsonl").write_text("".join(lines))
    return folder / "sums.jsonl"


def asked_number(request) -> int:
    return int(re.search(r"10 \+ (\d)", json.dumps(request))[1])


def sage(request) -> str | dict:
    """Of any four seeds in a row it gets some wrong, forgets to close some thoughts, and says the same with other words."""
    number, kind = asked_number(request), request["seed"] % 4
    right = f"◁think▷plan: add. {'so ' * kind}10 + {number} = {10 + number}◁/think▷{10 + number}"
    return [right, right, {"content": "◁think▷hm", "finish_reason": "length"}, f"◁think▷add◁/think▷{11 + number}"][kind]


def command(questions: Path, server, out: Path, *more: str) -> list[str]:
    return ["data", "think", str(questions), "--endpoint", server.url, "--model", "sage", "--out", str(out), *more]


def test_what_is_kept_is_a_source_with_its_provenance(chat_server, questions, tmp_path, capsys):
    server, out = chat_server(sage), tmp_path / "data" / "sums"
    assert main(command(questions, server, out, "--json")) == 0
    counts = json.loads(capsys.readouterr().out)
    assert len(server.asked) == 48 and {request["temperature"] for request in server.asked} == {1.0}
    kinds = [request["seed"] % 4 for request in server.asked]
    assert (counts["dropped"]["cut"], counts["dropped"]["wrong"]) == (kinds.count(2), kinds.count(3))
    by_question = [[r["seed"] % 4 for r in server.asked if asked_number(r) == n] for n in range(6)]
    different = [len({kind for kind in kinds if kind < 2}) for kinds in by_question]  # two wordings are right
    assert counts["kept"] == sum(different) and sum(counts["dropped"].values()) + counts["kept"] == counts["tries"] == 48
    assert json.loads((out / "counts.json").read_text()) == counts

    source = Source(tmp_path / "data", "sums")
    assert len(source) == counts["kept"]
    for row, record in enumerate(read_records(out / "train.jsonl")):
        number, meta = int(record["meta"]["question"][-1]), record["meta"]
        parts = source[row].messages[1].parts
        assert parts[0].text.startswith("◁think▷plan: add.") and parts[0].text.endswith(f"◁/think▷{10 + number}")
        assert Image.open(source[row].images[0].image).getpixel((0, 0)) == (40 * number, 0, 0)
        assert (meta["model"], meta["served_model"], meta["verifier"], meta["judge"]) == ("sage", "sage-rev7", "number", None)
        assert meta["k"] == sum(kind < 2 for kind in by_question[number]) and meta["n"] == 8
        assert meta["seed"] in [request["seed"] for request in server.asked if asked_number(request) == number]
        assert meta["answer"] == str(10 + number) and meta["question_meta"] == {"level": number}
        assert meta["sampler"]["temperature"] == 1.0
    dropped = read_records(out / "dropped.jsonl")
    assert len(dropped) == 48 - counts["kept"] and {record["meta"]["reason"] for record in dropped} >= {"cut", "wrong"}


def test_a_killed_command_goes_on_where_it_was_and_ends_the_same(chat_server, questions, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert main(command(questions, chat_server(sage), whole, "--json")) == 0
    slow = chat_server(sage, seconds=lambda request: 60 * (asked_number(request) == 5))
    arguments = [sys.executable, "-m", "kimivl.cli", *command(questions, slow, out)]
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob(".finished/[!.]*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "train.jsonl").exists() and not (out / "counts.json").exists()

    again = chat_server(sage)
    assert main(command(questions, again, out, "--json")) == 0
    assert [asked_number(request) for request in again.asked] == [5] * 8
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file() and path.suffix != ".new"} == set(files)
    assert all((whole / path).read_bytes() == (out / path).read_bytes() for path in files)

    assert main(command(questions, again, out, "--json")) == 0 and len(again.asked) == 8
    assert capsys.readouterr().err == ""


def test_other_settings_and_new_questions_are_tried_anew(chat_server, questions, tmp_path, capsys):
    server, out = chat_server(sage), tmp_path / "out"
    assert main(command(questions, server, out)) == 0
    said = capsys.readouterr().out
    assert "of 48 thoughts kept, 6 of 6 questions solved" in said and re.search(r"wrong +\d+\n", said)
    server.asked.clear()
    with questions.open("a") as file:
        file.write(json.dumps(chat("sum-7", [("What is 10 + 7?", "17")])) + "\n")
    assert main(command(questions, server, out)) == 0 and {asked_number(request) for request in server.asked} == {7}
    server.asked.clear()
    assert main(command(questions, server, out, "--tries", "3", "--keep", "1")) == 0 and len(server.asked) == 21


def test_ctrl_c_does_not_wait_for_the_endpoint(chat_server, questions, tmp_path):
    slow = chat_server(sage, seconds=lambda request: 30)
    arguments = [sys.executable, "-m", "kimivl.cli", *command(questions, slow, tmp_path / "out")]
    process = subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=let_ctrl_c_through
    )
    deadline = time.monotonic() + 60
    while not slow.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=25)[1]
    assert process.returncode == 130 and "run the same command again to resume" in error and "Traceback" not in error


def test_the_judge_decides_about_free_text_and_a_verdict_that_cannot_be_read_keeps_nothing(chat_server, tmp_path, capsys):
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps(chat(name, [(f"What is it? ({name})", "a red circle")])) + "\n" for name in ("yes", "no", "odd"))
    )
    verdicts = {"yes": '{"correct": true}', "no": '{"correct": false}', "odd": "I think so"}

    def write(request):
        if request["model"] == "sage":
            return "◁think▷it is round◁/think▷The circle, which is red"
        return verdicts[re.search(r"\((yes|no|odd)\)", json.dumps(request))[1]]

    server, out = chat_server(write), tmp_path / "out"
    arguments = ["--tries", "2", "--json"]
    assert main(command(tmp_path / "q.jsonl", server, out, *arguments, "--judge", "critic")) == 0
    counts = json.loads(capsys.readouterr().out)
    assert {reason: n for reason, n in counts["dropped"].items() if n} == {"judged": 2, "unjudged": 2, "duplicate": 1}
    [record] = read_records(out / "train.jsonl")
    assert record["meta"]["question"] == "yes" and (record["meta"]["verifier"], record["meta"]["judge"]) == ("judge", "critic")

    assert main(command(tmp_path / "q.jsonl", server, out, *arguments)) == 1  # by rule, a phrase must be that phrase
    assert "none of 6 tries was kept (wrong: 6)" in capsys.readouterr().err
    assert not (out / "train.jsonl").exists() and len(read_records(out / "dropped.jsonl")) == 6


def test_a_failing_endpoint_is_one_line_that_names_the_question(chat_server, questions, tmp_path, capsys):
    server = chat_server(lambda request: 401 if asked_number(request) == 3 else sage(request))
    assert main(command(questions, server, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kimivl: question 'sum-3': {server.url} answered 401") and "OPENAI_API_KEY" in error
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_source_of_another_making_is_not_overwritten(chat_server, questions, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.jsonl").write_text("precious")
    server = chat_server(sage)
    assert main(command(questions, server, tmp_path / "out")) == 1
    assert "write to another folder" in capsys.readouterr().err and not server.asked
    assert (tmp_path / "out" / "train.jsonl").read_text() == "precious"


@pytest.mark.parametrize("options", [["--keep", "9"], ["--keep", "0"], ["--tries", "0"], ["--temperature", "3"]])
def test_numbers_that_make_no_sense_are_refused(chat_server, questions, tmp_path, capsys, options):
    server = chat_server(sage)
    assert main(command(questions, server, tmp_path / "out", *options)) == 1
    assert capsys.readouterr().err.startswith("kimivl: ") and not server.asked and not (tmp_path / "out").exists()
