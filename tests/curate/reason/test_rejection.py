"""Every fault of a try is found and named, the short ones of different right tries are kept, and counts add up."""

import numpy as np
import pytest

from kimivl.curate.reason.rejection import LONGEST_PERIOD, REASONS, Rules, Sampled, Tally, is_runaway, sampled
from kimivl.curate.reason.thought import Thought
from kimivl.curate.records import rng_for, text

RIGHT = "◁think▷two and two◁/think▷4"


def tried(*texts: str, **rules) -> Sampled:
    """What becomes of these texts as tries at a question whose answer is 4; a text that ends with "…" was cut."""
    thoughts = [Thought((text(one),), cut=one.endswith("…")) for one in texts]
    rules = {"verify": lambda problem, answer: answer == problem, **rules}
    return sampled("4", lambda problem, tries, rng: thoughts, Rules(**rules), len(thoughts), rng_for(0, "x"))


def reason_of(one: str, **rules) -> str | None:
    result = tried(one, **rules)
    return result.dropped[0][1] if result.dropped else None


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (RIGHT, None),
        (" \n◁think▷two and two◁/think▷\n\n4\n", None),
        ("◁think▷two and two◁/think▷…", "cut"),
        ("4", "malformed"),
        ("", "malformed"),
        ("two and two◁/think▷4", "malformed"),
        ("◁think▷two and two, 4", "malformed"),
        ("◁think▷one◁/think▷◁think▷two◁/think▷4", "malformed"),
        ("◁think▷one◁/think▷4◁/think▷4", "malformed"),
        ("◁/think▷◁think▷4", "malformed"),
        ("4 ◁think▷two and two◁/think▷4", "malformed"),
        ("◁think▷4◁/think▷ \n", "unanswered"),
        ("◁think▷it is 4◁/think▷5", "wrong"),
        ("◁think▷it is 4◁/think▷4 or 5", "wrong"),
        (f"◁think▷{' '.join(map(str, range(30)))}◁/think▷4", "long"),
        (f"◁think▷{'wait ' * 60}◁/think▷4", "runaway"),
    ],
)
def test_a_fault_has_its_name(one, reason):
    assert reason_of(one, longest=90 if reason == "long" else 1000) == reason


@pytest.mark.parametrize(("verdict", "reason"), [(True, None), (False, "judged"), (None, "unjudged")])
def test_the_judge_hears_only_of_what_passed_the_rules_and_decides(verdict, reason):
    heard = []

    def judge(problem, thought):
        heard.append((problem, thought.text))
        return verdict

    assert reason_of(RIGHT, judge=judge) == reason
    assert reason_of("◁think▷x◁/think▷5", judge=judge) == "wrong"
    assert heard == [("4", RIGHT)]


def test_a_judge_can_decide_alone_and_nobody_cannot():
    assert reason_of("◁think▷x◁/think▷four", verify=None, judge=lambda problem, thought: True) is None
    with pytest.raises(ValueError, match="give a rule verifier or a judge"):
        tried(RIGHT, verify=None)
    with pytest.raises(ValueError, match="at least one thought"):
        tried(RIGHT, keep=0)


def thought_of(words: str) -> str:
    return f"◁think▷{words}◁/think▷4"


def test_short_ones_are_kept_and_the_rest_is_surplus():
    lengths = [4, 1, 3, 2]
    result = tried(*(thought_of("a" * n) for n in lengths), "◁think▷◁/think▷5")
    assert [len(thought.text) - len(thought_of("")) for thought in result.kept] == [1, 2]
    assert [reason for _, reason in result.dropped] == ["wrong", "surplus", "surplus"]
    assert (result.right, result.tries) == (4, 5)


def test_without_a_preference_the_first_tries_are_kept():
    result = tried(*(thought_of("a" * n) for n in (4, 1, 3)), prefer=lambda thought: 0)
    assert [len(thought.text) for thought in result.kept] == [len(thought_of("a" * n)) for n in (4, 1)]


def test_near_copies_of_a_kept_thought_are_duplicates():
    words = [f"w{n}" for n in range(60)]
    changed = [*words[:50], "other", *words[51:]]  # 13 of the 48 runs of 13 words contain it, or fewer
    different = [word if n % 12 else f"x{n}" for n, word in enumerate(words)]  # every run has a changed word
    texts = [thought_of(" ".join(some)) for some in (words, changed, different)]
    result = tried(*texts, prefer=lambda thought: 0)
    assert [thought.text for thought in result.kept] == [texts[0], texts[2]]
    assert [reason for _, reason in result.dropped] == ["duplicate"] and result.right == 3
    assert [reason for _, reason in tried(RIGHT, RIGHT.upper().replace("THINK", "think")).dropped] == ["duplicate"]


def test_a_generator_that_writes_less_than_it_is_asked_for_is_an_error():
    with pytest.raises(ValueError, match="1 of 2"):
        sampled("4", lambda *_: [Thought((text(RIGHT),))], Rules(lambda *_: True), 2, rng_for(0, "x"))
    with pytest.raises(ValueError, match="at least one try"):
        tried()


@pytest.mark.parametrize("period", [1, 3, 40, LONGEST_PERIOD])
def test_repetition_is_found_at_every_period_anywhere(period):
    letters = rng_for(0, "letters").integers(0x4E00, 0x9000, 3000).tolist()
    unit, varied = "".join(map(chr, letters[:period])), "".join(map(chr, letters[1000:1500]))
    times = max(4, 1 + int(np.ceil(200 / period)))
    assert is_runaway(varied + unit * times + varied) and is_runaway(unit * times)
    assert not is_runaway(varied + unit * (times - 2) + varied) and not is_runaway(varied * 2)


def test_counts_add_up_over_questions():
    tally = Tally()
    tally.add(tried(RIGHT, RIGHT, thought_of("a"), thought_of("b"), "4"))
    tally.add(tried("4", "4", "5", thought_of("c"), "◁think▷…"))
    tally.add(tried("4", "4", "5", "5", "◁think▷…"))
    summary = tally.summary()
    assert (summary["questions"], summary["solved"], summary["tries"], summary["kept"]) == (3, 2, 15, 3)
    assert summary["k_of_n"] == {"0 of 5": 1, "1 of 5": 1, "4 of 5": 1}
    assert {reason: n for reason, n in summary["dropped"].items() if n} == {"malformed": 8, "cut": 2, "surplus": 2}
    assert set(summary["dropped"]) == set(REASONS) and sum(summary["dropped"].values()) + summary["kept"] == 15
