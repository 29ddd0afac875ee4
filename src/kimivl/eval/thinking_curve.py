"""Accuracy against thinking tokens: the rows of a curve, for the whole set, each family of problems and each of its sizes.

What it is: `measure_thinking`, which answers under every budget (`thinking.py`) and counts, `chance_levels`, and the rows as CSV.
What it is not: the chart and its words (`report_thinking.py`).
Facts: paper §4.2 and figure 13; `reference/posttraining.md` §9.6 (what an honest curve shows beside its accuracy).
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from kimivl.engine.engine import Engine
from kimivl.eval.items import Item
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.eval.thinking import POLICIES, Budgets, Outcome, think
from kimivl.eval.uncertainty import interval
from kimivl.score import Score
from kimivl.score.exact import exact, normalised

WHOLE = ""  # the family of rows about the whole set
COLUMNS = (
    "policy", "budget", "family", "difficulty", "items", "accuracy", "low", "high", "chance", "truncated", "thinking_tokens",
)  # fmt: skip


def measure_thinking(
    engine: Engine,
    items: Sequence[Item],
    budgets: Budgets,
    chance: Mapping[str, float],
    advance: Advance = lambda items: None,
    score: Score = exact,
) -> Result:
    """The curve of one model.

    Args:
        chance: as from `chance_levels`, the level of the whole set and of each family.
        score: of (answer, truth), 0 to 1.
    Returns: `answer_tokens`, `waits` and `rows`; a row has the keys `COLUMNS`: `family` is "" and `difficulty` None where all
        are counted, `low` and `high` are the 95 % interval, `truncated` is the share of thoughts that the model had not ended
        within the budget, `thinking_tokens` the mean number that was really thought.
    Raises: ValueError for no questions, for a family without a chance level, or as `think`.
    """
    if missing := {WHOLE, *(item.family for item in items)} - chance.keys():
        raise ValueError(f"there is no chance level for {sorted(missing)}; take the levels from chance_levels")
    rows = curve_rows(think(engine, items, budgets, advance, score), items, chance)
    return {"answer_tokens": budgets.answer, "waits": budgets.waits, "rows": rows}


def chance_levels(items: Sequence[Item]) -> dict[str, float]:
    """What one scores who always says the commonest answer: in each family, and under "" in all, by the family's own answer.

    Raises: ValueError for no questions.
    """
    if not items:
        raise ValueError("there are no questions, so there is no chance level")
    answers: dict[str, Counter[str]] = {}
    for item in items:
        answers.setdefault(item.family, Counter())[normalised(item.truth)] += 1
    commonest = {family: counts.most_common(1)[0][1] for family, counts in answers.items()}
    levels = {family: commonest[family] / answers[family].total() for family in answers}
    return levels | {WHOLE: sum(commonest.values()) / len(items)}


def curve_rows(outcomes: Sequence[Outcome], items: Sequence[Item], chance: Mapping[str, float]) -> list[Result]:
    """One row for each group of questions, policy and budget."""
    budgets = sorted({outcome.budget for outcome in outcomes})
    by_run = {(outcome.policy, outcome.budget, outcome.item): outcome for outcome in outcomes}
    return [
        {"policy": policy, "budget": budget, "family": family, "difficulty": difficulty}
        | _counted([by_run[policy, budget, place] for place in places], items)
        | {"chance": chance[family]}
        for (family, difficulty), places in _groups(items).items()
        for policy in POLICIES
        for budget in budgets
    ]


def _groups(items: Sequence[Item]) -> dict[tuple[str, int | None], list[int]]:
    """The places of all questions, of each family's, and of each family's sizes, small ones first."""
    groups: dict[tuple[str, int | None], list[int]] = {(WHOLE, None): list(range(len(items)))}
    kinds = {(item.family, item.difficulty) for item in items if item.family != WHOLE}
    kinds |= {(family, None) for family, _ in kinds}
    for family, size in sorted(kinds, key=lambda kind: (kind[0], kind[1] is not None, kind[1] or 0)):
        groups[family, size] = [
            place for place, item in enumerate(items) if item.family == family and size in (None, item.difficulty)
        ]
    return groups


def _counted(outcomes: Sequence[Outcome], items: Sequence[Item]) -> Result:
    """Questions about the same pictures are drawn together."""
    scores, count = [outcome.score for outcome in outcomes], len(outcomes)
    asked = [items[outcome.item] for outcome in outcomes]
    low, high = interval(scores, [1.0] * count, [item.images or item.id for item in asked])
    return {
        "items": count,
        "accuracy": sum(scores) / count,
        "low": low,
        "high": high,
        "truncated": sum(outcome.cut for outcome in outcomes) / count,
        "thinking_tokens": sum(outcome.used for outcome in outcomes) / count,
    }


def curve_csv(rows: Sequence[Result]) -> str:
    """The rows under a head line; what is None is empty. Numbers keep all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
