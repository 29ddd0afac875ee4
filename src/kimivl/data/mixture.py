"""Which source comes next, so that tokens (or samples) arrive in the wanted shares.

What it is: a credit account per source. Every drawn sample gives each source its share of the sample's tokens as credit
and takes the tokens from the source it came from; the richest source is next. No source is ever ahead of its share by a
whole sample, weights may change at any time, and the state is one number per source.
"""

from collections.abc import Mapping, Sequence

from kimivl.config.recipe import MixturePoint


def weights_at(points: Sequence[MixturePoint], progress: float) -> dict[str, float]:
    """Shares at a moment of the stage, adding up to 1; they move linearly between points.

    Args:
        progress: fraction of the stage's steps, 0 to 1.
    """
    before = [point for point in points if point.at <= progress][-1]
    after = next((point for point in points if point.at > progress), before)
    span = after.at - before.at
    part = (progress - before.at) / span if span else 0.0
    names = dict.fromkeys([*before.weights, *after.weights])
    mixed = {name: (1 - part) * _share(before.weights, name) + part * _share(after.weights, name) for name in names}
    return {name: weight for name, weight in mixed.items() if weight > 0}


def _share(weights: Mapping[str, float], name: str) -> float:
    return weights.get(name, 0.0) / sum(weights.values())


class Mixture:
    """The accounts. `credits` is the whole state."""

    def __init__(self, credits: Mapping[str, float] | None = None):
        self.credits = dict(credits or {})

    def next_source(self, weights: Mapping[str, float]) -> str:
        """The source whose credit is largest; among equals the one with the larger weight, then the first by name."""
        return min(weights, key=lambda name: (-self.credits.get(name, 0.0), -weights[name], name))

    def settle(self, source: str, amount: float, weights: Mapping[str, float]) -> None:
        """Books what was drawn: so many tokens, or so much of a sample."""
        for name, weight in weights.items():
            self.credits[name] = self.credits.get(name, 0.0) + weight * amount
        self.credits[source] -= amount
