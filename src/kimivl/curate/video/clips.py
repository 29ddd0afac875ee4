"""Short clips: three to five frames of one shape that moves and may change its colour, with time labels between.

What it is: `build`, which writes `clips` (chat, train and test). A clip is frames in order, each after its time as text.
What it is not: video files; decoding belongs to the processor.
Facts: time labels as the text before each frame, as Kimi-VL's long-video data has them; half a second apart.
"""

import numpy as np
from PIL import Image

from kimivl.curate.records import Part, Record, chat, image, text
from kimivl.curate.scene.drawing import EASY, Scene, Shape, jittered, light_ground, outline, paint
from kimivl.curate.workshop import Workshop

SOURCES = ("clips",)
CLIPS, TEST_CLIPS = 1600, 200
SIDE = 64
STEP_SECONDS = 0.5
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def build(shop: Workshop) -> None:
    """Write the source."""
    total = shop.count(CLIPS)
    shop.write("clips", "train", (_clip(shop, "train", i, total) for i in range(total)))
    shop.write("clips", "test", (_clip(shop, "test", i, total) for i in range(shop.count(TEST_CLIPS))))


def _clip(shop: Workshop, split: str, index: int, total: int) -> Record:
    rng = shop.rng(f"clips {split}", index)
    frames, turns = film(rng)
    content: list[Part] = []
    for place, frame in enumerate(frames):
        path = shop.save_image("clips", f"{split}-{index:04d}-{place}", frame)
        content += [text(f"{place * STEP_SECONDS:.1f}s"), image(path)]
    shop.progress(index, total)
    question, answer = turns[int(rng.integers(len(turns)))]  # one only: "When does it turn red?" tells its colour at the end
    meta = {"answer": answer} if split == "test" else None
    return chat(f"clips-{split}-{index}", [([*content, text(question)], text(answer, spelled=answer[0].isdigit()))], meta)


def film(rng: np.random.Generator) -> tuple[list[Image.Image], list[tuple[str, str]]]:
    """Frames of one clip and the (question, answer) pairs that it decides."""
    count, radius = int(rng.integers(3, 6)), rng.uniform(7, 11)
    direction = list(DIRECTIONS)[rng.integers(4)]
    kind = EASY[0][rng.integers(len(EASY[0]))]
    before, after = (EASY[1][i] for i in rng.permutation(len(EASY[1]))[:2])
    change = int(rng.integers(1, count)) if rng.random() < 0.6 else count  # first frame in the second colour
    ground, shape_seed = light_ground(rng), int(rng.integers(2**32))
    colors = {name: jittered(name, rng) for name in (before, after)}

    room = SIDE - 2 * (radius + 1)
    stride = rng.uniform(0.6, 1.0) * room / (count - 1)
    along = rng.uniform(0, room - stride * (count - 1)) + stride * np.arange(count) + radius + 1
    across = rng.uniform(radius + 1, SIDE - radius - 1)
    dx, dy = DIRECTIONS[direction]
    frames = []
    for place in range(count):
        position = along[place] if dx + dy > 0 else SIDE - along[place]
        center = (position, across) if dx else (across, position)
        color = before if place < change else after
        corners = outline(kind, center, radius, np.random.default_rng(shape_seed))  # the same sides in every frame
        frames.append(paint(Scene((SIDE, SIDE), ground, (Shape(kind, color, colors[color], corners),))))

    turns = [
        ("What direction does the shape move?", direction),
        (f"Does the {kind} change its color?", "yes" if change < count else "no"),
    ]
    if change < count:
        turns.append((f"When does the {kind} turn {after}?", f"{change * STEP_SECONDS:.1f}s"))
        turns.append((f"What color is the {kind} at the end?", after))
    return frames, turns
