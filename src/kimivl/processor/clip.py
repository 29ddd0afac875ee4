"""A short clip → text and image parts: a time label, a frame, a time label, a frame, …

What it is: the interleaving that Kimi-VL uses for video. The model has no video token; frames are separate pictures, and a
label before each tells the model when it was seen, since a picture carries no time.
What it is not: a video decoder. It takes frames with times, or one animated file (GIF, WebP, PNG, multi-page TIFF).
Facts: `reference/model.md` §5.4. The wording of the label is ours (the official recipe is not published).
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

from PIL import Image

from kimivl.processor.image import ImageError, ImageSource, guarded, image_name, load_rgb, open_image
from kimivl.processor.messages import ImagePart, Part, TextPart

UNSTATED_MS = 100  # how long browsers show a frame whose duration is zero


def clip_parts(frames: Sequence[ImageSource], times: Sequence[float], max_frames: int) -> tuple[Part, ...]:
    """Time label and image of at most `max_frames` frames, spread evenly from the first to the last.

    Args:
        frames: files or pictures, in order. Files are not opened here.
        times: seconds from the start of the clip, one a frame, never falling.
    Returns: (TextPart("0.0s"), ImagePart(frame 0), TextPart("0.5s"), …).
    Errors: ValueError for no frames, or times that do not fit them.
    """
    if len(frames) != len(times):
        raise ValueError(f"a clip needs one time a frame, got {len(frames)} frames and {len(times)} times")
    if any(later < earlier for earlier, later in zip(times, times[1:])) or (times and times[0] < 0):
        raise ValueError(f"the times of a clip must start at zero or later and never fall, got {list(times)}")
    parts: list[Part] = []
    for index in sampled_indices(len(frames), max_frames):
        frame = frames[index]
        parts += [TextPart(time_label(times[index])), ImagePart(Path(frame) if isinstance(frame, str) else frame)]
    return tuple(parts)


def clip_parts_from_file(path: str | Path, max_frames: int, fps: float | None = None) -> tuple[Part, ...]:
    """The same for an animated file. All frames are decoded, the chosen ones are kept: for clips of seconds, not for films.

    Args:
        fps: frames a second. Needed where the file has no durations of its own (TIFF); it overrides them elsewhere.
    Errors: ImageError naming the file: unreadable, or no durations and no `fps`. ValueError for an `fps` that is not positive.
    """
    if fps is not None and fps <= 0:
        raise ValueError(f"fps must be above zero, got {fps}")
    name = image_name(path)
    with open_image(path) as image:
        chosen = sampled_indices(guarded(lambda: getattr(image, "n_frames", 1), name), max_frames)
        frames, milliseconds = _read_frames(image, set(chosen), name)
    if fps is None and len(milliseconds) > 1 and not any(milliseconds):
        raise ImageError(f"{name}: the file does not say how long its frames last; give fps (frames a second)")
    seconds = [1 / fps if fps else (duration or UNSTATED_MS) / 1000 for duration in milliseconds]
    starts = list(accumulate(seconds, initial=0.0))
    return clip_parts(frames, [starts[index] for index in chosen], max_frames)


def _read_frames(image: Image.Image, chosen: set[int], name: str) -> tuple[list[Image.Image], list[float]]:
    """The chosen frames in RGB, and the milliseconds of every frame up to the last chosen one, 0 where none are stated."""
    frames: list[Image.Image] = []
    milliseconds: list[float] = []
    for index in range(max(chosen) + 1):
        guarded(partial(image.seek, index), f"{name}, frame {index}")
        frame = load_rgb(image)  # every frame: WebP tells a duration only after decoding
        if index in chosen:
            frames.append(frame.copy())  # the next seek overwrites the pixels
        milliseconds.append(image.info.get("duration", 0))
    return frames, milliseconds


def sampled_indices(frame_count: int, max_frames: int) -> list[int]:
    """Which of `frame_count` frames to take: all if they fit, otherwise evenly spread, first and last included."""
    if frame_count < 1 or max_frames < 1:
        raise ValueError(f"a clip needs frames and room for one, got {frame_count} frames and max_frames {max_frames}")
    if frame_count <= max_frames:
        return list(range(frame_count))
    if max_frames == 1:
        return [frame_count // 2]
    return [round(place * (frame_count - 1) / (max_frames - 1)) for place in range(max_frames)]


def time_label(seconds: float) -> str:
    """Seconds as text: "0.5s", "12.0s"; two decimals, "0.03s", where one would not be exact."""
    text = f"{seconds:.2f}"
    return f"{text[:-1] if text.endswith('0') else text}s"
