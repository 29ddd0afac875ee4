"""Test questions with their pictures and the model's answers, for the report.

What it is: `choose`, which picks answers by a fixed rule, and `card`, one of them as HTML with its pictures inside.
What it is not: a selection of the best; the rule looks at the order of the test file and at right or wrong, nothing else.
"""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from kimivl.processor.image import load_rgb
from kimivl.score.pointing import parse_point

FIRST, WRONG = 4, 2  # answers shown of each set: the first ones, and the first wrong ones after them
RULE = f"The first {FIRST} questions of each test file with different pictures, then the next {WRONG} that went wrong."
LONGEST_SIDE = 320  # pixels; larger pictures are shrunk, so that the page stays small
ZOOM_BELOW = 128  # pixels; smaller pictures are enlarged with visible pixels

Answer = dict[str, Any]  # a line of `<key>.jsonl`


def read_answers(path: Path) -> list[Answer]:
    """The lines that an evaluation kept; none if it kept no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def is_right(answer: Answer, metric: str) -> bool:
    """Whether an answer is perfect: no edit for texts that were read, a hit for all else."""
    return bool(answer["score"] == (0 if metric == "character_error_rate" else 1))


def choose(answers: Sequence[Answer], metric: str) -> list[Answer]:
    """The answers that `RULE` describes, each with pictures that no other one shows."""
    first_of_each = {tuple(answer["images"]): answer for answer in reversed(answers)}
    different = list(first_of_each.values())[::-1]
    shown, rest = different[:FIRST], different[FIRST:]
    return shown + [answer for answer in rest if not is_right(answer, metric)][:WRONG]


def card(answer: Answer, metric: str, root: Path) -> str:
    """A `<figure>`: pictures, question, answer, and the truth where it differs."""
    right = is_right(answer, metric)
    pictures = "".join(_picture(root / name, answer) for name in answer["images"])
    said = escape(answer["prediction"]) or "<i>nothing</i>"
    truth = "" if right or "outline" in answer else f'<div class="truth">truth: {escape(answer["truth"])}</div>'
    mark = '<span class="mark yes" title="right">✓</span>' if right else '<span class="mark no" title="wrong">✗</span>'
    asked = f'<div class="asked">{escape(answer["question"])}</div>'
    words = f'<figcaption>{asked}<div class="said">{mark} {said}</div>{truth}</figcaption>'
    kind = "sample long" if len(answer["images"]) > 1 else "sample"
    return f'<figure class="{kind}"><div class="frames">{pictures}</div>{words}</figure>'


def _picture(path: Path, answer: Answer) -> str:
    image = load_rgb(path)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    width, height = image.size
    zoomed = ' class="zoomed"' if max(image.size) < ZOOM_BELOW else ""
    picture = f'<image href="{data_uri(image)}" width="{width}" height="{height}"{zoomed}/>'
    marks = _pointing(answer, width, height) if "outline" in answer else ""
    return f'<svg class="shot" viewBox="0 0 {width} {height}" role="img" aria-label="test picture">{picture}{marks}</svg>'


def _pointing(answer: Answer, width: int, height: int) -> str:
    """The true outline, and a cross where the model pointed."""
    corners = " ".join(f"{x * width:.1f},{y * height:.1f}" for x, y in answer["outline"])
    marks = f'<polygon class="true-outline" points="{corners}"/>'
    if point := parse_point(answer["prediction"]):
        x, y, arm = point[0] * width, point[1] * height, 0.06 * max(width, height)
        cross = f"M{x - arm:.1f} {y:.1f}H{x + arm:.1f}M{x:.1f} {y - arm:.1f}V{y + arm:.1f}"
        marks += f'<path class="halo" d="{cross}"/><path class="pointed" d="{cross}"/>'
    return marks


def data_uri(image: Image.Image) -> str:
    """The picture as a PNG inside an address."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
