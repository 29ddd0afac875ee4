"""The ways to speak of directions that can be said again for a warped picture, in English and Chinese.

What it is: `PHRASES`, each a pattern and what to say in its place, words that only look like directions among them ("she left the
room", 右键, 30岁左右), and `pointed` for arrows.
What it is not: what to do with the rest of a text (`directions.py`). A pattern here asks for enough around a word that it can
mean nothing else; with less around it, the word is refused there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from kimivl.data.augment.geometry import Unspeakable, Warp

_WAYS = {
    "left": "left", "right": "right", "up": "up", "top": "up", "upper": "up", "above": "up", "down": "down", "bottom": "down",
    "lower": "down", "below": "down", "左": "left", "右": "right", "上": "up", "下": "down",
}  # fmt: skip
_SIDES = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
_RISES = {"left": "left", "right": "right", "up": "upper", "down": "lower"}
_AIMS = {way: way for way in ("left", "right", "up", "down")}
_HAN = {"left": "左", "right": "右", "up": "上", "down": "下"}
_RELATIONS = {"left": "to the left of", "right": "to the right of", "up": "above", "down": "below"}
_MIRRORED = {"left": "right", "right": "left", "左": "右", "右": "左", "顺": "逆", "逆": "顺", "順": "逆"}
_LEVEL = ("left", "right")
_ONE_WAY = ("←→↑↓", "⬅➡⬆⬇", "⇐⇒⇑⇓", "⟵⟶", "◀▶▲▼", "⇦⇨⇧⇩")  # left, right, up, down
_CORNERS = ("↖↗↘↙", "⬉⬈⬊⬋")
ARROWS: dict[str, tuple[str, ...]] = {sign: (way,) for signs in _ONE_WAY for sign, way in zip(signs, _AIMS)}
_BETWEEN = (("up", "left"), ("up", "right"), ("down", "right"), ("down", "left"))
ARROWS |= {sign: ways for signs in _CORNERS for sign, ways in zip(signs, _BETWEEN)}
ARROWS |= {"↔": ("left", "right"), "⬌": ("left", "right"), "↕": ("up", "down"), "⬍": ("up", "down")}

Say = Callable[[re.Match[str], Warp], str]


@dataclass(frozen=True)
class Phrase:
    """A way to speak of directions. `of_frame`: it names a place of the whole picture."""

    pattern: re.Pattern[str]
    say: Say
    of_frame: bool = False


def pointed(sign: str, warp: Warp) -> str:
    """The arrow as it points in the warped picture. Raises: Unspeakable where it does not point straight, or has no such sign."""
    ways = {warp.direction(way) for way in ARROWS[sign]}
    family = next(one for one in (*_ONE_WAY, *_CORNERS, "↔↕", "⬌⬍") if sign in one)
    for other in family:
        if set(ARROWS[other]) == ways:
            return other
    raise Unspeakable(f"{sign!r} has no sign of its kind that points {' and '.join(sorted(ways))}", "directions")


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
        text += match[0][match.end(first) - match.start() : match.start(second) - match.start()]
        return text + _cased(match[second], written[second]) + match[0][match.end(second) - match.start() :]

    return say


def _relation(match: re.Match[str], warp: Warp) -> str:
    """Beside, above or below; what was beside may come to lie above."""
    before = _WAYS[match["way"].lower()]
    after = warp.direction(before)
    if before != after and before in _LEVEL and not match["the"] and _REMAINS.search(match.string[: match.start()]):
        raise Unspeakable(f"{match[0]!r} may be what remains, or a side", "directions")
    if (before in _LEVEL) != (after in _LEVEL):
        return _cased(match[0], _RELATIONS[after])
    return _replaced(match, "way", after if after in _LEVEL else _RELATIONS[after])


def _on_a_side(match: re.Match[str], warp: Warp) -> str:
    side = _SIDES[warp.direction(_WAYS[match["way"].lower()])]
    usual = "on" if side in _LEVEL else "at"
    return (
        f"{_cased(match['at'], usual if match['at'].lower() in ('on', 'at') else match['at'])} the {_cased(match['way'], side)}"
    )


def _own_side(match: re.Match[str], warp: Warp) -> str:
    """The side of somebody or something: its other side in a mirror, and on a turned page nobody knows whose."""
    way = match["way"].lower()
    after = warp.direction(way)
    if after != way and not (warp.mirrors and {way, after} == set(_LEVEL) and warp.direction("up") == "up"):
        raise Unspeakable(f"{match[0]!r} is a side of something, perhaps as it sees itself", "directions")
    return _replaced(match, "way", after)


def _level(match: re.Match[str], warp: Warp) -> str:
    """What is said so of left and right alone: what moves up may be a price, and no side is top-hand."""
    after = warp.direction(match["way"].lower())
    if after not in _LEVEL:
        raise Unspeakable(f"{match[0]!r} is not said so of {after}", "directions")
    return _replaced(match, "way", after)


def _aim(match: re.Match[str], warp: Warp) -> str:
    way = warp.direction(match["way"].lower())
    return f"{match['aims']}{(match['to'] or '') if way in _LEVEL else ''} {_cased(match['way'], way)}"


def _of_itself(match: re.Match[str], warp: Warp) -> str:
    """The turn of something in the picture: another in a mirror, the same on a turned page."""
    return _replaced(match, "way", _MIRRORED[match["way"].lower()]) if warp.mirrors else match[0]


def _traditional(match: re.Match[str], warp: Warp) -> str:
    return ("順" if match["way"] == "逆" else "逆") + match[0][1:] if warp.mirrors else match[0]


def _spin(match: re.Match[str], warp: Warp) -> str:
    if not warp.mirrors:
        return match[0]
    return _cased(match[0], "counterclockwise" if match[0].lower() == "clockwise" else "clockwise")


def _as_it_is(match: re.Match[str], warp: Warp) -> str:
    """No direction at all."""
    return match[0]


def _square(match: re.Match[str], warp: Warp) -> str:
    """A right angle, which a picture askew no longer shows."""
    if any(abs(value) > 1e-12 for value in warp.matrix[2][:2]):
        raise Unspeakable(f"{match[0]!r} is not right any more where the picture is seen askew", "directions")
    return match[0]


def _replaced(match: re.Match[str], group: str, word: str) -> str:
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:start] + _cased(match[group], word) + match[0][end:]


def _cased(old: str, new: str) -> str:
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[0].upper() + new[1:] if old[:1].isupper() else new


def _phrase(pattern: str, say: Say, of_frame: bool = False) -> Phrase:
    return Phrase(re.compile(pattern, re.IGNORECASE | re.MULTILINE), say, of_frame)


# What may stand before "left of" where it speaks of what remains: "what is left of the cake".
_REMAINS = re.compile(
    r"(?:\b(?:what|how (?:many|much)|all|little|much|nothing|none|some|few|half|most|more|rest|anything|something|everything)"
    r"\b[^.?!\n]{0,40}|\b(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|have|has|had|was|were|be|been)\s+)$",
    re.IGNORECASE,
)
_SIDE = r"(?P<way>left|right|top|bottom)"
_PARTS = r"(?:side|edge|half|third|border|margin)\b(?! up\b)"
_BEFORE_A_SIDE = (
    "(?:^|" + "|".join(rf"(?<=\b{word} )" for word in ("the", "its", "far", "on", "at", "a", "this")) + "|(?<=[,;:.(] ))"
)
_ENDS = r"\s*(?:[.,;:!?)]|$|and\b|is\b|are\b|of the (?:image|picture|page|screen)\b)"  # behind a side that is no adjective
_STOPS = r"(?=\s*(?:[.,;:!?)]|$|(?:and|or|then|in|towards?|from|until|while|along|across)\b))"  # behind an aim
_VERB_ENDS = (
    r"(?=\s*(?:[.,;!?]|$|(?:the|a|an|his|her|their|its|my|our|for|at|in|on|after|before|when|without|home|work|school)\b))"
)
_A_THING = (  # and no measure, which nothing in the picture lies above
    r"(?= (?:the|an?|it|him|her|them|this|that|these|those|each|both|every)\b"
    r"(?! (?:average|mean|limit|threshold|age|median|norm|\w+ line)\b))"
)
_IDIOMS = (  # the first four: of a mouse
    r"(?<!\bthe )(?<!\bto )\b(?:left|right)[-_ ]?(?:(?:double|single|mouse)[-_ ]?)?click\w*",
    r"\b(?:left|right)[-_ ]mouse ?button\w*",
    r"\b(?:left|right)_(?:single|double|drag)\b|\b(?:left|right) button of the mouse\b",
    r"(?<!\w)[\"']?button[\"']?\s*[:=]\s*[\"']?(?:left|right)\b[\"']?|[左右][键鍵击擊]",
    rf"\b(?:(?:he|she|they|we|who)(?: (?:just|already|have|has|had))?|has|had) left\b{_VERB_ENDS}",
    r"\b(?:that|you)['’](?:s|re) right(?=\s*[.,!;]|$)|\ball right\b|(?<!\bthe )\bright (?:now|away)\b|\bhuman rights\b",
    r"\\(?:left|right)(?=\s*[\[\](){}|.\\/<>])",  # of LaTeX
    r"(?<![第左右])[\d零一二三四五六七八九十百千万两几]\s*[个個岁歲米元年人点點度分秒天斤公里厘千克倍次月%％]{0,3}左右",
    r"东西(?![方向走两南北部侧半横])|西(?:瓜|红柿|装|服|餐|兰花|葫芦)",
    r"[上下]午|[早晚]上|上[海班学课周月网衣次传]|下[班雨雪课周月巴载次]|[线马加]上|一下(?![方边侧面])|(?:桌|椅|床|墙|地|盘|子|沙发|路|街)上(?![方边侧面下左右])",
)
PHRASES = (
    *(_phrase(idiom, _as_it_is) for idiom in _IDIOMS),
    _phrase(r"\bright[- ](?:angle[ds]?|triangle|angled triangle)s?\b", _square),
    _phrase(
        r"(?:['’]s|\b(?:his|her|their|your|my|own)) (?P<way>left|right)(?=[ -](?:hand[ -])?side\b)", _own_side, of_frame=True
    ),
    _phrase(r"\b(?P<rise>top|bottom)[ -]?(?P<across>left|right)\b", _corner(_SIDES), of_frame=True),
    _phrase(r"\b(?P<rise>upper|lower)[ -]?(?P<across>left|right)\b", _corner(_RISES), of_frame=True),
    _phrase(r"\b(?P<the>(?:to|on) the )(?P<way>left|right) of\b(?! (?:way|centre|center|use)\b)", _relation),
    _phrase(r"(?<!\bthe )(?<!\ba )\b(?P<the>)(?P<way>left|right) of\b(?! (?:way|centre|center|use)\b)", _relation),
    _phrase(rf"(?<!\bthe )(?<!\bas )(?<!\bsee )\b(?P<way>above|below)\b{_A_THING}", _relation),
    _phrase(rf"{_BEFORE_A_SIDE}{_SIDE}(?=[ -]{_PARTS})", _named(_SIDES), of_frame=True),
    _phrase(r"\b(?P<way>left|right)(?=[ -]?hand[ -]side\b)", _level, of_frame=True),
    _phrase(rf"\b(?P<at>on|at|in|near|from) the {_SIDE}(?={_ENDS})", _on_a_side, of_frame=True),
    _phrase(rf"\b{_SIDE}(?=most\b)", _named(_SIDES), of_frame=True),
    _phrase(r"\b(?P<way>upper|lower)(?=most\b)", _named(_RISES), of_frame=True),
    _phrase(rf"\b(?P<aims>(?:point|fac)(?:s|es|ing|ed))(?P<to> to the)? (?P<way>left|right|up|down)\b{_STOPS}", _aim),
    _phrase(rf"\b(?:head|mov)(?:s|es|ing|ed)(?: to the)? (?P<way>left|right)\b{_STOPS}", _level),
    _phrase(r"\b(?P<way>left|right|up|down)(?= arrow\b(?! keys?\b))", _named(_AIMS)),
    _phrase(
        r"\bturn(?:s|ing|ed)? (?P<way>left|right)\b(?! (?:away|now|back|there|here|into|off|on|up|down|side|over)\b)", _of_itself
    ),
    _phrase(r"\b(?:(?:counter|anti)[- ]?)?clockwise\b", _spin),
    _phrase(r"[向往]?(?P<way>[左右])转(?![移向])", _of_itself),
    _phrase(r"(?P<way>[顺逆])时针", _of_itself),
    _phrase(r"(?P<way>[順逆])時針", _traditional),
    _phrase(r"(?P<across>[左右])(?P<rise>[上下])", _corner(_HAN), of_frame=True),
    _phrase(r"[向朝往](?P<way>[左右])(?![右左邻翼派])", _named(_HAN)),
    _phrase(r"[向朝往](?P<way>[上下])(?=[移动看走指滑拉推边方侧翻的和、，。,.；;！？]|$)", _named(_HAN)),
    _phrase(r"最(?P<way>[左右上下])(?![层级流])", _named(_HAN), of_frame=True),
    _phrase(r"(?P<way>[左右])(?=[边邊侧側面方端半])(?!方[向法式])", _named(_HAN), of_frame=True),
    _phrase(r"(?<![以如])(?P<way>[上下])(?=[边邊侧側方端])", _named(_HAN), of_frame=True),
)
