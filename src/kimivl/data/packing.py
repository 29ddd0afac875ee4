"""Which pack a piece goes into: the one that is being filled, that of its kind, or the emptiest of a step.

What it is: three ways to fill packs within two budgets, tokens and patches. Each is given one piece after the other, and says
which packs are done once a piece fits nowhere and nothing more may wait.
What it is not: which piece comes next, and which ones wait (`plan.py`).
"""

from dataclasses import dataclass, field

from kimivl.config.recipe import StageConfig
from kimivl.data.pieces import Planned


@dataclass
class Pack:
    """A pack that is being filled. `max_tokens`, `max_patches`: its budgets."""

    max_tokens: int
    max_patches: int
    pieces: list[Planned] = field(default_factory=list)
    tokens: int = 0
    patches: int = 0

    def fits(self, piece: Planned) -> bool:
        return self.tokens + piece.tokens <= self.max_tokens and self.patches + piece.patches <= self.max_patches

    def take(self, piece: Planned) -> bool:
        """Takes the piece if it fits; whether it did."""
        if not self.fits(piece):
            return False
        self.pieces.append(piece)
        self.tokens, self.patches = self.tokens + piece.tokens, self.patches + piece.patches
        return True


class InOrder:
    """One pack after the other."""

    def __init__(self, stage: StageConfig):
        self._pack = _empty(stage)

    def take(self, piece: Planned) -> bool:
        """Puts the piece into a pack if it fits one; whether it did."""
        return self._pack.take(piece)

    def done(self, piece: Planned) -> list[list[Planned]]:
        """The packs that are full, now that `piece` fits nowhere."""
        return [self._pack.pieces]


class Grouped:
    """A pack holds samples with pictures or samples without, never both, so that a pack of text needs no vision encoder."""

    def __init__(self, stage: StageConfig):
        self._packs = {has_pictures: _empty(stage) for has_pictures in (False, True)}

    def take(self, piece: Planned) -> bool:
        """As of `InOrder`."""
        return self._packs[piece.patches > 0].take(piece)

    def done(self, piece: Planned) -> list[list[Planned]]:
        """As of `InOrder`; what is in the pack of the other kind waits."""
        return [self._packs[piece.patches > 0].pieces]


class Balanced:
    """All packs of a step at once: each piece goes where its kind of work, patches or tokens, is least, so that ranks wait little
    for each other."""

    def __init__(self, stage: StageConfig):
        self._packs = [_empty(stage) for _ in range(stage.packs)]

    def take(self, piece: Planned) -> bool:
        """As of `InOrder`."""
        fitting = [pack for pack in self._packs if pack.fits(piece)]
        if not fitting:
            return False
        least = min(fitting, key=lambda pack: (pack.patches, pack.tokens) if piece.patches else (pack.tokens, pack.patches))
        return least.take(piece)

    def done(self, piece: Planned) -> list[list[Planned]]:
        """As of `InOrder`: all packs of the step."""
        return [pack.pieces for pack in self._packs]


Packing = InOrder | Grouped | Balanced
WAYS: dict[str, type[InOrder] | type[Grouped] | type[Balanced]] = {"in_order": InOrder, "grouped": Grouped, "balanced": Balanced}


def packing_of(stage: StageConfig) -> Packing:
    """Empty packs, to be filled as the stage says."""
    return WAYS[stage.packing](stage)


def _empty(stage: StageConfig) -> Pack:
    return Pack(stage.pack_tokens, stage.pack_patches)
