"""Crops of the photographs that scikit-image and scikit-learn ship, captioned with what the photograph shows.

What it is: `build`, which writes `photos` (documents: crop, caption; test: chat) and `photos_chat`.
What it is not: a photo collection; some twenty pictures give texture and colour that drawings lack, no variety of subjects.
Facts: only files inside the two wheels are used (nothing is downloaded). Test crops come from the right-hand quarter,
training crops from the left 72 percent, so that no pixel is on both sides; tested are the pictures (`TESTED`) whose
right-hand quarter shows the subject as the rest does.
"""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from kimivl.curate.records import Record, chat, document, image, text
from kimivl.curate.workshop import Workshop

SOURCES = ("photos", "photos_chat")
CROPS, TEST_CROPS = 1600, 100
TRAIN_RIGHT, TEST_LEFT = 0.72, 0.75
SIDES = (48, 64, 80, 96, 112, 128)
PHOTOS = {  # file inside the package -> what it shows
    "skimage/data/astronaut.png": "an astronaut in an orange suit",
    "skimage/data/brick.png": "a brick wall",
    "skimage/data/camera.png": "a man with a camera on a tripod",
    "skimage/data/cell.png": "a cell under a microscope",
    "skimage/data/chelsea.png": "a cat",
    "skimage/data/coffee.png": "a cup of coffee",
    "skimage/data/coins.png": "old coins",
    "skimage/data/grass.png": "grass",
    "skimage/data/gravel.png": "gravel",
    "skimage/data/horse.png": "the outline of a horse",
    "skimage/data/hubble_deep_field.jpg": "galaxies in the night sky",
    "skimage/data/ihc.png": "stained tissue under a microscope",
    "skimage/data/moon.png": "the surface of the moon",
    "skimage/data/page.png": "a printed page",
    "skimage/data/retina.jpg": "the retina of an eye",
    "skimage/data/rocket.jpg": "a rocket on its launch pad",
    "skimage/data/text.png": "handwritten text",
    "sklearn/datasets/images/china.jpg": "a Chinese palace",
    "sklearn/datasets/images/flower.jpg": "an orange flower",
}
TESTED = frozenset("brick coins grass gravel hubble_deep_field ihc moon page retina text".split())  # see above
QUESTIONS = ("What does the photograph show?", "Describe the photograph.", "What is in the picture?")


def build(shop: Workshop) -> None:
    """Write both sources. Raises ValueError naming a photograph that the installed package lacks."""
    photos = [(open_photo(file), subject) for file, subject in PHOTOS.items()]
    tested = [photo for photo, file in zip(photos, PHOTOS) if Path(file).stem in TESTED]
    captions: list[tuple[str, str]] = []
    for i in range(shop.count(CROPS)):
        photo, subject = photos[i % len(photos)]
        path = shop.save_image("photos", f"{i:04d}", crop(photo, 0.0, TRAIN_RIGHT, shop.rng("photos", i)))
        shop.share_image("photos_chat", f"{i:04d}", "photos")
        captions.append((path, subject))
        shop.progress(i, shop.count(CROPS))
    shop.write(
        "photos",
        "train",
        (
            document(f"photos-{i}", [image(path), text(f"a photograph of {subject}")])
            for i, (path, subject) in enumerate(captions)
        ),
    )
    shop.write(
        "photos_chat",
        "train",
        (_chat(i, path, subject, shop.rng("photos_chat", i)) for i, (path, subject) in enumerate(captions)),
    )
    shop.write("photos", "test", (_test(shop, i, *tested[i % len(tested)]) for i in range(shop.count(TEST_CROPS))))


def crop(photo: Image.Image, left: float, right: float, rng: np.random.Generator) -> Image.Image:
    """A random window between the shares `left` and `right` of the width, scaled to 48 to 128 pixels a side.

    The window takes at least half of the largest that fits in each direction, so that it shows what the caption says.
    """
    x0, x1 = round(left * photo.width), round(right * photo.width)
    width, height = (int(SIDES[i]) for i in rng.integers(len(SIDES), size=2))
    most = min((x1 - x0) / width, photo.height / height)  # photo pixels per crop pixel
    scale = most * rng.uniform(0.5, 1.0)
    window = (round(width * scale), round(height * scale))
    x, y = int(rng.integers(x0, x1 - window[0] + 1)), int(rng.integers(0, photo.height - window[1] + 1))
    return photo.resize((width, height), Image.Resampling.BICUBIC, box=(x, y, x + window[0], y + window[1]), reducing_gap=2.0)


def open_photo(file: str) -> Image.Image:
    """The photograph of a file inside a package, as in `PHOTOS`. Raises: ValueError naming one that is not installed."""
    package, _, inner = file.partition("/")
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0]) / inner if spec and spec.submodule_search_locations else None
    if path is None or not path.exists():
        raise ValueError(f"the photograph {file} is not installed: install the demo's packages with `pip install 'kimivl[data]'`")
    return Image.open(path).convert("RGB")


def _chat(index: int, path: str, subject: str, rng: np.random.Generator) -> Record:
    return chat(
        f"photos-chat-{index}", [([image(path), text(QUESTIONS[rng.integers(len(QUESTIONS))])], f"a photograph of {subject}")]
    )


def _test(shop: Workshop, index: int, photo: Image.Image, subject: str) -> Record:
    path = shop.save_image("photos", f"test-{index:03d}", crop(photo, TEST_LEFT, 1.0, shop.rng("photos test", index)))
    answer = f"a photograph of {subject}"
    return chat(f"photos-test-{index}", [([image(path), text(QUESTIONS[0])], answer)], {"answer": answer})
