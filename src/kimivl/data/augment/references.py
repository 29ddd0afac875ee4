"""What an answer says of the choices of its question by their letters, and the same in other letters.

What it is: `renamed`. A letter is changed where its surroundings leave no doubt that it names a choice ("Answer: B", "(B)", 选B,
"\\boxed{B}", "options A and C", "B. a dog" where B is a dog).
What it is not: a reader. A letter that may as well be a word or a name ("A dog", "vitamin A", "figure C", "B has the largest
bar") is refused, never guessed at, and so is what names choices by their order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kimivl.data.augment.geometry import Unspeakable
from kimivl.processor.thoughts import CLOSE, OPEN

REACH = 200  # characters around a letter that are looked at: a thought may be long
_MARKERS = re.compile("|".join(map(re.escape, (OPEN, CLOSE, "<think>", "</think>"))))
_LETTER = re.compile(  # alone: not of B-tree, C++, D'Angelo, he'd or 30 °C
    r"(?<![A-Za-z0-9_°])(?<![A-Za-z]['’])(?P<letters>[A-H]+|[a-h])"
    r"(?![A-Za-z0-9_+#]|['’](?!s\b)[A-Za-z]|-(?!option|choice|answer)\w)"
)
_RANGE = re.compile(r"(?<![A-Za-z0-9_])([A-H])\s*(?:-|–|—|~|to|through|到|至)\s*([A-H])(?![A-Za-z0-9_])")
_OTHER_SIGNS = re.compile("[Ａ-Ｈａ-ｈⒶ-Ⓗⓐ-ⓗ🄰-🄷🅐-🅗🅰🅱]")
_BY_ORDER = re.compile(
    r"\b(?:first|second|third|fourth|fifth|last|next|previous|preceding|1st|2nd|3rd|4th|5th)\s+(?:\w+\s+)?"
    r"(?:options?|choices?|alternatives?|ones?|two|three|four|statements?)\b"
    r"|\b(?:former|latter)\b|\b(?:options?|choices?)\s*(?:#|no\.?|number)?\s*(?:\d|one|two|three|four)\b"
    r"|第.{1,2}(?:个|個)?(?:选项|項|项|句)|选项\s*[一二三四五\d]|[前后][者两三]|最后一?[个项]",
    re.IGNORECASE,
)

# Behind a text that ends like one of these, a letter names a choice; brackets and stars may stand between.
_WRAP = r"(?:\\(?:boxed|text|textbf|mathrm|mathbf|fbox)\{|[\s*_`\"“‘'(（\[{$:：])*$"
_NOUN = re.compile(
    rf"(?:\b(?:options?|choices?|alternatives?)\b(?:\s+(?:is|are|was|would be|should be|must be))?|"
    rf"选项|选择|排除|(?<![候精挑人入当竞评])选(?:的是|了)?|答案(?:应该|应当|应)?(?:是|为|选)?)\s*[是为]?{_WRAP}",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"\banswers?(?:\s+(?:choice|option|letter))?(?:\s+(?:is|are|was|would be|should be|must be|will be|has to be))?"
    rf"(?:\s+(?:therefore|thus|clearly|definitely|likely|probably|simply|indeed|then|option|choice|both|either))?{_WRAP}",
    re.IGNORECASE,
)
_CHOOSE = re.compile(
    rf"\b(?:choose|chose|choosing|pick|picked|picking|select|selected|selecting|go with|going with|eliminat(?:e|ed|es|ing)|"
    rf"rule out|ruled out|ruling out|exclud(?:e|ed|es|ing)|discard(?:ed|ing)?)\b{_WRAP}",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\(?:text|textbf|mathrm|mathbf)\{)?\s*[(]?\s*$")
_SMALL = re.compile(  # a sentence, or a part of it, begins here
    r"(?:^|[.,;:!?。，；：！？、\n]|\b(?:so|thus|therefore|hence|that|and|or|but|while|because|since|if|then|only|both|neither|nor|either|"
    r"not|than|whether|clearly|between)|所以|因此|因而|故|而|但|只有|即|就是|因为|则|和|与|或)[\s*_`\"“(（]*$",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(r"(?:\b(?:so|thus|therefore|hence)|所以|因此|因而|故)[,，]?[\s*_`(（]*$", re.IGNORECASE)
_AT_FIRST = re.compile(r"[\s*_`\"“(（\[]*$")  # all that stands before

# What follows the letter.
_SHUT = r"[)）\]*_`}\"”'’$]*"
_ENDED = re.compile(
    rf"{_SHUT}\s*(?:$|[.,;:!?。，；：！？、\n)）}}])|{_SHUT}\s+(?:because|since|and|or|but|for|as)\b", re.IGNORECASE
)
_LINE_ENDED = re.compile(rf"{_SHUT}[.:。：]?{_SHUT}[ \t]*(?:$|\n)")
_BOX_ENDED = re.compile(r"\s*[)]?\s*\}")
_JUDGED = re.compile(
    rf"{_SHUT}\s*(?:(?:is|are|was|were|seems|looks|must be|would be|cannot be|can be|being)\s+"
    r"(?:(?:clearly|also|definitely|therefore|thus|not|obviously|probably|likely|both|all|then|the)\s+)*"
    r"(?:correct|incorrect|wrong|right(?! of\b)|false|invalid|valid|eliminated|ruled out|excluded|answers?\b|best\b|unlikely)"
    r"|(?:选?项)?(?:是|为|不|也|都|完全|显然)*(?:正确|错误|对的|不对|错的|错|符合|不符|排除))",
    re.IGNORECASE,
)
_ITEM = re.compile(rf"{_SHUT}\s*(?:选项|选?项(?!目))")
_EXPLAINED = re.compile(rf"{_SHUT}[.):：。）]{_SHUT}\s+(?:Because|Since|The|This|Explanation|Reason|因为|由于|理由|解释)")
_WORD_FOLLOWS = re.compile(r"\s+[a-z]")
_NO_NOUN = re.compile(r"\s+(?:and|or|nor|but|is|are|was|were|because|since|not|so|would|cannot|do|does|did|must|seems|fits?)\b")
_JOIN = re.compile(
    rf"{_SHUT}\s*(?:[,，、&/]|(?:[,，]\s*)?(?:and|or|nor|not|but(?: not)?|rather than|和|与|或|及|以及|而不是))\s*"
    r"[(（\[*_`\"“'‘]*"
)

# A whole answer of letters and nothing else.
_LIST = re.compile(r"[\s*_`(（\[]*[A-H](?:\s*(?:[,，、&;]|(?:, ?)?\band\b|(?:, ?)?\bor\b|和|与|或)\s*[A-H])+[\s*_`)）\].。]*")
_SMALL_LIST = re.compile(r"\W*[a-h]{2,}\W*")


@dataclass
class _Mention:
    """Of one letter, or several side by side. `names`: whether it is a choice's for certain, None where it cannot be told."""

    start: int
    end: int
    letters: str
    names: bool | None


def renamed(answer: str, choices: Mapping[str, str], letters: Mapping[str, str], in_brackets: bool) -> str:
    """The answer with every letter that names a choice as of `letters`.

    Args:
        choices: letter → what it stands before.
        letters: old → new, of the same letters.
        in_brackets: the question writes "(A)".
    Raises: Unspeakable where a letter may name a choice or something else, or a choice is named by its place.
    """
    small = _SMALL_LIST.fullmatch(answer)
    if small and not set(re.sub(r"\W", "", answer.upper())) <= set(choices):
        small = None
    if found := _OTHER_SIGNS.search(answer) or _BY_ORDER.search(answer) or small:
        raise Unspeakable(f"{found[0]!r} may name a choice by its place, or in another sign", "choices")
    pieces, end = list[str](), 0
    for marker in [*_MARKERS.finditer(answer), None]:  # a thought and an answer begin and end on their own
        piece = answer[end : marker.start()] if marker else answer[end:]
        pieces.append(_piece_renamed(piece, choices, letters, in_brackets))
        if marker:
            pieces.append(marker[0])
            end = marker.end()
    return "".join(pieces)


def _piece_renamed(text: str, choices: Mapping[str, str], letters: Mapping[str, str], in_brackets: bool) -> str:
    ranges = [match.span() for match in _RANGE.finditer(text) if not _is_all(match, choices)]
    if ranges:
        raise Unspeakable(f"{text[slice(*ranges[0])]!r} names choices by their order", "choices")
    of_all = [match.span() for match in _RANGE.finditer(text)]
    mentions = [
        _Mention(match.start(), match.end(), match["letters"], _names(text, match, choices, in_brackets))
        for match in _LETTER.finditer(text)
        if set(match["letters"].upper()) <= set(choices) and not any(a <= match.start() < b for a, b in of_all)
    ]
    _join(text, mentions)
    said, end = [], 0
    for mention in mentions:
        if mention.names is None:
            around = text[max(0, mention.start - 20) : mention.end + 20].strip()
            raise Unspeakable(f"{mention.letters} in {around!r} may be a choice or a word", "choices")
        said += [text[end : mention.start], _other(mention.letters, letters) if mention.names else mention.letters]
        end = mention.end
    return "".join([*said, text[end:]])


def _is_all(match: re.Match[str], choices: Mapping[str, str]) -> bool:
    return (match[1], match[2]) == (min(choices), max(choices))


def _join(text: str, mentions: list[_Mention]) -> None:
    """In "A, B and C" all are choices where one is, unless it is the word "a"."""
    for around in (list(zip(mentions, mentions[1:])), list(zip(mentions[1:], mentions))[::-1]):
        for known, other in around:
            between = text[min(known.end, other.end) : max(known.start, other.start)]
            if known.names and other.names is None and _JOIN.fullmatch(between) and not _may_be_article(text, other):
                other.names = True


def _may_be_article(text: str, mention: _Mention) -> bool:
    after = text[mention.end :]
    return mention.letters in "Aa" and bool(_WORD_FOLLOWS.match(after)) and not _NO_NOUN.match(after)


def _names(text: str, match: re.Match[str], choices: Mapping[str, str], in_brackets: bool) -> bool | None:
    """Whether letters name choices; None where that cannot be told."""
    letters, reach = match["letters"], REACH + max(map(len, choices.values()))
    before, after = text[max(0, match.start() - REACH) : match.start()], text[match.end() : match.end() + reach]
    if letters.islower():
        return _small_names(letters, before, after, choices)
    if len(letters) > 1:  # "AC" for both; as the whole answer, or where an answer must follow
        if list(letters) != sorted(set(letters)):
            return None
        told = _BOXED.search(before) or _NOUN.search(before) or _ANSWER.search(before) or _AT_FIRST.match(before)
        return True if told and _LINE_ENDED.match(after) or _BOXED.search(before) and _BOX_ENDED.match(after) else None
    article = letters == "A" and bool(_WORD_FOLLOWS.match(after)) and not _NO_NOUN.match(after)
    if article and not _NOUN.search(before):
        quoted = [letter for letter, choice in choices.items() if _begins(f"a{after}", choice) or _begins(after.lstrip(), choice)]
        return False if quoted and (quoted != ["A"] or _begins(f"a{after}", choices["A"])) else None
    if _NOUN.search(before) or _ITEM.match(after):
        return True
    if _is_followed_by(choices[letters], after) and (len(choices[letters].strip()) > 3 or _SMALL.search(before)):
        return True
    if _BOXED.search(before):
        return True if _BOX_ENDED.match(after) else None
    if (_ANSWER.search(before) or _CHOOSE.search(before)) and _ENDED.match(after):
        return True
    if len(text) < REACH and _LIST.fullmatch(text) or _CONCLUDES.search(before) and _LINE_ENDED.match(after):
        return True
    if _AT_FIRST.match(before) and (
        _LINE_ENDED.match(after) or _EXPLAINED.match(after) or re.match(r",? (?:because|since)\b", after)
    ):
        return True
    if _is_last_line(before, after) or _SMALL.search(before) and _JUDGED.match(after):
        return True
    bracketed = in_brackets and before.endswith("(") and after.startswith(")")
    return True if bracketed and _SMALL.search(before[:-1]) else None


def _small_names(letter: str, before: str, after: str, choices: Mapping[str, str]) -> bool | None:
    """Of small letters, most are words or signs of mathematics; where an answer must follow, they may name a choice."""
    alone = _AT_FIRST.fullmatch(before) and not after.strip(" \n.*_)）")
    if any(re.search(rf"(?<![A-Za-z]){letter}(?![A-Za-z]| [a-z])", choice) for choice in choices.values()):
        return None if alone or _BOXED.search(before) or _ANSWER.search(before) or _NOUN.search(before) else False
    if alone:
        return True
    told = _NOUN.search(before) or _ANSWER.search(before) or _CHOOSE.search(before) or _BOXED.search(before)
    if told and (_ENDED.match(after) or _BOX_ENDED.match(after)):
        return True
    if _is_followed_by(choices[letter.upper()], after):
        return True
    in_brackets = before.endswith(("(", "（")) and after.startswith((")", "）"))
    return None if in_brackets or letter != "a" and told or letter == "a" and _NOUN.search(before) else False


def _is_followed_by(choice: str, after: str) -> bool:
    """Whether the choice's own text stands behind its letter, with a mark between them: "B. a dog", "(B) a dog"."""
    mark = re.match(r"(?:[)）*_`]*\s*[.:：、，,)）–—-]|[)）*_`]*\s*[(（\"“])[)）*_`\"“]*\s*", after)
    return mark is not None and _begins(after[mark.end() :], choice)


def _begins(text: str, choice: str) -> bool:
    choice = choice.strip().rstrip(".。;；,，").lower()
    return bool(choice) and text.lower().startswith(choice) and not re.match(r"[A-Za-z0-9]", text[len(choice) :])


def _is_last_line(before: str, after: str) -> bool:
    return bool(re.search(r"\n[\s*_`\"“(（\[]*$", before)) and bool(re.fullmatch(rf"{_SHUT}[.。]?{_SHUT}\s*", after))


def _other(old: str, letters: Mapping[str, str]) -> str:
    new = sorted(letters[letter] for letter in old.upper())
    return "".join(new).lower() if old.islower() else "".join(new)
