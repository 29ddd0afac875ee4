"""Paths: a grid of fields, each with its letter and an arrow; start at a field, follow the arrows for some hops, name the end.

Fields are lettered in the order in which a picture is read, so a field's arrow stands behind its letter. The thought reads the
whole grid, and then looks each arrow up in what it has read.
"""

from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.reason.problem import SIDE, Problem, Solution, Step, laid_out, tile

LETTERS = "abcdefghijklmnopqrstuvwxy"
MOVES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
WIDEST = 5


def paths(rng: np.random.Generator, hops: int, size: int = 3) -> Problem:
    """A path of `hops` arrows on a grid of `size` by `size` fields; it never leaves the grid.

    Raises: ValueError for no hop, or a grid that is not 2 to 5 fields wide.
    """
    if hops < 1 or not 2 <= size <= WIDEST:
        raise ValueError(f"a path has at least one hop on 2 to {WIDEST} columns, got {hops} on {size}")
    grid = [[_inward(column, row, size, rng) for column in range(size)] for row in range(size)]
    start = (int(rng.integers(size)), int(rng.integers(size)))

    def careless(rng: np.random.Generator) -> Solution:
        column, row = _fields(grid, start, hops)[int(rng.integers(hops))]
        misread = [list(line) for line in grid]
        misread[row][column] = _inward(column, row, size, rng, but=grid[row][column])
        return _solved(misread, start, hops, rng)

    question = f"Start at {_name(start, size)} and follow {hops} arrows. Which field is it?"
    content = " ".join(move for line in grid for move in line)
    return Problem(
        "paths", partial(_drawn, grid, rng.spawn(1)[0]), question, content, hops, _solved(grid, start, hops, rng), careless
    )


def _fields(grid: list[list[str]], start: tuple[int, int], hops: int) -> list[tuple[int, int]]:
    """The fields of a path from its start, hops + 1 of them."""
    fields = [start]
    for _ in range(hops):
        (column, row), (dx, dy) = fields[-1], MOVES[grid[fields[-1][1]][fields[-1][0]]]
        fields.append((column + dx, row + dy))
    return fields


def _solved(grid: list[list[str]], start: tuple[int, int], hops: int, rng: np.random.Generator) -> Solution:
    """A line for each field and its arrow, then one for each hop: where one stands, and the arrow there."""
    size, fields = len(grid), _fields(grid, start, hops)
    steps = [Step("plan", f"{hops} from {_name(start, size)}")]
    as_they_stand = [(column, row) for row in range(size) for column in range(size)]
    for column, row in as_they_stand + fields[:-1]:
        name, slip = _name((column, row), size), _inward(column, row, size, rng, but=grid[row][column])
        steps.append(Step("work", f"{name} {grid[row][column]}", (f"{name} {slip}",)))
    return Solution(tuple(steps), _name(fields[-1], size))


def _inward(column: int, row: int, size: int, rng: np.random.Generator, but: str = "") -> str:
    """A direction that stays on the grid, and is not `but`."""
    inside = [name for name, (dx, dy) in MOVES.items() if 0 <= column + dx < size and 0 <= row + dy < size]
    allowed = [name for name in inside if name != but]
    return allowed[int(rng.integers(len(allowed)))]


def _name(field: tuple[int, int], size: int) -> str:
    column, row = field
    return LETTERS[row * size + column]


def _drawn(grid: list[list[str]], rng: np.random.Generator) -> Image.Image:
    size = len(grid)
    fields = [[(tile(_name((c, r), size), rng), _arrow(move, rng)) for c, move in enumerate(line)] for r, line in enumerate(grid)]
    return laid_out([[part for field in line for part in field] for line in fields], rng)


def _arrow(move: str, rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    dx, dy = MOVES[move]
    x, y = (SIDE / 2 + rng.uniform(-0.7, 0.7, 2)).tolist()
    length, width = 0.36 * SIDE, 0.26 * SIDE  # of the head, which is half of the arrow
    draw = ImageDraw.Draw(picture)
    draw.line([(x - dx * length, y - dy * length), (x, y)], fill=(20, 20, 20), width=2)
    head = [(x + dx * length, y + dy * length), (x - dy * width, y + dx * width), (x + dy * width, y - dx * width)]
    draw.polygon(head, fill=(20, 20, 20))
    return picture
