"""Answers under limits: exact cases with a model that is a function of its own words, and one long run against separate runs."""

from dataclasses import replace

import pytest

from kimivl.engine.engine import Completion, Request
from kimivl.engine.sampler import Sampler, Sampling
from kimivl.eval import thinking
from kimivl.eval.items import Item
from kimivl.eval.thinking import POLICIES, Budgets, think
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.thoughts import CLOSE, OPEN, WAIT
from kimivl.score import number as numbers

pytestmark = pytest.mark.usefixtures("one_thread")
WAITING = f"{WAIT}\n"
STOP = "<stop>"


def item(truth, name="q", pictures=(), text="what?"):
    parts = (*(ImagePart(picture) for picture in pictures), TextPart(text))
    return Item(name, (Message("user", parts),), text, truth, ())


class Told:
    """A stand-in for the engine: the model is a function from what it has written to what it writes next.

    Args:
        speak: text so far → the whole text that it would go on with, `STOP` where its turn ends. Tokens are single bytes.
    """

    def __init__(self, processor, speak, context=10_000):
        self.processor, self.speak, self.context = processor, speak, context
        self.stop_ids, self.asked = processor.tokenizer.stop_ids, []

    def respond(self, requests, sampling):
        tokenizer = self.processor.tokenizer
        self.asked.append([tokenizer.decode(request.written) for request in requests])
        assert sampling.temperature == 0
        return [Completion(self._ids(written, sampling.max_new_tokens), "", "stop", []) for written in self.asked[-1]]

    def _ids(self, written, most):
        said, stopped, _ = self.speak(written).partition(STOP)
        ids = self.processor.tokenizer.encode(said, spelled=True)
        return [*ids, *([self.processor.tokenizer.im_end_id] if stopped else [])][:most]


def thinker(length):
    """Thinks "a" so many times, or goes on with a thought that is longer already; answers with the number of "a" in it."""

    def speak(written):
        before, closed, after = written.partition(CLOSE)
        if closed:
            return f"{before.count('a')}{STOP}"[len(after) :]
        thought = before.removeprefix(OPEN) if before else ""
        rest = "a" * max(0, length - len(thought))
        return f"{'' if before else OPEN}{rest}{CLOSE}{(thought + rest).count('a')}{STOP}"

    return speak


def told(processor, speak, truth, tokens, **settings):
    """(answer, used, cut, score) by policy and budget."""
    engine = Told(processor, speak)
    outcomes = think(engine, [item(truth)], Budgets(tuple(tokens), **{"answer": 8, **settings}))
    return {(one.policy, one.budget): (one.answer, one.used, one.cut, one.score) for one in outcomes}, engine


def test_answers_are_right_where_the_score_says_so(processor):
    [outcome] = [
        one
        for one in think(Told(processor, thinker(6)), [item("6.0")], Budgets((8,), 8), score=numbers.number)
        if one.policy == "force"
    ]
    assert (outcome.answer, outcome.score) == ("6", 1.0)


def test_a_thought_is_truncated_at_the_exact_token(processor):
    found, _ = told(processor, thinker(6), "6", [0, 5, 6, 7])
    assert [found["truncate", budget] for budget in (0, 5, 6, 7)] == [
        ("", 0, True, 0.0), ("", 5, True, 0.0), ("6", 6, False, 1.0), ("6", 6, False, 1.0),
    ]  # fmt: skip


def test_a_thought_that_is_closed_by_force_is_answered_from_what_it_holds(processor):
    found, engine = told(processor, thinker(6), "6", [0, 5, 6, 7])
    assert [found["force", budget] for budget in (0, 5, 6, 7)] == [
        ("0", 0, True, 0.0), ("5", 5, True, 0.0), ("6", 6, False, 1.0), ("6", 6, False, 1.0),
    ]  # fmt: skip
    assert engine.asked[0] == [""] and f"{OPEN}aaaaa{CLOSE}" in engine.asked[-1]


def test_a_thought_waits_until_its_budget(processor):
    found, engine = told(processor, thinker(6), "6", [4, 6, 8, 11, 12, 40])
    # thinks 6, "wait\n" is 5 more, and such a thought is long enough: it would end after every wait
    assert [found["wait", budget][1:3] for budget in (4, 6, 8, 11, 12, 40)] == [
        (4, True), (6, False), (8, True), (11, False), (12, True), (40, True),
    ]  # fmt: skip
    assert f"{OPEN}aaaaaawa{CLOSE}" in engine.asked[-1] and f"{OPEN}aaaaaa{WAITING}w{CLOSE}" in engine.asked[-1]
    assert found["wait", 6][0] == "6" and found["wait", 11][0] == "7"  # one more "a", that of the word


def test_a_thought_that_ends_after_every_wait_does_not_go_on_forever(processor):
    found, engine = told(processor, thinker(6), "8", [1000], waits=2)
    assert found["wait", 1000] == ("8", 6 + 2 * len(WAITING), False, 1.0)
    assert len(engine.asked) <= 1 + 2 + 1


def test_no_wait_is_written_where_none_is_allowed(processor):
    found, _ = told(processor, thinker(6), "6", [1000], waits=0)
    assert found["wait", 1000] == found["force", 1000] == ("6", 6, False, 1.0)


@pytest.mark.parametrize("length", [0, 6, 7])
def test_a_budget_among_others_gives_what_it_gives_alone(processor, length):
    budgets = list(range(30))
    together, _ = told(processor, thinker(length), "6", budgets, waits=3)
    alone = {key: one for budget in budgets for key, one in told(processor, thinker(length), "6", [budget], waits=3)[0].items()}
    assert together == alone


def test_a_budget_of_nothing_closes_the_thought_at_once(processor):
    found, engine = told(processor, thinker(6), "0", [0])
    assert found == {("truncate", 0): ("", 0, True, 0.0), ("force", 0): ("0", 0, True, 1.0), ("wait", 0): ("0", 0, True, 1.0)}
    assert engine.asked[-1] == [OPEN + CLOSE]  # both policies share the answer


def test_no_limit_touches_a_reply_without_a_thought(processor):
    found, engine = told(processor, lambda written: f"red and more{STOP}"[len(written) :], "red", [0, 5, 50], answer=3)
    assert set(found.values()) == {("red", 0, False, 1.0)} and len(found) == 9
    assert sum(map(len, engine.asked)) == 1


def test_an_answer_before_its_thought_is_none(processor):
    # what is read as the answer stands behind the closing marker, here and in a conversation
    found, _ = told(processor, lambda written: f"red{OPEN}hm{CLOSE}blue{STOP}"[len(written) :], "blue", [2], answer=4)
    assert found["truncate", 2] == ("blue", 2, False, 1.0)


def test_a_thought_that_is_opened_twice_counts_from_the_first_marker(processor):
    inside = f"a{OPEN}b"
    length = len(inside.encode())

    def speak(written):
        return f"{OPEN}{inside}{CLOSE}{4}{STOP}"[len(written) :] if CLOSE not in written else f"7{STOP}"

    found, _ = told(processor, speak, "4", [length - 1, length])
    assert found["truncate", length - 1] == ("", length - 1, True, 0.0)
    assert found["truncate", length] == ("4", length, False, 1.0)
    assert found["force", length - 1] == ("7", length - 1, True, 0.0)


def test_a_turn_that_ends_inside_its_thought_has_no_answer_but_may_be_told_to_wait(processor):
    def speak(written):
        if CLOSE in written:
            return f"4{STOP}"
        return f"{OPEN}abc{STOP}" if not written else f"d{CLOSE}5{STOP}"

    found, _ = told(processor, speak, "5", [2, 3, 9, 20], waits=1)
    assert [found["force", budget] for budget in (2, 3, 9)] == [("4", 2, True, 0.0), ("", 3, False, 0.0), ("", 3, False, 0.0)]
    assert found["wait", 9] == found["wait", 20] == ("5", 3 + len(WAITING) + 1, False, 1.0)


def test_a_reply_that_never_ends_is_cut_everywhere(processor):
    def speak(written):
        return "9" * 3 if CLOSE in written else (OPEN if not written else "") + "a" * 500

    found, _ = told(processor, speak, "999", [3, 30], answer=3)
    assert all(cut for _, _, cut, _ in found.values())
    assert [found[policy, 30] for policy in POLICIES] == [("", 30, True, 0.0), ("999", 30, True, 1.0), ("999", 30, True, 1.0)]


def test_equal_cuts_are_answered_once(processor):
    _, engine = told(processor, thinker(100), "6", [5, 10, 20])
    assert [len(asked) for asked in engine.asked] == [1, 3]  # the long run, and one answer for each budget


def test_questions_keep_their_places_over_batches(processor, monkeypatch):
    monkeypatch.setattr(thinking, "BATCH", 2)
    items, done = [item(str(number), f"q{number}") for number in range(5)], []
    outcomes = think(Told(processor, thinker(3)), items, Budgets((3,), 8), done.append)
    assert [one.item for one in outcomes if one.policy == "truncate"] == [0, 1, 2, 3, 4] and done == [2, 2, 1]
    assert [one.score for one in outcomes if one.policy == "truncate"] == [0, 0, 0, 1, 0]


def test_a_reply_that_does_not_fit_the_context_names_the_question(processor):
    with pytest.raises(ValueError, match=r"question q has \d+ tokens.* context of 60; lower the budgets"):
        think(Told(processor, thinker(3), context=60), [item("3")], Budgets((64,), 8))


@pytest.mark.parametrize(
    "wrong", [{"tokens": ()}, {"tokens": (4, 2)}, {"tokens": (2, 2)}, {"tokens": (-1, 2)}, {"answer": 0}, {"waits": -1}]
)
def test_budgets_without_a_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        replace(Budgets((1, 2), 4), **wrong)


# Separate runs, each with its own limit, token by token


@pytest.fixture
def marked(engine, monkeypatch):
    """The tiny model, which writes what it likes but for {question: {place of the reply: id}}."""
    scripts = {}

    class Marked(Sampler):
        def __call__(self, logits_BV, rows, positions):
            for row, (key, position) in enumerate(zip(rows, positions)):
                if (id := scripts[key].get(position)) is not None:
                    logits_BV[row, id] += 1e4
            return super().__call__(logits_BV, rows, positions)

    monkeypatch.setattr("kimivl.engine.engine.Sampler", Marked)
    return engine, scripts


class Separate:
    """One run under one limit, as it would be if nothing were known about the others: one token at a time."""

    def __init__(self, engine, asked, budget, answer_tokens, waits):
        self.engine, self.asked, self.budget, self.answer_tokens, self.waits = engine, asked, budget, answer_tokens, waits
        self.prompt = engine.processor.encode_chat(asked.messages, add_generation_prompt=True)
        tokenizer = engine.processor.tokenizer
        self.open, self.close = tokenizer.encode(OPEN), tokenizer.encode(CLOSE)
        self.wait = [*tokenizer.encode(WAIT), *tokenizer.encode("\n")]
        self.ids = []

    def step(self):
        (completion,) = self.engine.respond([Request(self.prompt, self.asked.id, tuple(self.ids))], Sampling(max_new_tokens=1))
        self.ids += completion.ids
        return completion.ids[0] not in self.engine.stop_ids

    def answer(self):
        """(answer, tokens thought, whether the thought was closed by force)."""
        used, forced = self.think()
        start = len(self.ids)
        while len(self.ids) - start < self.answer_tokens and self.step():
            pass
        stop_ids = self.engine.stop_ids
        return self.engine.processor.tokenizer.decode(id for id in self.ids[start:] if id not in stop_ids).strip(), used, forced

    def think(self):
        while self.ids[-len(self.open) :] != self.open:
            assert len(self.ids) < 20 and self.step()
        first = len(self.ids)
        while True:
            assert self.step()
            thought = self.ids[first:]
            if thought[-len(self.close) :] == self.close:
                used = len(thought) - len(self.close)
                if used >= self.budget or self.waits == 0:
                    return used, False
                self.waits -= 1
                self.ids[first + used :] = self.wait
                thought = self.ids[first:]
            # an end of the thought that looks like the start of a marker does not count yet
            pending = max(size for size in range(len(self.close)) if thought[len(thought) - size :] == self.close[:size])
            if len(thought) - pending > self.budget:
                self.ids[first + self.budget :] = self.close
                return self.budget, True


def at(start, ids):
    return {start + place: id for place, id in enumerate(ids)}


@pytest.fixture
def marked_items(marked, new_picture):
    """Thoughts of 5, 12, 3 and far more tokens; the third ends a second time after a wait, the last never."""
    engine, scripts = marked
    tokenizer = engine.processor.tokenizer
    opening, closing, wait = tokenizer.encode(OPEN), tokenizer.encode(CLOSE), [*tokenizer.encode(WAIT), *tokenizer.encode("\n")]
    first = len(opening)
    pictures = [new_picture(1)], [new_picture(2, (24, 12)), new_picture(1)], [new_picture(3)], []
    ends = [5], [12], [3, 3 + len(wait) + 2], []
    texts = "is there a red circle?", "what is the colour of the shape in the image?", "what?", "is there"
    for number, places in enumerate(ends):
        scripts[f"q{number}"] = at(0, opening) | {place: id for end in places for place, id in at(first + end, closing).items()}
    items = [item("", f"q{number}", shown, text) for number, (shown, text) in enumerate(zip(pictures, texts))]
    return engine, items


@pytest.mark.parametrize(("policy", "waits"), [("force", 0), ("wait", 2)])
def test_one_long_run_equals_separate_runs_that_are_capped_token_by_token(marked_items, policy, waits):
    engine, items = marked_items
    budgets = Budgets((0, 3, 5, 8, 10, 13), answer=4, waits=waits)
    found = {(one.item, one.budget): one for one in think(engine, items, budgets) if one.policy == policy}
    for place, asked in enumerate(items):
        for budget in budgets.tokens:
            one = found[place, budget]
            assert (one.answer, one.used, one.cut) == Separate(engine, asked, budget, 4, waits).answer(), (place, budget)
    assert len({one.answer for one in found.values()}) > len(found) // 2  # pictures, texts and thoughts matter
    assert {one.cut for one in found.values()} == {False, True}


def test_the_pictures_are_read_for_every_answer(marked_items, new_picture):
    engine, items = marked_items
    shown = items[0]
    other = item("", "q0", [new_picture(9)], shown.question)
    budgets = Budgets((0, 3, 8), answer=4)
    ours, others = ([one.answer for one in think(engine, [asked], budgets)] for asked in (shown, other))
    assert ours != others
