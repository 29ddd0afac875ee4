"""What is in another language than English and Chinese is seen, at the price of some that is not."""

import pytest

from kimivl.data.augment.languages import stranger_in

KNOWN = [
    "Where is the red circle?", "Yes.", "42", "圆在哪里？", "順時針", "红色的 circle", "α = 3, β", "café on the table",
    "A cup.",
    "red circle, blue square, green triangle, big star", '{"label": "dog", "bbox": [1, 2]}', "click(x=0.1, y=0.2)",
    "red circle .34 .56",
    "x^2 + \\frac{a}{b} \\sin \\theta", "https://example.org/le/la",
]  # fmt: skip
STRANGE = [
    "Wo ist der rote Kreis?", "à gauche", "links", "Le chat est sur la table.", "El gato está a la izquierda.", "kiri",
    "Где круг?",
    "丸はどこ？", "원이 어디에 있습니까?", "अंक", "أين الدائرة؟", "Ελλάδα", "Kissa on pöydän päällä", "Gdzie jest kot?",
    "vlevo",
    "Di mana lingkaran merah?", "paka yuko wapi kwenye picha hii nzuri sana", "Onde fica o gato?", "Il gatto è sopra la sedia.",
]  # fmt: skip


@pytest.mark.parametrize("text", KNOWN)
def test_english_and_chinese_are_no_strangers(text):
    assert stranger_in([text], {}) == ""


@pytest.mark.parametrize("text", STRANGE)
def test_other_languages_are_strangers_also_beside_english(text):
    assert stranger_in([text], {}) and (len(text.split()) > 5 or stranger_in(["Where is the cat in this picture?", text], {}))


def test_a_record_that_says_its_language_is_believed():
    assert stranger_in(["A cup."], {"language": "fr"}) == "fr" and stranger_in(["A cup."], {"lang": "pt-BR"}) == "pt-BR"
    assert not stranger_in(["A cup."], {"language": "en-US"}) and not stranger_in(["杯子"], {"lang": "zh-Hans"})


def test_a_list_of_names_is_not_taken_for_a_language_where_the_question_is_english():
    names = "dog cat horse cow sheep bird"
    assert stranger_in([names], {}) and not stranger_in(["Name all the animals that you can find in the image.", names], {})
