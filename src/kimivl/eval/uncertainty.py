"""How sure a measured rate is: the bootstrap over groups of items.

What it is: the 95 % interval of Σ parts / Σ wholes (hits over questions, edits over characters).
What it is not: the spread between training runs, which other seeds show.
Why groups: ten questions about one picture stand or fall together, so pictures are drawn again, not questions.
"""

from collections.abc import Hashable, Sequence

import numpy as np

DRAWS = 1000


def interval(parts: Sequence[float], wholes: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the rate over `DRAWS` sets of groups, drawn with replacement; always the same draws.

    Args:
        parts, wholes: of each item; the rate of a set is the sum of its parts over the sum of its wholes.
        groups: of each item; items of one group are drawn together.
    Raises: ValueError for no items.
    """
    if not len(parts):
        raise ValueError("there are no items, so there is no interval")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    sums_G2 = np.zeros((len(numbers), 2))
    np.add.at(sums_G2, [numbers[group] for group in groups], np.stack([parts, wholes], axis=1))
    rng = np.random.Generator(np.random.Philox(0))
    drawn = np.array([sums_G2[rng.integers(len(sums_G2), size=len(sums_G2))].sum(0) for _ in range(DRAWS)])
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(low), float(high)
