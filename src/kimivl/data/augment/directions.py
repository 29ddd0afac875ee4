"""Words for directions and places, said again for a warped picture: "left of" becomes "right of" in a mirror.

What it is: `redirected`, for English and Chinese, and `PHRASES`, all that it can say again.
What it is not: a parser. Words that may be about a direction and stand in none of the phrases ("what is left", "左右") are
refused where they could have to change: a picture that is not warped is a smaller loss than a text that is no longer true.
Facts: paper §2.5 asks for augmentation that keeps 2D coordinates and orientation true. Places of the frame ("top left", "on the
right") survive only warps that take the whole frame to the whole frame: a crop may cut what was left until it is right. What
turns by itself ("turn left", "clockwise") changes in a mirror, and not when the picture is turned.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kimivl.data.augment.geometry import DIRECTIONS, Unspeakable, Warp

_WAYS = {
    "left": "left", "right": "right", "up": "up", "top": "up", "upper": "up", "above": "up", "down": "down", "bottom": "down",
    "lower": "down", "below": "down", "左": "left", "右": "right", "上": "up", "下": "down",
}  # fmt: skip
_SIDES = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
_RISES = {"left": "left", "right": "right", "up": "upper", "down": "lower"}
_AIMS = {way: way for way in DIRECTIONS}
_HAN = {"left": "左", "right": "右", "up": "上", "down": "下"}
_RELATIONS = {"left": "to the left of", "right": "to the right of", "up": "above", "down": "below"}
_MIRRORED = {"left": "right", "right": "left", "左": "右", "右": "左", "顺": "逆", "逆": "顺"}
_LEVEL = ("left", "right")

Say = Callable[[re.Match[str], Warp], str]


@dataclass(frozen=True)
class Phrase:
    """A way to speak of directions. `of_frame`: it names a place of the whole picture."""

    pattern: re.Pattern[str]
    say: Say
    of_frame: bool = False


def redirected(text: str, warp: Warp) -> str:
    """What is said of the warped picture, in the same words where they are still true.

    Raises: Unspeakable naming the words that cannot be said of it.
    """
    still = warp.keeps_frame and all(warp.direction(way) == way for way in DIRECTIONS)
    if still:
        return text
    suspects = _ACROSS if _only_sideways(warp) else _ANY
    said, end = [], 0
    for match, phrase in _phrases(text):
        if phrase.of_frame and not warp.keeps_frame:
            raise Unspeakable(f"{match[0]!r} is a place of the frame, which the warp cuts or bends", "directions")
        said += [_without(suspects, text[end : match.start()]), phrase.say(match, warp)]
        end = match.end()
    return "".join([*said, _without(suspects, text[end:])])


def _only_sideways(warp: Warp) -> bool:
    """Whether what is up stays up, and the frame a frame: a mirror."""
    return warp.keeps_frame and warp.direction("up") == "up"


def _phrases(text: str) -> Iterator[tuple[re.Match[str], Phrase]]:
    """What stands in the text, from its beginning: of several that begin together the first in `PHRASES`."""
    place = 0
    while True:
        found = [(match, phrase) for phrase in PHRASES if (match := phrase.pattern.search(text, place))]
        if not found:
            return
        match, phrase = min(found, key=lambda pair: pair[0].start())
        yield match, phrase
        place = match.end()


def _without(suspects: re.Pattern[str], text: str) -> str:
    if found := suspects.search(text):
        words = f"{found[0]!r} in {text.strip()!r} may be a direction, and stands in no phrase that can be said again"
        raise Unspeakable(words, "directions")
    return text


# How each phrase is said again


def _named(names: dict[str, str]) -> Say:
    """Only the word called `way` changes."""

    def say(match: re.Match[str], warp: Warp) -> str:
        return _replaced(match, "way", names[warp.direction(_WAYS[match["way"].lower()])])

    return say


def _corner(names: dict[str, str]) -> Say:
    """Two words, one up or down and one left or right; a turned picture changes which is which."""

    def say(match: re.Match[str], warp: Warp) -> str:
        across, rise = sorted(
            (warp.direction(_WAYS[match[key].lower()]) for key in ("rise", "across")), key=lambda way: way not in _LEVEL
        )
        written = {"across": names[across], "rise": names[rise]}
        first, second = sorted(written, key=match.start)
        text = match[0][: match.start(first) - match.start()] + _cased(match[first], written[first])
        return text + match[0][match.end(first) - match.start() : match.start(second) - match.start()] + written[second]

    return say


def _relation(match: re.Match[str], warp: Warp) -> str:
    """Beside, above or below; what was beside may come to lie above."""
    before = _WAYS[match["way"].lower()]
    after = warp.direction(before)
    if (before in _LEVEL) != (after in _LEVEL):
        return _cased(match[0], _RELATIONS[after])
    return _replaced(match, "way", after if after in _LEVEL else _RELATIONS[after])


def _on_a_side(match: re.Match[str], warp: Warp) -> str:
    side = _SIDES[warp.direction(_WAYS[match["way"].lower()])]
    usual = "on" if side in _LEVEL else "at"
    return f"{_cased(match['at'], usual if match['at'].lower() in ('on', 'at') else match['at'])} the {side}"


def _aim(match: re.Match[str], warp: Warp) -> str:
    way = warp.direction(match["way"].lower())
    return f"{match['aims']}{(match['to'] or '') if way in _LEVEL else ''} {way}"


def _of_itself(match: re.Match[str], warp: Warp) -> str:
    """The turn of something in the picture: another in a mirror, the same on a turned page."""
    return _replaced(match, "way", _MIRRORED[match["way"].lower()]) if warp.mirrors else match[0]


def _spin(match: re.Match[str], warp: Warp) -> str:
    if not warp.mirrors:
        return match[0]
    return _cased(match[0], "counterclockwise" if match[0].lower() == "clockwise" else "clockwise")


def _replaced(match: re.Match[str], group: str, word: str) -> str:
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:start] + _cased(match[group], word) + match[0][end:]


def _cased(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[:1].isupper() else new


def _phrase(pattern: str, say: Say, of_frame: bool = False) -> Phrase:
    return Phrase(re.compile(pattern, re.IGNORECASE), say, of_frame)


_SIDE = r"(?P<way>left|right|top|bottom)"
_PARTS = "side|edge|half|third|border|margin"
_ENDS = r"\s*(?:[.,;:!?)]|$|and\b|is\b|are\b|of the (?:image|picture|page|screen)\b)"  # behind a side that is no adjective
PHRASES = (
    _phrase(r"\b(?P<rise>top|bottom)[ -]?(?P<across>left|right)\b", _corner(_SIDES), of_frame=True),
    _phrase(r"\b(?P<rise>upper|lower)[ -]?(?P<across>left|right)\b", _corner(_RISES), of_frame=True),
    _phrase(r"\b(?:(?:to|on) the )?(?P<way>left|right) of\b", _relation),
    _phrase(r"\b(?P<way>above|below)\b", _relation),
    _phrase(rf"\b{_SIDE}(?=[ -](?:{_PARTS})\b)", _named(_SIDES), of_frame=True),
    _phrase(rf"\b(?P<at>on|at|in|near|from) the {_SIDE}(?={_ENDS})", _on_a_side, of_frame=True),
    _phrase(rf"\b{_SIDE}(?=most\b)", _named(_SIDES), of_frame=True),
    _phrase(r"\b(?P<way>upper|lower)(?=most\b)", _named(_RISES), of_frame=True),
    _phrase(r"\b(?P<aims>(?:point|fac|head|mov)(?:s|es|ing|ed))(?P<to> to the)? (?P<way>left|right|up|down)\b", _aim),
    _phrase(r"\b(?P<way>left|right|up|down)(?= arrow\b)", _named(_AIMS)),
    _phrase(r"\bturn(?:s|ing|ed)? (?P<way>left|right)\b", _of_itself),
    _phrase(r"\b(?:(?:counter|anti)-?)?clockwise\b", _spin),
    _phrase(r"[向往]?(?P<way>[左右])转", _of_itself),
    _phrase(r"(?P<way>[顺逆])时针", _of_itself),
    _phrase(r"(?P<across>[左右])(?P<rise>[上下])", _corner(_HAN), of_frame=True),
    _phrase(r"[向朝往](?P<way>[左右上下])", _named(_HAN)),
    _phrase(r"最(?P<way>[左右上下])", _named(_HAN), of_frame=True),
    _phrase(r"(?P<way>[左右])(?=[边侧面方端半])", _named(_HAN), of_frame=True),
    _phrase(r"(?P<way>[上下])(?=[边侧方端])", _named(_HAN), of_frame=True),
)
_SIDEWAYS = "left|right|east|west|column"
_UPRIGHT = (
    "top|bottom|upper|lower|lowest|higher|highest|up|down|above|below|under|underneath|over|beneath|upside|north|south|horizontal|"
    "vertical|row|portrait|landscape"
)
_ENDING = "(?:s|ly|ward|wards|ern|most)?"
_ACROSS = re.compile(rf"\b(?:{_SIDEWAYS}){_ENDING}\b|[左右东西]|第.列", re.IGNORECASE)
_ANY = re.compile(rf"\b(?:{_SIDEWAYS}|{_UPRIGHT}){_ENDING}\b|[左右上下顶底高低东西南北横竖]|第.[行列]", re.IGNORECASE)
