"""Directions and times that a clip's answers give are seen in its frames."""

import numpy as np

from kimivl.curate.records import rng_for
from kimivl.curate.scene.drawing import COLORS
from kimivl.curate.video.clips import film
from kimivl.curate.workshop import read_records


def seen(frame) -> tuple[np.ndarray, str]:
    """Middle of what differs from the ground, and the colour name nearest to it."""
    pixels = np.asarray(frame).astype(int)
    inside = (np.abs(pixels - pixels[0, 0]).sum(-1)) > 60
    ys, xs = np.nonzero(inside)
    middle = np.array([xs.mean(), ys.mean()])
    color = pixels[int(middle[1]), int(middle[0])]
    return middle, min(COLORS, key=lambda name: np.abs(np.array(COLORS[name]) - color).sum())


def test_answers_follow_from_the_frames():
    asked = set()
    for i in range(150):
        frames, turns = film(rng_for(0, "film", i))
        assert 3 <= len(frames) <= 5
        middles, colors = zip(*map(seen, frames))
        dx, dy = middles[-1] - middles[0]
        direction = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
        for question, answer in turns:
            asked.add(question.split()[0])
            if question.startswith("What direction"):
                assert answer == direction
            elif question.startswith("When"):
                first = next(place for place, color in enumerate(colors) if color != colors[0])
                assert answer == f"{first * 0.5:.1f}s" and colors[first] in question
            elif question.startswith("Does"):
                assert answer == ("yes" if len(set(colors)) == 2 else "no")
            else:
                assert answer == colors[-1]
    assert asked == {"What", "When", "Does"}


def test_a_chat_asks_one_question_so_that_none_tells_the_answer_of_another(nano_root):
    """ "When does the circle turn red?" would tell its colour at the end."""
    for split in ("train", "test"):
        for record in read_records(nano_root / "clips" / f"{split}.jsonl"):
            assert [message["role"] for message in record["messages"]] == ["user", "assistant"]
