"""The command line: what is typed becomes one call, errors are one plain line, and Ctrl-C stops what it should."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from kimivl.cli import main
from kimivl.config.model import ModelConfig, TextConfig, VisionConfig
from kimivl.config.recipe import load_recipe
from kimivl.engine.engine import Engine
from kimivl.engine.sampler import Sampling
from kimivl.model.atomic import replaced_folder
from kimivl.model.initialise import initialise
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import save_model
from kimivl.processor.bpe import train_ranks
from kimivl.processor.clip import clip_parts_from_file
from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer
from tests.signals import let_ctrl_c_through

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
VISION = {"patch_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24}
TEXT = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "routed_scaling_factor": 1.5, "max_position_embeddings": 200_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    """A tiny random model on disk that never closes an answer by itself."""
    model = KimiVL(ModelConfig(vision_config=VisionConfig(**VISION), text_config=TextConfig(**TEXT)))
    initialise(model, seed=0, std=0.3)
    processor = Processor(Tokenizer(train_ranks([""], 256)), ImageProcessor(patch_size=4))
    model.language_model.lm_head.weight.data[256:] = 0  # closing tokens have logit 0, and some byte always has more
    folder = tmp_path_factory.mktemp("cli") / "model"
    with replaced_folder(folder) as new:
        save_model(model, new)
        processor.save_pretrained(new)
    return folder


@pytest.fixture
def image(tmp_path) -> Path:
    Image.linear_gradient("L").resize((16, 24)).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def expected_answer(folder: Path, parts: tuple, tokens: int) -> str:
    engine = Engine.from_pretrained(folder)
    prompt = engine.processor.encode_chat([Message("user", parts)], add_generation_prompt=True)
    return engine.generate([prompt], Sampling(max_new_tokens=tokens))[0].text


def fails(capsys, *arguments: object) -> str:
    """The one line on stderr of a command that ends with exit code 1."""
    assert main([str(argument) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("kimivl: ") and "Traceback" not in output.err
    return output.err


# help and usage ---------------------------------------------------------------------------------------------------------


def test_help_comes_without_loading_torch():
    code = "import sys, kimivl.cli\ntry: kimivl.cli.main(['chat', '--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "examples:" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "r.yaml", "--nmae", "x"],
        ["eval"],
        ["report", "a", "b"],
        ["chat", "--json"],
        ["data"],
        ["data", "think"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments, capsys):
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert capsys.readouterr().err


# chat -------------------------------------------------------------------------------------------------------------------


def test_a_prompt_is_answered_and_the_command_ends(model_folder, image, capsys):
    assert main(["chat", str(model_folder), "--image", str(image), "--max-new-tokens", "5", "what is it?"]) == 0
    answer = capsys.readouterr().out
    expected = expected_answer(model_folder, (ImagePart(image), TextPart("what is it?")), 5)
    assert answer == re.sub(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]", "\ufffd", expected) + "\n"


def test_a_long_prompt_alone_is_no_path(model_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no finished run" in fails(capsys, "chat", "why?" * 1000)
    assert "no finished run" in fails(capsys, "chat", "is it either/or?")


def test_json_tells_the_costs(model_folder, image, capsys):
    options = ["--json", "--max-new-tokens", "4"]
    assert main(["chat", *options, str(model_folder), "--image", str(image), "--image", str(image), "what?"]) == 0
    answer = json.loads(capsys.readouterr().out)
    parts = (ImagePart(image), ImagePart(image), TextPart("what?"))
    assert answer["answer"] == expected_answer(model_folder, parts, 4)
    assert answer["image_tokens"] == 2 * 6  # 4 × 6 patches each, merged 2 × 2
    assert (answer["new_tokens"], answer["finish_reason"], answer["model"]) == (4, "length", str(model_folder))


def test_a_clip_is_seen_frame_by_frame(model_folder, tmp_path, capsys):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:], duration=500)
    options = ["--json", "--max-new-tokens", "4", "--clip", str(tmp_path / "x.gif")]
    assert main(["chat", str(model_folder), *options, "what moves?"]) == 0
    answer = json.loads(capsys.readouterr().out)
    parts = (*clip_parts_from_file(tmp_path / "x.gif", 16), TextPart("what moves?"))
    assert (answer["image_tokens"], answer["answer"]) == (12, expected_answer(model_folder, parts, 4))


def test_without_a_terminal_each_line_is_a_question(model_folder, image):
    lines = f"hello\n/image {image}\n/image nowhere.png\n/fly\nand this?\n\n/reset\n/quit\nnot asked\n"
    command = [sys.executable, "-m", "kimivl.cli", "chat", str(model_folder), "--max-new-tokens", "3"]
    result = subprocess.run(command, input=lines, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert "nowhere.png: there is no such file" in result.stderr and "/fly; the commands are /image" in result.stderr
    assert f"{image} goes with the next question" in result.stdout


def test_bad_input_of_chat_is_named(model_folder, image, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes(image.read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    assert "nowhere.png: there is no such file" in fails(capsys, "chat", model_folder, "hi", "--image", "nowhere.png")
    assert "cut.png: damaged or cut off" in fails(capsys, "chat", model_folder, "hi", "--image", tmp_path / "cut.png")
    assert "gone: there is no such folder" in fails(capsys, "chat", tmp_path / "gone")
    assert "empty is neither a model directory" in fails(capsys, "chat", tmp_path / "empty", "hi")
    assert "no finished run" in fails(capsys, "chat", "hi there", "--runs", tmp_path)
    assert "temperature must be" in fails(capsys, "chat", model_folder, "hi", "--temperature", "-1")
    assert "quotation marks" in fails(capsys, "chat", model_folder, "what", "is", "it")


def test_weights_of_another_model_are_named(model_folder, tmp_path, capsys):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["kv_lora_rank"] = 24
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "wrong checkpoint for the config" in fails(capsys, "chat", tmp_path, "hi")


# Ctrl-C at a real terminal ------------------------------------------------------------------------------------------------


class Terminal:
    """A command in a terminal of its own, as a user has it."""

    def __init__(self, *arguments: str):
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            let_ctrl_c_through()
            os.execve(sys.executable, [sys.executable, "-m", "kimivl.cli", *arguments], ENVIRONMENT | {"TERM": "dumb"})
        self.seen = ""

    def read_until(self, condition, again: str = "", seconds: float = 60) -> None:
        """Reads the screen until the condition holds of what was seen since the last call; types `again` every second."""
        end = time.monotonic() + seconds
        while not condition(self.seen):
            assert time.monotonic() < end, f"not seen within {seconds} s; the screen shows: {self.seen[-500:]!r}"
            if select.select([self.screen], [], [], 1.0)[0]:
                self.seen += os.read(self.screen, 65536).decode("utf-8", errors="replace")
            else:
                self.type(again)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def exit_code(self, seconds: float = 30) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise AssertionError("the command did not end")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.screen)


@pytest.fixture
def terminal(model_folder):
    chat = Terminal("chat", str(model_folder), "--max-new-tokens", "150000")
    yield chat
    chat.close()


def test_ctrl_c_stops_the_answer_and_not_the_chat(terminal):
    terminal.read_until(lambda screen: screen.endswith("> "))
    terminal.type("tell me everything\r")
    terminal.read_until(lambda screen: len(screen) > 60)  # the answer runs
    terminal.type("\x03")
    terminal.read_until(lambda screen: "[stopped]" in screen and screen.endswith("> "))
    # At the prompt it only tells how to leave. Python overlooks a signal that comes just before it waits for a key.
    terminal.read_until(lambda screen: "/quit or Ctrl-D leaves" in screen and screen.endswith("> "), again="\x03")
    terminal.type("go on\r")  # the history with the partial answer is usable
    terminal.read_until(lambda screen: len(screen) > 60)
    terminal.type("\x03")
    terminal.read_until(lambda screen: "[stopped]" in screen and screen.endswith("> "))
    terminal.type("/quit\r")
    assert terminal.exit_code() == 0


def test_ctrl_c_ends_a_single_answer_with_130(model_folder):
    command = [sys.executable, "-m", "kimivl.cli", "chat", str(model_folder), "tell me everything", "--max-new-tokens", "150000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, preexec_fn=let_ctrl_c_through, **pipes) as process:
        assert process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors.decode().strip()) == (130, "stopped")


# run, data, eval, report, bench -------------------------------------------------------------------------------------------


class FakeRun:
    def __init__(self, recipe, folder, workers=0, damaged="stop"):
        self.recipe, self.folder, self.workers, self.manifests = recipe, folder, workers, {}

    def train(self):
        sys.modules["kimivl.train.run"].calls.append(("train", self))


@pytest.fixture
def calls(monkeypatch) -> list[tuple]:
    """What the subcommands call is replaced; every call is recorded as (name, arguments…)."""
    calls: list[tuple] = []

    def record(name, result=None):
        return lambda *args, **kwargs: calls.append((name, *args, *kwargs.values())) or result

    score = {"easy": {"score": 0.5, "low": 0.4, "high": 0.6, "items": 10}}
    modules = {
        "kimivl.train.run": {"Run": FakeRun, "calls": calls},
        "kimivl.eval.summary": {"check_questions": record("check"), "measure_run": record("measure")},
        "kimivl.eval.report": {"write_report": record("report")},
        "kimivl.eval.benchmarks": {"evaluate_model": record("evaluate", score)},
        "kimivl.curate.nano": {"build_nano": record("build", {"sources": {"a": 1}})},
        "kimivl.bench.step": {"main": record("bench", 0)},
    }
    for name, members in modules.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**members))
    return calls


NANO = str(ROOT / "recipes" / "nano" / "recipe.yaml")


def test_run_trains_measures_and_reports_in_this_order(calls, capsys):
    assert main(["run", NANO, "--name", "other", "seed=7", "stages.text.steps=3"]) == 0
    assert [name for name, _ in calls] == ["check", "train", "measure", "report"]
    assert len({id(run) for _, run in calls[1:]}) == 1 and calls[0][1] == calls[1][1].recipe
    run = calls[1][1]
    assert (run.folder, run.recipe.seed, run.recipe.stage("text").steps) == (Path("runs/other"), 7, 3)
    assert "runs/other/report/index.html" in capsys.readouterr().out


def test_an_interrupted_run_says_how_to_go_on(calls, monkeypatch, capsys):
    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeRun, "train", interrupted)
    assert main(["run", NANO]) == 130
    assert capsys.readouterr().err == "\nstopped; run the same command again to resume\n"
    assert [name for name, _ in calls] == ["check"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.text.stpes=3", "did you mean 'steps'"),
        ("stages.nope.steps=3", "no item 'nope'"),
        ("seed", "must look like key.path=value"),
    ],
)
def test_a_wrong_override_is_named_before_anything_runs(calls, capsys, override, message):
    assert message in fails(capsys, "run", NANO, "--name", "x", override)
    assert calls == []


def test_a_missing_recipe_is_named(capsys):
    assert "recipe nowhere.yaml does not exist" in fails(capsys, "run", "nowhere.yaml")


def test_a_server_of_roll_outs_that_is_down_is_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "sums").mkdir()
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
    (tmp_path / "sums" / "train.jsonl").write_text(json.dumps({"id": "sum", "messages": turns}))
    rollouts = {
        "kind": "remote", "url": f"{address}/v1", "model": "m", "protocol": "chat", "update_url": f"{address}/update",
        "reset_urls": [f"{address}/reset"], "retries": 0,
    }  # fmt: skip
    stage = {
        "name": "rl", "kind": "rl", "steps": 1, "context": 64, "pack_tokens": 64, "mixture": [{"weights": {"sums": 1}}],
        "schedule": [{"steps": 1, "start": 1e-3, "end": 1e-3}],
        "rl": {"prompts": 1, "max_tokens": 4, "minibatches": 1, "rollouts": rollouts},
    }  # fmt: skip
    recipe = {
        "name": "tiny", "seed": 1, "data": str(tmp_path), "dtype": "float32", "tokenizer_ranks": 256,
        "tokenizer_sources": ["sums"], "model": {"vision_config": VISION, "text_config": TEXT}, "stages": [stage],
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["run", str(tmp_path / "recipe.yaml"), "--runs", str(tmp_path / "runs")]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kimivl: ")]
    assert line.startswith(f"kimivl: {address}/update cannot be reached") and "is the server running" in line


def test_data_build_builds_where_it_is_told(calls, capsys):
    assert main(["data", "build", "nano", "--root", "elsewhere"]) == 0
    assert calls == [("build", Path("elsewhere"), 0)]
    assert "1 sources in elsewhere" in capsys.readouterr().out


def test_eval_prints_scores_or_json(calls, model_folder, capsys):
    assert main(["eval", str(model_folder), "--recipe", NANO]) == 0
    assert re.search(r"easy +0\.5000 +0\.4000 … 0\.6000 +10 items", capsys.readouterr().out)
    name, model, recipe, answers, _ = calls[0]
    assert (name, model, recipe.name, answers) == ("evaluate", model_folder, "nano", model_folder.parent / "model.evaluation")
    assert main(["eval", str(model_folder), "--recipe", NANO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["easy"]["score"] == 0.5


def test_eval_takes_the_recipe_of_the_run_that_the_model_lies_in(calls, model_folder, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(load_recipe(NANO, ["data=elsewhere"]).model_dump_json())
    copy = tmp_path / "stages" / "sft" / "model"
    shutil.copytree(model_folder, copy)
    assert main(["eval", str(copy)]) == 0
    assert "easy" in capsys.readouterr().out
    assert (calls[0][1], calls[0][2].data) == (copy, Path("elsewhere"))
    assert "there is no recipe.json" in fails(capsys, "eval", model_folder)


def test_report_opens_the_run_as_it_was_trained(calls, tmp_path, capsys):
    recipe = load_recipe(NANO, ["seed=9"])
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    assert main(["report", str(tmp_path)]) == 0
    ((name, run),) = calls
    assert (name, run.recipe, run.folder) == ("report", recipe, tmp_path)


def test_report_of_what_is_no_run_is_an_error(calls, tmp_path, capsys):
    assert "no recipe.json" in fails(capsys, "report", tmp_path)


def test_bench_hands_its_settings_on(calls):
    assert main(["bench", "step", "--preset", "nano", "--json"]) == 0
    assert calls == [("bench", "nano", True)]
