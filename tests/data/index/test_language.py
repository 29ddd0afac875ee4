"""The script tells the language where it can, and nothing is guessed where it cannot."""

import pytest

from kimivl.data.index.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("图中有一只猫。", "zh"), ("これは猫です。", "ja"), ("東京タワー", "ja"), ("고양이", "ko"), ("แมว", "th"), ("חתול", "he"),
        ("γάτα", "el"), ("A cat.", None), ("Кот и кіт", None), ("قطة", None), ("", None), ("12 + 3 = 15", None), ("été", None),
        ("图中是 iPhone 15 的包装盒", "zh"), ("The sign says 猫, which is the word for a cat in Chinese.", None),
    ],
)  # fmt: skip
def test_languages_by_script(text, language):
    assert language_of(text) == language


def test_only_the_beginning_of_a_long_text_is_looked_at():
    assert language_of("é" * 2000 + "猫" * 9000) is None
