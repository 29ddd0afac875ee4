"""Makes the pictures of docs/view.md anew: python scripts/data_view_screenshots.py docs/images

Builds a small data folder with drawn pictures, chats in English and Chinese, and a vocabulary trained on them, serves the page,
and photographs it with Chromium.
"""

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kimivl.catalog.view.context import View, pack_address, sample_address, source_address
from kimivl.catalog.view.server import ViewServer
from kimivl.catalog.view.shelf import Shelf
from kimivl.config.recipe import StageConfig
from kimivl.config.store import StoreConfig
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.bpe import train_ranks
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

COLORS = {"red": "#cf3f3f", "blue": "#3b6fc4", "green": "#3f9a56", "yellow": "#dfb233", "purple": "#8457b5"}
CHINESE = {"red": "红色", "blue": "蓝色", "green": "绿色", "yellow": "黄色", "purple": "紫色", "circle": "圆形", "square": "方形"}
RANKS = 700
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run --virtual-time-budget=8000"
)

Record = dict[str, Any]


def build(root: Path) -> Processor:
    """Sources under `root`, and a processor for them."""
    rng = np.random.default_rng(7)
    sources = {
        "places": [place(root, number, rng) for number in range(120)],
        "screens": [screen(root, number, rng) for number in range(60)],
        "notes": [note(number, rng) for number in range(400)],
    }
    for name, records in sources.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "train.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))
    texts = [json.dumps(one, ensure_ascii=False) for records in sources.values() for one in records]
    return Processor(Tokenizer(train_ranks(texts, RANKS)), ImageProcessor(patch_size=14, in_token_limit=1024))


def stage() -> StageConfig:
    return StageConfig.model_validate({
        "name": "sft", "kind": "sft", "steps": 200, "context": 1024, "packs": 4, "pack_tokens": 2048, "pack_patches": 4096,
        "schedule": [{"steps": 200, "start": 1e-3, "end": 1e-4}], "look_ahead": 8,
        "mixture": [{"weights": {"places": 0.55, "screens": 0.25, "notes": 0.2}}],
        "augment": {"places": {"mirror": 0.5, "margin": 0.2, "turn": 8, "light": 0.2}},
    })  # fmt: skip


def place(root: Path, number: int, rng: np.random.Generator) -> Record:
    """A few shapes on a ground, and where one of them lies."""
    width, height = int(rng.integers(240, 420)), int(rng.integers(200, 320))
    picture = Image.new("RGB", (width * 2, height * 2), tuple(int(v) for v in rng.integers(225, 250, 3)))
    draw, said = ImageDraw.Draw(picture), []
    colors = list(rng.permutation(list(COLORS)))
    for place_x, color in zip(rng.permutation(3), colors):
        shape, radius = str(rng.choice(["circle", "square"])), int(rng.integers(44, 80))
        x, y = int((place_x + 0.5) * width * 2 / 3 + rng.integers(-20, 20)), int(rng.integers(90, height * 2 - 90))
        (draw.ellipse if shape == "circle" else draw.rectangle)([x - radius, y - radius, x + radius, y + radius], COLORS[color])
        said.append((color, shape, x / (2 * width), y / (2 * height), radius))
    save(picture.filter(ImageFilter.GaussianBlur(0.8)).resize((width, height)), root / "places" / "images" / f"{number}.png")
    color, shape, x, y, radius = said[0]
    box = [x - radius / width / 2, y - radius / height / 2, x + radius / width / 2, y + radius / height / 2]
    if number % 2:
        ask = f"图中{CHINESE[color]}的{CHINESE[shape]}在哪里？点击它，并给出边框。"
        answer = f"{CHINESE[color]}的{CHINESE[shape]}：click(x={x:.3f}, y={y:.3f})，边框 [{', '.join(f'{v:.3f}' for v in box)}]。"
    else:
        ask = f"Where is the {color} {shape}? Click on it, and give its box."
        answer = f"The {color} {shape}: click(x={x:.3f}, y={y:.3f}), box [{', '.join(f'{v:.3f}' for v in box)}]."
    parts = [{"type": "image", "image": f"images/{number}.png"}, {"type": "text", "text": ask}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    return {
        "id": f"place-{number:04}",
        "messages": messages,
        "meta": {"coordinates": "unit", "language": "zh" if number % 2 else "en"},
    }


def screen(root: Path, number: int, rng: np.random.Generator) -> Record:
    """A window with buttons, and which one to press, in pixels."""
    width, height = 640, 400
    picture = Image.new("RGB", (width, height), "#eef1f4")
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 0, width, 34], "#38465a")
    draw.text((14, 10), "Settings", "#ffffff", font_size=14)
    names = ["Save", "Cancel", "Reset", "Help"]
    places = [(int(x), int(y)) for x, y in zip(rng.integers(60, 520, 4), 80 + 75 * rng.permutation(4))]
    for name, (x, y) in zip(names, places):
        draw.rounded_rectangle([x, y, x + 92, y + 34], 6, "#ffffff", "#8896a6")
        draw.text((x + 46, y + 17), name, "#22303f", anchor="mm", font_size=14)
    save(picture, root / "screens" / "images" / f"{number}.png")
    (x, y), name = places[number % 4], names[number % 4]
    parts = [{"type": "image", "image": f"images/{number}.png"}, {"type": "text", "text": f"Press the button {name}."}]
    answer = [
        {"type": "text", "text": f"Thought: {name} is in the window. ", "learned": False},
        {"type": "text", "text": f"click(x={x + 46}, y={y + 17})"},
    ]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    return {"id": f"screen-{number:03}", "messages": messages, "meta": {"coordinates": "pixel", "language": "en"}}


def note(number: int, rng: np.random.Generator) -> Record:
    a, b = (int(value) for value in rng.integers(2, 99, 2))
    if number % 3 == 0:
        ask, answer = f"{a} 加 {b} 等于多少？", f"{a} 加 {b} 等于 {a + b}。"
    else:
        ask = f"What is {a} + {b}?" + " Explain each step." * int(rng.integers(0, 3))
        answer = f"{a} + {b} = {a + b}." + f" Tens first, then ones: {a // 10 * 10 + b // 10 * 10} + {a % 10 + b % 10}." * int(
            rng.integers(0, 4)
        )
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"id": f"note-{number:04}", "messages": messages, "meta": {"language": "zh" if number % 3 == 0 else "en"}}


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def photograph(address: str, out: Path, width: int, height: int, dark: bool, folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium is installed; scripts/test_system_packages.sh installs it")
    shot, scheme = folder / "shot.png", ["--blink-settings=preferredColorScheme=0"] if dark else []
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *FLAGS.split(), *scheme, profile, f"--window-size={width},{height}", f"--screenshot={shot}", address]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    Image.open(shot).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--keep", type=Path, help="build the data here and keep them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        processor = build(args.keep or folder / "data")
        view = View(Shelf(args.keep or folder / "data"), NodeFetcher(StoreConfig()), processor, stage(), seed=1)
        places = view.shelf.find("places")
        assert places is not None
        shots = {
            "overview": ("", 1160, 950, False),
            "cards": (source_address(places)[1:], 1160, 980, False),
            "sample": (sample_address(places, 7, epoch=1)[1:], 1160, 860, False),
            "packs": (pack_address(3, 1)[1:], 1160, 900, True),
        }
        with ViewServer(view) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for name, (path, width, height, dark) in shots.items():
                out = args.out / f"data_view_{name}.png"
                photograph(server.address + path, out, width, height, dark, folder)
                print(f"{out}: {math.ceil(out.stat().st_size / 1000)} kB")
            server.shutdown()


if __name__ == "__main__":
    main()
