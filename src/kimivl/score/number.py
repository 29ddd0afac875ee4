"""Whether an answer is the expected number.

What it is: `number`, exact, and `relaxed_number`, within 5 % as ChartQA counts it.
What it is not: a search in a sentence. An answer is a number and nothing else, apart from thousands separators, a sign of money
or per cent and one final full stop: "12 or 13" has no value, and neither has "the sum of 12 and 30 is 42".
Facts: ChartQA's relaxed accuracy takes years (four digits from 1000 to 2999, no decimals) and 0 exactly.
"""

import re
from fractions import Fraction

RELAXED = Fraction(5, 100)
_NUMBER = re.compile(r"(?P<sign>[-+−]?)\s*[$€£]?\s*(?P<digits>\d{1,3}(?:,\d{3})+|\d+)?(?P<decimals>\.\d+)?\s*(?P<percent>%?)")
_FRACTION = re.compile(r"([-+−]?)\s*(\d+)\s*/\s*(\d+)")
LONGEST = 40  # characters; longer ones are no answers, and would cost time


def parse_number(text: str) -> Fraction | None:
    """The value of an answer such as "1,204", "−0.5", "3/4" or "12 %" (which is 12); None if it is no number alone."""
    text = text.strip().removesuffix(".").rstrip()
    if len(text) > LONGEST:
        return None
    if match := _FRACTION.fullmatch(text):
        sign, above, below = match.groups()
        return None if int(below) == 0 else _signed(sign, Fraction(int(above), int(below)))
    match = _NUMBER.fullmatch(text)
    if match is None or not (match["digits"] or match["decimals"]):
        return None
    return _signed(match["sign"], Fraction((match["digits"] or "0").replace(",", "") + (match["decimals"] or "")))


def number(prediction: str, truth: str) -> float:
    """1.0 if both are the same number, however it is written, else 0.0. Raises: ValueError for a truth that is no number."""
    return float(parse_number(prediction) == _truth(truth))


def relaxed_number(prediction: str, truth: str) -> float:
    """1.0 within 5 % of the truth; years and 0 exactly. Raises: ValueError for a truth that is no number."""
    value, right = parse_number(prediction), _truth(truth)
    if value is None:
        return 0.0
    exact = right == 0 or _is_year(truth)
    return float(value == right if exact else abs(value - right) <= RELAXED * abs(right))


def _truth(text: str) -> Fraction:
    value = parse_number(text)
    if value is None:
        raise ValueError(f"the truth {text!r} is no number")
    return value


def _is_year(text: str) -> bool:
    return re.fullmatch(r"[12]\d{3}", text.strip()) is not None


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign in ("-", "−") else value
