"""Which of several responses are learned from when thoughts are to become short."""

import pytest

from kimivl.rl.judge import JudgedGroup
from kimivl.rl.rollout import Response
from kimivl.rl.shortest import pairs, shortest_right

END, OTHER_END, WORD = 9, 8, 1


def group(*responses: tuple[int, bool], end: int = END) -> JudgedGroup:
    """(tokens, whether it is right) of each response."""
    made = tuple(Response("p", 0, n, (WORD,) * (tokens - 1) + (end,), finish="stop") for n, (tokens, _) in enumerate(responses))
    return JudgedGroup("p", "t", made, ("",) * len(made), tuple(right for _, right in responses))


@pytest.mark.parametrize(
    ("responses", "place"),
    [
        ([(5, True), (3, True), (9, True)], 1),
        ([(5, True), (3, False)], 0),
        ([(4, True), (4, True)], 0),
        ([(5, False), (3, False)], None),
    ],
)
def test_the_shortest_right_response_is_kept_the_first_among_equals(responses, place):
    assert shortest_right(group(*responses), END) == place


def test_a_response_that_does_not_end_as_a_turn_ends_is_none_to_imitate():
    assert shortest_right(group((3, True), end=OTHER_END), END) is None
    assert pairs([group((3, True), (9, False), end=OTHER_END)], END) == []


def test_it_is_preferred_to_longer_wrong_ones_and_to_right_ones_half_again_as_long():
    """Of 4 tokens is the shortest; 6 is 1.5 times as long. Wrong ones of 4 and fewer tokens are no reason to be short."""
    made = group((6, True), (5, True), (4, True), (4, False), (5, False), (3, False), (40, False))
    found = pairs([made, group((3, False), (9, False))], END)
    assert {pair.chosen.sample for pair in found} == {2}
    assert [pair.rejected.sample for pair in found] == [0, 4, 6]
