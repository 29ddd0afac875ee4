"""The form of made-up facts, and the share of their values that is kept for tests."""

from kimivl.data.facts import VALUES, is_held_out, opening, question, statement


def test_a_fact_is_a_sentence_and_its_opening_breaks_off_before_the_value():
    assert statement("Lima", "opal maple otter") == "The code of Lima is opal maple otter."
    assert statement("Lima", "opal maple otter").startswith(opening("Lima") + " opal")
    assert question("Lima") == "What is the code of Lima?"


def test_values_are_all_triples_and_no_word_stands_in_two_places():
    assert len(set(VALUES)) == 16**3
    assert len({word for value in VALUES for word in value.split()}) == 48


def test_about_a_seventh_is_held_out_and_every_word_of_it_is_known_from_training():
    held = [value for value in VALUES if is_held_out(value)]
    assert 0.12 < len(held) / len(VALUES) < 0.18
    trained = {word for value in VALUES if not is_held_out(value) for word in value.split()}
    assert {word for value in held for word in value.split()} <= trained
