"""Words for directions and places, said again for a warped picture: "left of" becomes "right of" in a mirror.

What it is: `redirected`, for English and Chinese, and `stands_still`, whether there is anything to say. What can be said again
stands in `phrases.py`.
What it is not: a parser. Words that may be about a direction and stand in none of the phrases ("what is left", "左右") are
refused where they could have to change: a picture that is not warped is a smaller loss than a text that is no longer true.
Facts: paper §2.5 asks for augmentation that keeps 2D coordinates and orientation true. Places of the frame ("top left", "on the
right") survive only warps that take the whole frame to the whole frame: a crop may cut what was left until it is right. What
turns by itself ("turn left", "clockwise") changes in a mirror, and not when the picture is turned. Keys, scrolling and arrows
between words ("File → Open") name a direction and perhaps not one of the picture, so they are refused where it would change.
"""

import re
from collections.abc import Iterator

from kimivl.data.augment.geometry import Unspeakable, Warp
from kimivl.data.augment.phrases import ARROWS, PHRASES, Phrase, pointed

# Words of directions begin and end at anything but a letter: top_left, scrollDown, "pressed-left".
_SIDEWAYS = "left|right|east|west|column|north-?(?:east|west)|south-?(?:east|west)"
_UPRIGHT = (
    "top|bottom|upper|lower|lowest|higher|highest|up|down|above|below|under|underneath|over|beneath|upside|north|south|horizontal|"
    "vertical|row|portrait|landscape"
)
_ENDING = "(?:s|ly|ward|wards|ern|most|hand|handed)?"
_OF_COUNTED = "(?! (?:rows?|lines?|paragraphs?|steps?|times?|parts?|questions?|reasons?|statements?|cases?|images?|pictures?)\\b)"
_COUNTED = (  # what is counted from one side: in a mirror the first is the last
    rf"\b(?:the|which|its|their) (?:first|second|third|fourth|fifth|sixth|last|[1-9](?:st|nd|rd|th)|next|previous){_OF_COUNTED}\b"
    r"|\b(?:first|second|third|fourth|fifth|sixth|last|[1-9](?:st|nd|rd|th)|next) (?:in|from|to) (?!all\b)"
    r"|第[一二三四五六七八九十两\d]+个|最后一?个|依次"
)
_CLOCK = r"\bo['’]?\s?clock\b|[\d一二三四五六七八九十两]\s*点钟?方向|[零一二三四五六七八九十两\d]点钟"
_MIRROR = r"\b(?:mirror|flip|revers|invert)\w*|镜像|翻转|反转|倒置"
_LEAN = r"\b(?:rotat|tilt|slant|inclin|diagonal|orient|sideways|upright|askew|skew)\w*|旋转|倾斜|歪|斜|朝向|方向"
_ACROSS = re.compile(rf"(?<![a-z])(?:{_SIDEWAYS}){_ENDING}(?![a-z])|[左右东西]|第.{{1,3}}列", re.IGNORECASE)
_ANY = re.compile(
    rf"(?<![a-z])(?:{_SIDEWAYS}|{_UPRIGHT}){_ENDING}(?![a-z])|[左右上下顶底高低东西南北横竖]|第.{{1,3}}[行列]|{_CLOCK}|{_LEAN}",
    re.IGNORECASE,
)
_ORDER = re.compile(rf"{_COUNTED}|{_CLOCK}|{_MIRROR}", re.IGNORECASE)
_SIGNS = r"<?[-=]+>|<-+|\\\w*arrow(?![a-z])|[↺↻⟲⟳↩↪⤴⤵🔄🔃👈👉👆👇☝]"  # arrows that stand for anything, turned or mirrored
# With a small letter before: scrollDown, ArrowLeft, pageUp. Points of the compass are written in capitals: NE.
_INNER_ACROSS = re.compile(r"(?<=[a-z])(?:Left|Right)(?![a-z])|\b(?:NE|NW|SE|SW|NNE|NNW|SSE|SSW|ENE|ESE|WNW|WSW)\b")
_INNER_ANY = re.compile(rf"{_INNER_ACROSS.pattern}|(?<=[a-z])(?:Up|Down|Top|Bottom)(?![a-z])")
# What an agent does on a screen: true of the picture the way round that it was.
_LEVEL_ACTS = re.compile(r"\bhscroll|\b(?:delta_?|scroll_?|d)x\b|\b(?:key|keys|press|hotkey|key_?press)\s*[=(]", re.IGNORECASE)
_ACTS = re.compile(rf"\b(?:scroll|swip|fling)\w*|\b(?:delta_?|d)y\b|滚动|滑动|{_LEVEL_ACTS.pattern}", re.IGNORECASE)


def stands_still(warp: Warp) -> bool:
    """Whether the frame stays the frame, and every direction what it was: at most another size."""
    return warp.keeps_frame and all(way == after for way, after in warp.directions.items())


def redirected(text: str, warp: Warp) -> str:
    """What is said of the warped picture, in the same words where they are still true.

    Raises: Unspeakable naming the words that cannot be said of it.
    """
    if stands_still(warp):
        return text
    if only := _only_arrows(text, warp):
        return only
    suspects = _suspects(warp)
    said, end = [], 0
    for match, phrase in _phrases(text):
        if phrase.of_frame and not warp.keeps_frame:
            raise Unspeakable(f"{match[0]!r} is a place of the frame, which the warp cuts or bends", "directions")
        said += [_without(suspects, text[end : match.start()]), phrase.say(match, warp)]
        end = match.end()
    return "".join([*said, _without(suspects, text[end:])])


def _suspects(warp: Warp) -> list[re.Pattern[str]]:
    """What may be about a direction that changes. Where none does, only words for places of the frame are."""
    ways = warp.directions
    rises = ways["up"] == "up"
    words = [_ACROSS] if warp.keeps_frame and rises else [_ANY]
    if rises and ways["left"] == "left":
        return words
    arrows = "".join(sign for sign, old in ARROWS.items() if {ways[way] for way in old} != set(old))
    acts = [_INNER_ACROSS, _LEVEL_ACTS] if rises else [_INNER_ANY, _ACTS]
    return [*words, _ORDER, *acts, re.compile(f"[{arrows}]|{_SIGNS}")]


def _only_arrows(text: str, warp: Warp) -> str:
    """A text of nothing but arrows, as an answer to where something points; "" for others."""
    if not re.fullmatch(rf"[\s,\ufe0f{''.join(ARROWS)}]+\.?", text) or text.isspace():
        return ""
    return "".join(pointed(sign, warp) if sign in ARROWS else sign for sign in text)


def _phrases(text: str) -> Iterator[tuple[re.Match[str], Phrase]]:
    """What stands in the text, from its beginning: of several that begin together the first in `PHRASES`."""
    next_of = [phrase.pattern.search(text) for phrase in PHRASES]
    place = 0
    while True:
        for number, match in enumerate(next_of):
            if match and match.start() < place:
                next_of[number] = PHRASES[number].pattern.search(text, place)
        found = [(match, phrase) for match, phrase in zip(next_of, PHRASES) if match]
        if not found:
            return
        match, phrase = min(found, key=lambda pair: pair[0].start())
        yield match, phrase
        place = match.end()


def _without(suspects: list[re.Pattern[str]], text: str) -> str:
    for pattern in suspects:
        if found := pattern.search(text):
            words = f"{found[0]!r} in {text.strip()!r} may be a direction, and stands in no phrase that can be said again"
            raise Unspeakable(words, "directions")
    return text
