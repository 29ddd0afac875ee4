"""Draws `docs/images/augmentation.png`: a sample before and after each kind of augmentation, with its question and answer.

Run from the repository: `PYTHONPATH=src python scripts/augmentation_pictures.py docs/images/augmentation.png`. It needs the extra
`noise`. A cross is drawn where the answer says that the thing lies.
"""

import re
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kimivl.config.augment import AugmentConfig
from kimivl.data.augment.sample import augmented
from kimivl.data.sample import Sample
from kimivl.processor.messages import ImagePart, Message, TextPart

CELL = (300, 290)
PICTURE = (280, 180)
MINUTES = "The board met at nine. All members were there. The plan for spring was read and agreed to. The next meeting is in May."
ROWS = (
    ("scene", "as it is", AugmentConfig(), 0),
    ("scene", "mirror, margin, turn", AugmentConfig(mirror=1, margin=0.3, turn=8), 4),
    ("scene", "coordinates, paraphrase", AugmentConfig(coordinates=1, paraphrase=1), 6),
    ("page", "as it is", AugmentConfig(), 0),
    ("page", "document, paraphrase", AugmentConfig(document=1, paraphrase=1), 14),
    ("page", "document, tilt, light", AugmentConfig(document=1, tilt=0.1, light=0.3), 7),
)


def scene() -> Sample:
    """A red disc left of a blue square."""
    picture = Image.new("RGB", (240, 160), (244, 240, 228))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([40, 50, 90, 100], fill=(200, 40, 40))
    draw.rectangle([150, 70, 205, 125], fill=(50, 80, 190))
    return _sample(picture, "Point to the red disc left of the square.", "click(x=0.271, y=0.469)", {"coordinates": "unit"})


def page() -> Sample:
    """A page of text."""
    picture = Image.new("RGB", (300, 190), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((16, 12), "Minutes of the meeting", fill=(10, 10, 10), font=ImageFont.load_default(18))
    for number, line in enumerate(textwrap.wrap(MINUTES, 40)):
        draw.text((16, 44 + 22 * number), line, fill=(20, 20, 20), font=ImageFont.load_default(13))
    return _sample(picture, "Transcribe the text in the image.", "Minutes of the meeting …", {})


def _sample(picture: Image.Image, question: str, answer: str, meta: dict[str, str]) -> Sample:
    asked = Message("user", (ImagePart(picture), TextPart(question)))
    return Sample("shown", (asked, Message("assistant", (TextPart(answer),))), meta=meta)


def cell(sample: Sample, title: str, settings: AugmentConfig, key: int) -> Image.Image:
    """The augmented sample: title, picture, question, answer."""
    after = augmented(sample, settings, np.random.Generator(np.random.Philox(key))).sample
    [part] = after.images
    assert isinstance(part.image, Image.Image)
    picture = part.change.picture(part.image) if part.change else part.image.copy()
    question, answer = [part.text for part in after.parts if isinstance(part, TextPart)]
    _cross(picture, question, answer)
    picture.thumbnail(PICTURE)
    shown = Image.new("RGB", CELL, "white")
    draw = ImageDraw.Draw(shown)
    draw.text((10, 4), title, fill=(0, 90, 160), font=ImageFont.load_default(14))
    shown.paste(picture, (10, 26))
    draw.rectangle([9, 25, 10 + picture.width, 26 + picture.height], outline=(190, 190, 190))
    text = "\n".join(textwrap.wrap(question, 46) + textwrap.wrap(answer, 46))
    draw.multiline_text((10, 30 + PICTURE[1]), text, fill=(30, 30, 30), font=ImageFont.load_default(12), spacing=3)
    return shown


def _cross(picture: Image.Image, question: str, answer: str) -> None:
    """Where the answer clicks, by the format that the question asks for."""
    found = [float(number) for number in re.findall(r"=([\d.]+)", answer)]
    if not found:
        return
    whole = picture.size if "pixel" in question else (1000, 1000) if re.search("1000|thousandths", question) else (1, 1)
    x, y = (value / length * side for value, length, side in zip(found, whole, picture.size))
    draw = ImageDraw.Draw(picture)
    draw.line([x - 9, y, x + 9, y], fill="black", width=2)
    draw.line([x, y - 9, x, y + 9], fill="black", width=2)


def main(path: Path) -> None:
    samples = {"scene": scene(), "page": page()}
    strip = Image.new("RGB", (3 * CELL[0], 2 * CELL[1]), "white")
    for place, (name, title, settings, key) in enumerate(ROWS):
        strip.paste(cell(samples[name], title, settings, key), (place % 3 * CELL[0], place // 3 * CELL[1]))
    strip.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
