"""The page of a sample: its picture with what the text names drawn on it, its tokens, and the raw record.

What it is: a sample as it is stored, or as a stage sees it in an epoch: the same function that the trainer calls changes it.
"""

import json

from kimivl.catalog.view.context import View, picture_address, sample_address, source_address
from kimivl.catalog.view.drawing import Marks, marks_of, overlay
from kimivl.catalog.view.markup import Inside, Markup, tag
from kimivl.catalog.view.page import facts, fault, page, panel, steps
from kimivl.catalog.view.pictures import shown_size
from kimivl.catalog.view.shelf import Entry
from kimivl.catalog.view.tokens import chips_of, legend, rendered
from kimivl.data.augment.geometry import Size
from kimivl.data.augment.sample import Augmented
from kimivl.data.pieces import outline
from kimivl.data.plan import patch_limit, seen
from kimivl.data.sample import Sample
from kimivl.processor.image import ImageError, ImageProcessor, image_name
from kimivl.processor.messages import ImagePart, Part, TextPart
from kimivl.processor.processor import Outline
from kimivl.processor.stored import StoredPicture

LARGE, SMALL = 1600, 480  # pixels of the longer side, of one picture and of several
WANTED = 448  # pixels to which tiny pictures are enlarged, in whole steps
TOKENS = 4096  # on a page
EPOCHS = 4  # that are offered
RAW = 100_000  # characters


def sample_page(view: View, entry: Entry, row: int, epoch: int | None, step: int | None, start: int) -> Markup:
    """Args: as of `sample_address`."""
    source = view.row(entry, row)
    way = [("data", "/"), (entry.title, source_address(entry, row - row % 48)), (f"row {row:,}", None)]
    ways = steps([
        ("‹ row before", sample_address(entry, row - 1, epoch, step) if row else None, "prev"),
        ("next row ›", sample_address(entry, row + 1, epoch, step) if row + 1 < len(source) else None, "next"),
    ])  # fmt: skip
    raw = _raw(source.raw(row))
    try:
        stored = source[row]
        shown = as_seen(view, entry, stored, epoch)
    except (ValueError, OSError) as reason:
        return page(f"Row {row:,}", way, ways, fault(str(reason)), raw)
    body = [_pictures(view, entry, row, shown, epoch, step), _tokens(view, entry, row, shown.sample, epoch, step, start), raw]
    switch = tag("div", ways, _switch(view, entry, row, epoch, step), class_="bar")
    return page(stored.id, way, switch, _refused(shown, epoch), body)


def as_seen(view: View, entry: Entry, sample: Sample, epoch: int | None) -> Augmented:
    """The sample as it is stored (`epoch` None), or as the stage sees it. Raises: ValueError; ImageError."""
    if epoch is None or view.stage is None or entry.split != "train":
        return Augmented(sample, None, "")
    return seen(sample, view.stage, entry.name, view.seed, epoch)


def _switch(view: View, entry: Entry, row: int, epoch: int | None, step: int | None) -> Inside:
    if view.stage is None or entry.split != "train":
        return None
    if entry.name not in view.stage.augment:
        return tag("p", f"The stage {view.stage.name} leaves the samples of {entry.name} as they are.", class_="note")
    first = max(0, (epoch or 0) - EPOCHS + 2)
    choices = [("as stored", None), *((f"epoch {number}", number) for number in range(first, first + EPOCHS))]
    links = [
        tag("a", words, href=sample_address(entry, row, number, step), aria_current="true" if number == epoch else None)
        for words, number in choices
    ]
    return tag("nav", tag("span", f"as the stage {view.stage.name} sees it:"), links, class_="switch", aria_label="variants")


def _refused(shown: Augmented, epoch: int | None) -> Inside:
    if epoch is None or not shown.refused:
        return None
    return tag("p", f"A stronger change was given up, since the text could not follow it: {shown.refused}", class_="note")


def _pictures(view: View, entry: Entry, row: int, shown: Augmented, epoch: int | None, step: int | None) -> Inside:
    images = shown.sample.images
    if not images:
        return None
    if len(images) > 1:
        note = marks_of(shown.sample, (1, 1)).note
        stages = [_one_of_many(view, entry, row, number, part, epoch) for number, part in enumerate(images)]
        return panel(tag("div", stages, class_="strip"), tag("p", note, class_="note") if note else None)
    part = images[0]
    try:
        size = shown_size(part)
    except (ImageError, OSError) as reason:
        return panel(fault(str(reason)))
    marks = marks_of(shown.sample, size, shown.warp is not None)
    layers = [_groups(view, size, step), overlay(marks.marks, size)]
    zoom = max(1, WANTED // max(size))
    picture = tag(
        "img", src=picture_address(entry, row, 0, LARGE, epoch), width=size[0] * zoom, height=size[1] * zoom,
        alt=image_name(part.image), class_="zoomed" if zoom > 1 else None,
    )  # fmt: skip
    beside = tag("div", _picture_facts(view, part, size, step), _marks(marks), class_="beside")
    return panel(tag("div", picture, layers, class_="stage"), beside, kind="shown")


def _one_of_many(view: View, entry: Entry, row: int, number: int, part: ImagePart, epoch: int | None) -> Markup:
    try:
        width, height = shown_size(part)
    except (ImageError, OSError) as reason:
        return fault(str(reason))
    address = picture_address(entry, row, number, SMALL, epoch)
    shown = tag(
        "img", src=address, alt=image_name(part.image), loading="lazy", class_="zoomed" if max(width, height) < 200 else None
    )
    return tag("figure", shown, tag("figcaption", f"{number + 1}: {_called(part)}, {width}×{height}"))


def _called(part: ImagePart) -> str:
    """The last part of a picture's name, with the frame of a video."""
    if not isinstance(part.image, StoredPicture):
        return image_name(part.image).rpartition("/")[2]
    name = part.image.name.rpartition("/")[2]
    return name if part.image.pts is None else f"{name}, frame {part.image.frame}"


def _picture_facts(view: View, part: ImagePart, size: Size, step: int | None) -> Markup:
    rows: list[tuple[str, Inside]] = [
        ("picture", image_name(part.image).removeprefix("image ")),
        ("size", f"{size[0]} × {size[1]} pixels"),
    ]
    if view.processor:
        images, limit = view.processor.image_processor, _limit(view, step)
        try:
            grid = images.grid(size, limit)
        except ValueError as reason:
            return tag("div", facts(rows), fault(str(reason)))
        width, height = images.resized(size, limit)
        if (width, height) != size:
            rows.append(("shrunk to", f"{width} × {height} pixels"))
        rows.append(("patches", f"{grid[0]} × {grid[1]} of {images.patch_size} pixels"))
        rows.append(("tokens", f"{images.tokens(grid)}"))
    return facts(rows)


def _groups(view: View, size: Size, step: int | None) -> Inside:
    """Which part of the picture each token sees, as lines that a checkbox shows."""
    if view.processor is None:
        return None
    images = view.processor.image_processor
    lines = _lines(images, size, images.resized(size, _limit(view, step)))
    box = tag("label", tag("input", type="checkbox", id="groups"), " tokens of the picture", class_="toggle")
    drawn = tag("path", d=lines, class_="line")
    return [
        tag(
            "svg",
            drawn,
            class_="overlay groups",
            viewBox=f"0 0 {size[0]} {size[1]}",
            preserveAspectRatio="none",
            aria_hidden="true",
        ),
        box,
    ]


def _lines(images: ImageProcessor, size: Size, resized: Size) -> str:
    side = images.patch_size * images.merge
    across = [x * size[0] / resized[0] for x in range(side, resized[0], side)]
    down = [y * size[1] / resized[1] for y in range(side, resized[1], side)]
    return "".join([*(f"M{x:.2f} 0V{size[1]}" for x in across), *(f"M0 {y:.2f}H{size[0]}" for y in down)])


def _limit(view: View, step: int | None) -> int | None:
    """The limit on a picture's patches at a step of the stage; its last one where no step is named."""
    if view.stage is None:
        return None
    return patch_limit(view.stage, 1.0 if step is None or not view.stage.steps else step / view.stage.steps)


def _marks(marks: Marks) -> Inside:
    listed = [
        tag("li", tag("b", number), f" {mark.words}, {mark.who}", class_=f"by-{mark.who}", data_mark=number)
        for number, mark in enumerate(marks.marks, 1)
    ]
    return [tag("ul", listed, class_="marks") if listed else None, fault(marks.note) if marks.note else None]


def _tokens(view: View, entry: Entry, row: int, sample: Sample, epoch: int | None, step: int | None, start: int) -> Markup:
    if view.processor is None:
        note = "Give --processor, a model directory or the processor of a run, to see tokens and what is learned of them."
        return panel(tag("p", note, class_="note"), _plain(sample))
    try:
        whole = outline(sample, view.processor, _limit(view, step))
    except (ValueError, OSError) as reason:
        return panel(fault(str(reason)), _plain(sample))
    stop = min(start + TOKENS, len(whole.ids))
    body = rendered(chips_of(whole, view.processor.tokenizer, start, stop))
    return panel(_count(view, sample, whole), legend(), _parts(entry, row, epoch, step, start, len(whole.ids)), body)


def _count(view: View, sample: Sample, whole: Outline) -> Markup:
    learned = int(whole.supervised.sum())
    words = f"{len(whole.ids):,} tokens, {learned:,} of them learned ({100 * learned / max(1, len(whole.ids)):.0f} %)"
    words += f", {whole.patches:,} patches" if len(whole.pictures) else ""
    stage, length = view.stage, len(whole.ids) - 1  # the last token is predicted and never read
    if stage and stage.context and length > stage.context:
        cut = not sample.is_chat and not whole.pictures
        said = f"cut into {-(-length // stage.context)} parts" if cut else "too long: training stops here"
        words += f"; above the context of {stage.context:,} of the stage {stage.name}: {said}"
    return tag("p", words)


def _parts(entry: Entry, row: int, epoch: int | None, step: int | None, start: int, count: int) -> Inside:
    if count <= TOKENS:
        return None
    back, ahead = max(0, start - TOKENS), start + TOKENS
    return steps([
        ("‹ tokens before", sample_address(entry, row, epoch, step, back) if start else None, ""),
        (f"tokens {start:,} to {min(ahead, count) - 1:,} of {count:,}", None, ""),
        ("tokens behind ›", sample_address(entry, row, epoch, step, ahead) if ahead < count else None, ""),
    ])  # fmt: skip


def _plain(sample: Sample) -> Markup:
    """The texts without a tokenizer."""
    turns = [(str(message.role), message.parts) for message in sample.messages] or [("document", sample.content)]
    return tag("dl", [
        tag("div", tag("dt", who), tag("dd", [_plain_part(part) for part in parts])) for who, parts in turns
    ], class_="plain")  # fmt: skip


def _plain_part(part: Part) -> Inside:
    return part.text if isinstance(part, TextPart) else tag("small", "[picture] ")


def _raw(text: str) -> Markup:
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass  # what is no JSON is shown as it stands
    cut = f"\n… {len(text) - RAW:,} more characters" if len(text) > RAW else ""
    return panel(tag("details", tag("summary", "raw record"), tag("pre", text[:RAW] + cut)))
