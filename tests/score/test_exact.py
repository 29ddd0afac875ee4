"""`exact` forgives space, case and a full stop, and nothing else."""

import pytest

from kimivl.score.exact import exact


@pytest.mark.parametrize("prediction", ["teal", " teal\n", "Teal", "TEAL.", "teal . ", "teal."])
def test_forgives_what_is_no_difference(prediction):
    assert exact(prediction, "teal") == 1.0


@pytest.mark.parametrize("prediction", ["", ".", "te al", "teal..", "teal!", "it is teal", "tea"])
def test_refuses_everything_else(prediction):
    assert exact(prediction, "teal") == 0.0


def test_the_truth_is_normalised_too():
    assert exact("yes", "Yes.") == 1.0


def test_letters_of_all_scripts_are_folded():
    assert exact("STRASSE", "straße") == 1.0
