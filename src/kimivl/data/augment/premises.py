"""What must hold before a picture may go through a warp at all, by what the texts of its sample speak of.

What it is: `check`, the rules that look at words and leave them as they are: writing and all that has one way round is not
mirrored, a size that is told is not changed, numbers that look like places are not left behind where nobody said of which kind
they are, and nothing moves below words of a language whose directions are not known.
What it is not: the saying anew of places and directions (`coordinates.py`, `directions.py`), or a look at the picture: writing
that no text hints at is not seen.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kimivl.data.augment.coordinates import Kind, place_in
from kimivl.data.augment.directions import stands_still
from kimivl.data.augment.geometry import Unspeakable, Warp
from kimivl.data.augment.languages import stranger_in
from kimivl.processor.messages import TextPart

# A mirror would turn these round: writing and what is covered with it, faces of clocks, maps, hands, traffic, screws.
_ONE_WAY_ROUND = re.compile(
    r"\b(?:texts?|letters?|words?|characters?|alphabet|read|reads|reading|written|writes?|writing|spell\w*|says|numbers?|digits?|"
    r"numerals?|ocr|transcri\w*|extract\w*|markdown|latex|html|sign|signs|signature|logos?|brands?|labels?|titles?|subtitles?|"
    r"documents?|pages?|invoices?|receipts?|posters?|slides?|books?|newspapers?|magazines?|comics?|equations?|formulas?|formulae|"
    r"charts?|graphs?|plots?|axis|axes|histograms?|diagrams?|flowcharts?|infographics?|(?<!on the )(?<!on a )tables?|prices?|"
    r"screenshots?|screens?|websites?|web ?pages?|browsers?|buttons?|icons?|menus?|apps?|desktop|keyboards?|pyautogui|"
    r"clocks?|time|dials?|gauges?|speedometers?|thermometers?|rulers?|calendars?|dates?|maps?|compass|flags?|barcodes?|qr|"
    r"hands?|handed|handedness|sheet music|chess\w*|licen[cs]e plates?|number plates?|steering|driver\w*|passenger\w*|traffic|"
    r"starboard|larboard|port side|molecul\w*|chiral\w*|enantiomer\w*|helix|spirals?|screws?|knots?)\b"
    r"|\b(?:scroll|hscroll|swipe|hotkey|type|write|press|goto|open_app|long_press|(?:left|right|double|middle|triple)_?click)\s*\("
    r"|[$€£¥]\s?\d|\d\s?[%％]"
    r"|[字写读钟手牌书棋]|地图|时间|日历|键盘|仪表|方向盘|数字|公式|标题|标签|图表|表格|坐标轴|[线状饼程]图|文档|文件|发票|收据|海报|报纸"
    r"|截图|屏幕|页面|网页|界面|按钮|菜单|图标|识别|提取|螺旋|分子",
    re.IGNORECASE,
)
_OF_GLYPHS = re.compile(r"\b(?:digits?|letters?|characters?|symbols?|glyphs?|read|written)\b|[字写读]|符号", re.IGNORECASE)
_LONE_TWIN = re.compile(r"(?<![\w'’])[bdpq](?![\w'’])")  # one of which, mirrored or turned, is another
_LONE_SIGN = re.compile(r"\W*[69MWNZSnusz]\W*")  # turned
_LETTERS = re.compile(r"[^\W\d_]")
_OF_SIZE = re.compile(
    r"\b\d{3,5}\s*[x×✕*]\s*\d{3,5}\b|\b(?:resolution|aspect ratio|dimensions)\b|\bpixels? (?:wide|high|tall)\b"
    r"|分辨率|宽高比|长宽比|[图画][片像面](?:大小|尺寸)",
    re.IGNORECASE,
)


def check(texts: Sequence[TextPart], meta: Mapping[str, Any], kind: Kind | None, warp: Warp) -> None:
    """Nothing where the texts of a sample allow this warp of its picture.

    Args:
        kind: of the numbers in the texts that are places; None if the record does not say so.
    Raises: Unspeakable naming the words that do not.
    """
    for text in (part.text for part in texts):
        if warp.before != warp.after and (found := _OF_SIZE.search(text)):
            raise Unspeakable(f"{found[0]!r} may be the size of the picture, which changes")
    still = stands_still(warp)
    if kind is None and not (still and warp.before == warp.after):
        for part in texts:
            if place := place_in(part.text):
                raise Unspeakable(f'{place!r} may be a place: say in the record\'s meta of which kind, as "coordinates"')
    if still:
        return
    if stranger := stranger_in([part.text for part in texts], meta):
        raise Unspeakable(f"{stranger!r} is in a language whose words for directions are not known", "language")
    for part in texts:
        _check_writing(part, warp)
    if not warp.mirrors and _turns(warp) and any(_OF_GLYPHS.search(part.text) for part in texts):
        if alone := next((part.text for part in texts if _LONE_SIGN.fullmatch(part.text)), None):
            raise Unspeakable(f"{alone!r} may be another sign on a turned page", "writing")


def _check_writing(part: TextPart, warp: Warp) -> None:
    if warp.mirrors and (found := _ONE_WAY_ROUND.search(part.text)):
        raise Unspeakable(f"{found[0]!r}: what the picture shows may not be mirrored", "writing")
    if warp.mirrors and part.spelled and _LETTERS.search(part.text):  # so is written what is read off a picture
        raise Unspeakable(f"{part.text!r} is spelled: what the picture shows may not be mirrored", "writing")
    if (warp.mirrors or _turns(warp)) and (found := _LONE_TWIN.search(part.text)):
        raise Unspeakable(f"{found[0]!r} may be a sign that is another one mirrored or turned", "writing")


def _turns(warp: Warp) -> bool:
    """Whether up is another direction afterwards."""
    return warp.directions["up"] != "up"
