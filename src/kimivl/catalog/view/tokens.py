"""The tokens of a sample, each coloured by where it came from and by whether it is learned.

What it is: `chips_of`, which turns ids into pieces of readable text (a character may need several tokens, a picture has hundreds
of the same), and `rendered`, these as HTML.
What it is not: the rendering of the chat or the mask (`processor/chat.py`): both are taken from the trainer's own outline.
"""

from dataclasses import dataclass

from kimivl.catalog.view.markup import Markup, joined, tag
from kimivl.processor.chat import SUPERVISED, Provenance
from kimivl.processor.processor import Outline
from kimivl.processor.tokenizer import Tokenizer

MEANING = {
    Provenance.STRUCTURE: "structure",
    Provenance.ROLE: "role words",
    Provenance.SYSTEM: "system",
    Provenance.USER: "user",
    Provenance.ANSWER: "answer",
    Provenance.MEDIA: "picture",
    Provenance.DOCUMENT: "document",
    Provenance.GIVEN: "given, not learned",
}
LONGEST_CHARACTER = 4  # bytes of UTF-8: more tokens than these never make one character


@dataclass(frozen=True)
class Chip:
    """Tokens that are shown as one. `start`: place of the first in the sample."""

    text: str
    ids: tuple[int, ...]
    start: int
    provenance: Provenance
    learned: bool


def chips_of(outline: Outline, tokenizer: Tokenizer, start: int = 0, stop: int | None = None) -> list[Chip]:
    """The tokens from `start` to `stop`, in order; every one is in exactly one chip."""
    ids, kinds, learned = outline.ids.tolist(), outline.provenance.tolist(), outline.supervised.tolist()
    stop = min(len(ids), len(ids) if stop is None else stop)
    chips, place = list[Chip](), start
    while place < stop:
        count = _count(ids, kinds, place, stop, tokenizer)
        chosen = ids[place : place + count]
        text = tokenizer.decode(chosen if kinds[place] != Provenance.MEDIA else chosen[:1])
        chips.append(Chip(text, tuple(chosen), place, Provenance(kinds[place]), learned[place]))
        place += count
    return chips


def _count(ids: list[int], kinds: list[int], place: int, stop: int, tokenizer: Tokenizer) -> int:
    """How many tokens from `place` on belong together."""
    end = place + 1
    while end < stop and kinds[end] == kinds[place]:
        end += 1
    if kinds[place] == Provenance.MEDIA:
        return end - place
    for count in range(1, min(LONGEST_CHARACTER, end - place) + 1):
        try:
            tokenizer.decode_bytes(ids[place : place + count]).decode()
            return count
        except UnicodeDecodeError:
            continue
    return 1  # bytes that are no text


def rendered(chips: list[Chip]) -> Markup:
    """All chips; turns begin on lines of their own."""
    return tag("div", [_rendered(chip) for chip in chips], class_="tokens")


def _rendered(chip: Chip) -> Markup:
    new_turn = chip.provenance is Provenance.STRUCTURE and chip.text in ("<|im_system|>", "<|im_user|>", "<|im_assistant|>")
    ids = ", ".join(map(str, chip.ids[:8])) + (", …" if len(chip.ids) > 8 else "")
    number = f"{'tokens' if len(chip.ids) > 1 else 'token'} {ids}"
    what = f"{number} · {MEANING[chip.provenance]} · {'learned' if chip.learned else 'read only'}"
    kind = f"token from-{chip.provenance.name.lower()} {'learned' if chip.learned else 'read'}"
    many = f" × {len(chip.ids)}" if chip.provenance is Provenance.MEDIA and len(chip.ids) > 1 else ""
    body = tag(
        "span", _visible(chip.text), many, class_=kind, title=what, data_at=chip.start, data_count=len(chip.ids),
        data_ids=" ".join(map(str, chip.ids)) if not many else str(chip.ids[0]),
    )  # fmt: skip
    return joined([tag("br") if new_turn and chip.start else None, body])


def _visible(text: str) -> Markup:
    """Line breaks as a sign and a line break, tabs as a sign; other text as it is."""
    lines = text.replace("\t", "⇥").split("\n")
    parts: list[Markup | str] = [lines[0]]
    for line in lines[1:]:
        parts += [tag("i", "↵"), tag("br"), line]
    return joined(parts)


def legend() -> Markup:
    """What the colours mean."""
    kinds = [
        _sample_of(MEANING[kind], f"from-{kind.name.lower()} {'learned' if kind in SUPERVISED else 'read'}")
        for kind in Provenance
    ]
    mask = [_sample_of("learned", "learned"), _sample_of("read only", "read")]
    return tag("ul", kinds, tag("li", "|", class_="divide"), mask, class_="legend", aria_label="colours of tokens")


def _sample_of(words: str, kind: str) -> Markup:
    return tag("li", tag("span", words, class_=f"token {kind}"))
