"""The parts of a reply in tokens: markers in any spelling, also inside tokens that hold something else."""

import pytest

from kimivl.processor.thought_tokens import read_thought
from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.processor.tokenizer import Tokenizer

WHOLE = [OPEN.encode(), CLOSE.encode()]  # one token each
STRADDLING = [(OPEN + "a").encode(), b"z" + CLOSE.encode()[:2], CLOSE.encode()[2:], (CLOSE + "4").encode(), "▷◁".encode()]
TOKENIZER = Tokenizer(
    {token: rank for rank, token in enumerate([*(bytes([value]) for value in range(256)), *WHOLE, *STRADDLING])}
)
O, C, O_A, Z_C, C_REST, C_4, BOTH = range(256, 256 + len(WHOLE) + len(STRADDLING))
END = TOKENIZER.im_end_id
ANSWER = 20  # room that no reply here needs


def spelled(text):
    return TOKENIZER.encode(text, spelled=True)


def read(ids, answer_tokens=ANSWER):
    thought = read_thought(TOKENIZER, ids, answer_tokens)
    return list(thought.lead), list(thought.ids), {place: list(ending) for place, ending in thought.endings.items()}


@pytest.mark.parametrize("opening", [[O], spelled(OPEN)])
@pytest.mark.parametrize("closing", [[C], spelled(CLOSE)])
def test_markers_are_found_in_any_spelling(opening, closing):
    ids = [*opening, *spelled("a1\n"), *closing, *spelled("4"), END]
    assert read(ids) == (opening, spelled("a1\n"), {3: [*closing, *spelled("4"), END]})


def test_a_token_that_holds_a_piece_of_a_marker_is_the_markers():
    ids = [O_A, *spelled("bc"), Z_C, C_REST, *spelled("4"), END]
    assert TOKENIZER.decode(ids[:-1]) == f"{OPEN}abcz{CLOSE}4"
    assert read(ids) == ([O_A], spelled("bc"), {2: [Z_C, C_REST, *spelled("4"), END]})


def test_one_token_may_hold_the_end_of_one_marker_and_the_start_of_the_next():
    ids = [*spelled("◁think"), BOTH, *spelled("/think▷"), *spelled("4"), END]
    lead = [*spelled("◁think"), BOTH]
    assert read(ids) == (lead, [], {0: [*spelled("/think▷"), *spelled("4"), END]})


def test_half_characters_in_a_thought_hide_no_marker():
    half = spelled("◁")[:2]
    ids = [O, *half, C, *spelled("4"), END]
    assert read(ids) == ([O], half, {2: [C, *spelled("4"), END]})


def test_what_only_begins_like_a_marker_is_a_thought():
    almost = spelled(CLOSE)[:-1]
    assert read([O, *almost, END]) == ([O], almost, {len(almost): [END]})


def test_an_answer_keeps_so_many_tokens_behind_its_marker():
    assert read([O, *spelled("ab"), C, *spelled("1234"), END], 3) == ([O], spelled("ab"), {2: [C, *spelled("123")]})
    assert read([O, *spelled("ab"), C_4, *spelled("5678"), END], 3) == ([O], spelled("ab"), {2: [C_4, *spelled("567")]})


def test_a_thought_that_is_still_going_on_has_no_ending():
    assert read([O, *spelled("abc")]) == ([O], spelled("abc"), {})
    assert read([O]) == ([O], [], {})


def test_a_turn_that_ends_inside_its_thought_ends_the_thought():
    assert read([O, *spelled("abc"), END]) == ([O], spelled("abc"), {3: [END]})


@pytest.mark.parametrize("ids", [spelled("red"), [C, *spelled("red")], [*spelled("a"), C, *spelled("b"), O], [END], []])
def test_a_thought_that_was_never_opened_is_all_answer(ids):
    assert read(ids) == ([], [], {0: ids})


def test_a_thought_begins_within_the_room_of_an_answer():
    ids = [*spelled("hm "), O, *spelled("ab"), C, *spelled("4")]
    assert read(ids, 4) == (ids[:4], spelled("ab"), {2: [C, *spelled("4")]})
    assert read(ids, 3) == ([], [], {0: spelled("hm ")})


def test_a_second_opening_is_a_thought_and_a_second_closing_is_an_answer():
    ids = [O, *spelled("a"), O, *spelled("b"), C, *spelled("4"), C, END]
    assert read(ids) == ([O], [*spelled("a"), O, *spelled("b")], {3: [C, *spelled("4"), C, END]})


def test_a_budget_leaves_the_thoughts_first_tokens_and_its_end_if_it_is_reached():
    thought = read_thought(TOKENIZER, [O, *spelled("abc"), C, *spelled("4"), END], ANSWER)
    cuts = [thought.within(budget) for budget in (0, 2, 3, 9)]
    assert [(cut.used, cut.ended) for cut in cuts] == [(0, False), (2, False), (3, True), (3, True)]
    assert [TOKENIZER.decode(cut.ids) for cut in cuts[:3]] == [OPEN, f"{OPEN}ab", f"{OPEN}abc{CLOSE}4<|im_end|>"]
    assert cuts[3] == cuts[2]
