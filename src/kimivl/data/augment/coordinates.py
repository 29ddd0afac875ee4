"""Coordinates in a text, read and written again for a warped picture.

What it is: `moved`, which finds points, boxes, polygons and the arguments of actions such as `click(x=0.31, y=0.5)`, takes them
through a warp and writes them in their old form, or in one of `FORMATS`; and `named`, which lists them for whoever draws them.
What it is not: a guess at what a number means: whether a text holds coordinates, and of which kind, is said by its record.
Facts: the kinds are those that agents and grounding data use (paper §3.1, Appendix B): shares of the sides, thousandths, pixels.
Numbers keep their decimals, and "0.34" its zero; what cannot be told from a coordinate is refused and never skipped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kimivl.data.augment.geometry import Size, Unspeakable, Warp

Kind = Literal["unit", "thousand", "pixel"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WHOLE = {"unit": 1.0, "thousand": 1000.0}  # what the length of a side is called; pixels are themselves

_NUMBER = r"\d*\.\d+|\d+"
_SEPARATOR = "[,;，；、]"
_BRACKETED = re.compile(
    rf"[\[(（【]\s*(?:{_NUMBER})(?:\s*{_SEPARATOR}?\s+(?:{_NUMBER})|\s*{_SEPARATOR}\s*(?:{_NUMBER}))+\s*[\])）】]"
)
_RUN = re.compile(r"(?<![\w.])\d*\.\d+(?:[ ,，、]+\d*\.\d+)*(?![\w.]|\()")  # shares without brackets: "red circle .34 .56"
_BARE = re.compile(rf"(?<![\w.])\d+(?:\s*{_SEPARATOR}\s*|\s+)\d+(?![\w.])")  # whole numbers side by side, without brackets
_AXIS = (
    r"(?:[a-z]+_)?[xy](?:_?(?:\d+|min|max|start|end|from|to|center|pos))?|(?:min|max|start|end|from|to|center|pos)[xy]|[cd][xy]"
    r"|left|top|right|bottom|width|height"
)
_STRAY = re.compile(  # outside of a call: sides and axes with their numbers, tokens of places, parts of a hundred side by side
    rf"(?<![a-z_])(?:{_AXIS})[\"']?(?:\s*[:=：]\s*|\s+(?:is |of |at )?)[\"']?[-−–]?\.?\d[\d.]*"
    r"|<\|?(?:loc|bin|coord|[xy])[_-]?\d+|\d[\d.]*\s*[%％]\s*(?:,|，|、|;|and|和)?\s*[\d.]+\s*[%％]|\d[\d.]*\s*(?:px|pixels?|像素)(?![a-z])"
    r"|[\d.]\s*[%％] of the (?:\w+(?:'s)? )?(?:width|height|way)|[宽高]度?的?\s*\d+\s*[%％]",
    re.IGNORECASE,
)
_OTHER_ORDER = re.compile(  # boxes that are not left, top, right, bottom
    r"\bxywh\b|\bcxcywh\b|\[x, ?y, ?w(?:idth)?, ?h|\by_?(?:min|1), ?x_?(?:min|1)\b|\(y, ?x\)|\bbox_2d\b", re.IGNORECASE
)
_YEARS = re.compile(rf"[\[(（]\s*(?:19|20)\d\d(?:\s*{_SEPARATOR}\s*(?:19|20)\d\d)+\s*[\])）]")
_NEGATIVE = re.compile(
    r"(?:[\[(（,，;=]\s*|(?<=\s))[-−–]\s?\.?\d[\d.]*(?=\s*[,，;；、\])）])"
)  # beside others, or alone in brackets
_OF_BOX = re.compile(r"box|rect|region|crop|zoom|select", re.IGNORECASE)
_OF_STROKE = re.compile(r"\b(?:swip|drag|strok|slid|fling|segment|path|arrow)\w*|[拖滑划]|线段|轨迹|箭头", re.IGNORECASE)
_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*|拖[动拽]|[滑划移]动)\((?P<body>[^()]*)\)")
_NAMED = re.compile(rf"\b(?P<axis>[xy])(?P<which>\d*)\s*=\s*(?P<value>{_NUMBER})(?![\w.%％])")
_MARKED = re.compile(
    r"<\|?/?(?:loc|point|box|bbox|quad|poly|coord)\w*\W?|\bb?box(?:_2d|es)?\b[\"']?\s*[:=]|\bstart_box\b"
    r"|\b(?:points?|positions?|coordinates?|locations?|clicks?|taps?)\W{1,3}\d[\d.]*[\s,;，]+\d",
    re.IGNORECASE,
)
_PAIRED = re.compile(  # "x": 310, "y": 500
    r"(?<![a-z])x(?:_?(?:1|min))?[\"']?(?:\s*[:=]\s*|\s+(?:is|at)\s+)\.?\d[\d.]*\s*[,;，]?\s*(?:and )?"
    r"[\"']?y(?:_?(?:1|min))?[\"']?(?:\s*[:=]|\s+(?:is|at)\s)"
    r"|(?<![a-z])(?:left|x_?min|x_?1)[\"']?\s*[:=]\s*\.?\d",
    re.IGNORECASE,
)
_EACH = re.compile(_NUMBER)

Piece = tuple[str, bool]  # of a text, and whether it is done
Places = Callable[[np.ndarray], np.ndarray]  # numbers of a text as places [N, 2] → numbers


@dataclass(frozen=True)
class Format:
    """How places are written anew."""

    kind: Kind
    decimals: int

    def written(self, value: float) -> str:
        return f"{max(0.0, value):.{self.decimals}f}"


FORMATS = {  # by the names that the bank of sentences knows them by
    "unit-2": Format("unit", 2),
    "unit-3": Format("unit", 3),
    "thousand": Format("thousand", 0),
    "pixel": Format("pixel", 0),
}
_NAMES_A_FORMAT = re.compile(
    r"\b(?:pixels?|px|normali[sz]ed|relative|absolute|fractions?|percent\w*|thousandths?|decimals?|ratios?)\b"
    r"|\b0(?:\.0)?\s*(?:-|–|~|to|and|,)\s*1(?:\.0|,?000)?\b(?!\.)|归一化|像素|千分|小数|比例|百分|0\s*[到至~]\s*1",
    re.IGNORECASE,
)


def format_named(text: str) -> str:
    """The words by which a text says how places are written; "" if it does not."""
    found = _NAMES_A_FORMAT.search(_BRACKETED.sub("", text))
    return found[0] if found else ""


def place_in(text: str) -> str:
    """What looks like a place in a text whose record says of none; "" if nothing does. Lists of odd length are other numbers."""
    for match in _CALL.finditer(text):
        if _NAMED.search(match["body"]):
            return match[0]
    for match in _BRACKETED.finditer(text):
        if len(_EACH.findall(match[0])) % 2 == 0 and not _YEARS.fullmatch(match[0]):
            return match[0]
    for match in _RUN.finditer(text):
        numbers = [float(number) for number in _EACH.findall(match[0])]
        if len(numbers) in (2, 4) and max(numbers) <= 1:
            return match[0]
    found = _MARKED.search(text) or _PAIRED.search(text)
    return found[0] if found else ""


def moved(text: str, kind: Kind, warp: Warp, into: Format | None = None) -> str:
    """The text about the warped picture. Two numbers are a point, four a box, more an outline.

    Args:
        kind: of the numbers in `text`.
        into: what they are written as, after the warp and rounded once; as they were by default.
    Raises: Unspeakable, with what could not be said, where a place lies outside of a picture, or a number belongs to none.
    """
    after = into.kind if into else kind

    def point(numbers_N2: np.ndarray) -> np.ndarray:
        places = warp.points(_inside(numbers_N2, kind, warp.before) * _scale(kind, warp.before))
        return _inside(places / _scale(after, warp.after), after, warp.after)

    def box(numbers_N2: np.ndarray) -> np.ndarray:
        edges = _inside(numbers_N2, kind, warp.before) * _scale(kind, warp.before)
        if (edges[1] < edges[0]).any():
            raise Unspeakable(f"the box {numbers_N2.flatten().tolist()} is not left, top, right, bottom")
        new = np.array(warp.box(tuple(edges.flatten().tolist()))).reshape(2, 2) / _scale(after, warp.after)
        if into and any(float(into.written(low)) >= float(into.written(high)) for low, high in new.T.tolist()):
            raise Unspeakable(f"the box {numbers_N2.flatten().tolist()} is too small for {into}", "format")
        return new

    return _rewritten(text, point, box, into)


@dataclass(frozen=True)
class Named:
    """What a text names in a picture: a point, a box (left, top, right, bottom), a path from one point to the next, an outline.

    `numbers_N2`: as they stand in the text. `pixels_N2`: the same in pixels of the picture.
    """

    form: Literal["point", "box", "path", "outline"]
    numbers_N2: np.ndarray
    pixels_N2: np.ndarray


def named(text: str, kind: Kind, size: Size) -> tuple[list[Named], str]:
    """The places that `moved` would move, those of calls first, inside the picture or not; and where it would stop, or "".

    Args:
        size: of the picture, (W, H).
    """
    found: list[Named] = []

    def note(form: Literal["point", "box", "path", "outline"], numbers_N2: np.ndarray) -> np.ndarray:
        found.append(Named(form, numbers_N2, numbers_N2 * _scale(kind, size)))
        return numbers_N2

    def points(numbers_N2: np.ndarray) -> np.ndarray:
        return note("point" if len(numbers_N2) == 1 else "path" if len(numbers_N2) == 2 else "outline", numbers_N2)

    try:
        _rewritten(text, points, lambda numbers_N2: note("box", numbers_N2), None)
    except Unspeakable as reason:
        return found, str(reason)
    return found, ""


def _scale(kind: Kind, size: Size) -> np.ndarray:
    """Pixels of one unit of the numbers, along both sides."""
    return np.ones(2) if kind == "pixel" else np.array(size) / WHOLE[kind]


def _inside(numbers_N2: np.ndarray, kind: Kind, size: Size) -> np.ndarray:
    limit = np.array(size) / _scale(kind, size)
    if (numbers_N2 < -1e-9).any() or (numbers_N2 > limit + 1e-9).any():
        raise Unspeakable(f"the place {numbers_N2.tolist()} lies outside of a picture of {size[0]}×{size[1]} ({kind})")
    return numbers_N2


def _rewritten(text: str, point: Places, box: Places, into: Format | None) -> str:
    if found := _NEGATIVE.search(text):
        raise Unspeakable(f"{found[0]!r} is negative: places lie inside of the picture")
    if found := _OTHER_ORDER.search(text):
        raise Unspeakable(f"{found[0]!r}: boxes are read as left, top, right, bottom, and these are not")
    if found := _YEARS.search(text):
        raise Unspeakable(f"{found[0]!r} may be years, and may be places")

    def numbers(match: re.Match[str]) -> str:
        before = match.string[max(0, match.start() - 40) : match.start()]
        if len(_EACH.findall(match[0])) == 4 and (stroke := _OF_STROKE.search(before)):
            raise Unspeakable(f"{match[0]!r} may be a box, or two ends of what {stroke[0]!r} speaks of")
        return _numbers(match[0], point, box, into)

    def run(match: re.Match[str]) -> str:
        if into and not into.decimals:  # whole numbers without brackets could not be told from others
            raise Unspeakable(f"{match[0]!r} has no brackets: write places in brackets, or as x and y of a call", "format")
        return numbers(match)

    def call(match: re.Match[str]) -> str | None:
        body = match["body"]
        corners = point if not _OF_BOX.search(match["name"]) else box  # a drag goes from one point to another
        if _NAMED.search(body):
            return f"{match['name']}({_arguments(body, point, corners, into)})"
        if len(_EACH.findall(body)) == 1:
            return match[0]  # one number is no place
        inside = _BRACKETED.fullmatch(f"({body})")
        return f"{match['name']}{_numbers(inside[0], point, corners, into)}" if inside else None

    # Calls first, then brackets, then bare runs: what one has written the next must not read again.
    pieces = _apply(_CALL, call, [(text, False)])
    for pattern, write in ((_BRACKETED, numbers), (_RUN, run)):
        pieces = _apply(pattern, write, pieces)
    for piece, done in pieces:
        if not done and (stray := _BARE.search(piece) or _STRAY.search(piece)):
            raise Unspeakable(f"{stray[0]!r} may be a place: write places in brackets, or as x and y of a call")
    return "".join(piece for piece, _ in pieces)


def _apply(pattern: re.Pattern[str], write: Callable[[re.Match[str]], str | None], pieces: list[Piece]) -> list[Piece]:
    """Pieces of a text in which what `pattern` finds was written anew, and is done; what `write` gives None for is not."""
    result: list[Piece] = []
    for piece, done in pieces:
        if done:
            result.append((piece, True))
            continue
        end = 0
        for match in pattern.finditer(piece):
            written = write(match)
            if written is not None:
                result += [(piece[end : match.start()], False), (written, True)]
                end = match.end()
        result.append((piece[end:], False))
    return result


def _numbers(written: str, point: Places, box: Places, into: Format | None) -> str:
    """ "(x, y)", "[left, top, right, bottom]" or an outline, with its brackets and commas as they are."""
    old = _EACH.findall(written)
    if len(old) < 2 or len(old) % 2:
        raise Unspeakable(f"{written!r} has {len(old)} numbers, which is no list of places")
    places = np.array([float(number) for number in old]).reshape(-1, 2)
    new = (box if len(old) == 4 else point)(places).flatten().tolist()
    replaced = iter(_written(number, value, into) for number, value in zip(old, new))
    return _EACH.sub(lambda match: next(replaced), written)


def _arguments(body: str, point: Places, box: Places, into: Format | None) -> str:
    """The named coordinates of a call: x and y are a point, x1 to y2 a box, further numbers an outline."""
    found = list(_NAMED.finditer(body))
    rest = _NAMED.sub("", body)
    if re.search(r"[\[(]|\.\d|[-−–]\s?\d", rest) or _STRAY.search(rest):
        raise Unspeakable(f"the arguments {body!r} hold more than x and y")
    names = [match["axis"] + match["which"] for match in found]
    wanted = [axis + which for which in dict.fromkeys(match["which"] for match in found) for axis in "xy"]
    if sorted(names) != sorted(wanted):
        raise Unspeakable(f"the arguments {body!r} name x and y not in pairs")
    values = {name: match["value"] for name, match in zip(names, found)}
    places = np.array([float(values[name]) for name in wanted]).reshape(-1, 2)
    new = dict(zip(wanted, (box if len(wanted) == 4 else point)(places).flatten().tolist()))

    def write(match: re.Match[str]) -> str:
        head = match[0][: match.start("value") - match.start()]
        return head + _written(match["value"], new[match["axis"] + match["which"]], into)

    return _NAMED.sub(write, body)


def _written(old: str, value: float, into: Format | None) -> str:
    """The value in the form of the old number, where no other is asked for."""
    if into:
        return into.written(value)
    written = f"{max(0.0, value):.{len(old.partition('.')[2])}f}"
    return written.removeprefix("0") if old.startswith(".") and written.startswith("0.") else written
