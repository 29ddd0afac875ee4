"""`kimivl data view` as it is typed."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from kimivl.cli import main
from tests.signals import let_ctrl_c_through

SOURCE = Path(__file__).resolve().parents[3] / "src"


@pytest.fixture
def start(tmp_path):
    """Starts the command and gives the process and the address that it prints."""
    started = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "kimivl.cli", "data", "view", *arguments, "--no-browser"]
        environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=let_ctrl_c_through,
        )  # fmt: skip
        started.append(process)
        return process, process.stdout.readline().split()[0]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_it_prints_its_address_serves_and_stops_on_ctrl_c(start, root):
    process, address = start(str(root), "--port", "0")
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=60) as reply:
        assert "3 sources in" in reply.read().decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130 and "stopped" in process.stderr.read()


def test_a_port_that_is_taken_is_named(root, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["data", "view", str(root), "--no-browser", "--port", str(port)]) == 1
    assert f"port {port} cannot be taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["{root}", "--stage", "sft"], "--stage needs --recipe"),
        (["{root}", "--recipe", "recipes/nano/recipe.yaml"], "--recipe needs --stage: text, decoder, vit"),
        (["{root}", "--recipe", "recipes/nano/recipe.yaml", "--stage", "x"], "no stage named 'x'; the stages are: text"),
        (["{root}", "--processor", "{root}"], "is no model directory"),
        (["{root}", "--port", "70000"], "--port is a number from 0 to 65535, not 70000"),
    ],
)
def test_what_is_typed_wrongly_is_one_plain_line(root, arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(SOURCE.parent)
    assert main(["data", "view", *(word.format(root=root) for word in arguments), "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
