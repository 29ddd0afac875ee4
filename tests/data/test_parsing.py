"""JSON of others: what is JSON is read as it is, and all else is told in plain words."""

import json

import pytest

from kimivl.data.parsing import DEEPEST, NotJson, parse_json


def nested(depth: int, list_: bool = True) -> str:
    return ("[" if list_ else '{"a": ') * depth + "1" + ("]" if list_ else "}") * depth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{half", "not valid JSON .* at column 2"),
        ("{\n\n half", "not valid JSON .* at line 3, column 2"),
        ("", "not valid JSON"),
        (nested(DEEPEST + 1), f"nest more than {DEEPEST} deep: leave out the field"),
        (nested(DEEPEST + 1, list_=False), "nest more than"),
        (nested(100_000), "nest more than"),
        ("[" * 100_000, "nest more than"),
        ('{"n": ' + "1234567890" * 500 + "}", "the number 123456789012… has more than 4300 digits: write it as a text"),
        (r'{"a": [{"b": "\ud83d"}]}', r"^a\[0\].b holds half of a character"),
        (r'{"a": {"\uDE00": 1}}', r"^'a.\\ude00' holds half of a character"),
        ('{"a": [1, {"b": NaN}]}', r"^a\[1\].b is no number that JSON has .*: write null"),
        ("[-Infinity]", r"^\[0\] is no number"),
        ('{"a": 1E999}', "^a is no number"),
        (r'"\ud83d"', "^it holds half of a character"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_fix(text, words):
    with pytest.raises(NotJson, match=words):
        parse_json(text)


def test_what_is_json_is_read():
    wide = [{"a": [1, [2]]}] * 500
    for value in (wide, json.loads(nested(DEEPEST)), {"😀": "😀"}, "[[[", 10**4299, None, ["NaN", "Infinity"], 1e300):
        assert parse_json(json.dumps(value)) == value
