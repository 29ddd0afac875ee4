"""Paths: a grid of arrows; start at the marked field, follow the arrows for some hops, name the field you reach.

Fields are named by column and row, "c2". The picture has a margin with these names, so that nothing must be counted.
"""

from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.reason.problem import SIDE, Problem, Solution, Step, laid_out, tile

COLUMNS = "abcdefg"
MOVES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


def paths(rng: np.random.Generator, hops: int, size: int = 5) -> Problem:
    """A path of `hops` arrows on a grid of `size` by `size` fields; it never leaves the grid.

    Raises: ValueError for no hop, or a grid that is not 2 to 7 fields wide.
    """
    if hops < 1 or not 2 <= size <= len(COLUMNS):
        raise ValueError(f"a path has at least one hop on 2 to {len(COLUMNS)} columns, got {hops} on {size}")
    grid = [[_inward(column, row, size, rng) for column in range(size)] for row in range(size)]
    start = (int(rng.integers(size)), int(rng.integers(size)))

    def careless(rng: np.random.Generator) -> Solution:
        column, row = _fields(grid, start, hops)[int(rng.integers(hops))]
        misread = [list(line) for line in grid]
        misread[row][column] = _inward(column, row, size, rng, but=grid[row][column])
        return _solved(misread, start, hops, rng)

    question = f"Follow {hops} arrows from the gray field. Which field is it?"
    draw = partial(_drawn, grid, start, rng.spawn(1)[0])
    content = f"{_name(*start)} {' '.join(move for line in grid for move in line)}"
    return Problem("paths", draw, question, content, hops, _solved(grid, start, hops, rng), careless)


def _fields(grid: list[list[str]], start: tuple[int, int], hops: int) -> list[tuple[int, int]]:
    """The fields of a path from its start, hops + 1 of them."""
    fields = [start]
    for _ in range(hops):
        (column, row), (dx, dy) = fields[-1], MOVES[grid[fields[-1][1]][fields[-1][0]]]
        fields.append((column + dx, row + dy))
    return fields


def _solved(grid: list[list[str]], start: tuple[int, int], hops: int, rng: np.random.Generator) -> Solution:
    fields = _fields(grid, start, hops)
    steps = [Step("plan", f"{hops} from {_name(*start)}")]
    for (column, row), reached in zip(fields, fields[1:]):
        slip = _inward(column, row, len(grid), rng, but=grid[row][column])
        missed = _name(column + MOVES[slip][0], row + MOVES[slip][1])
        steps.append(Step("work", f"{grid[row][column]} {_name(*reached)}", (f"{slip} {missed}",)))
    return Solution(tuple(steps), _name(*fields[-1]))


def _inward(column: int, row: int, size: int, rng: np.random.Generator, but: str = "") -> str:
    """A direction that stays on the grid, and is not `but`."""
    inside = [name for name, (dx, dy) in MOVES.items() if 0 <= column + dx < size and 0 <= row + dy < size]
    allowed = [name for name in inside if name != but]
    return allowed[int(rng.integers(len(allowed)))]


def _name(column: int, row: int) -> str:
    return f"{COLUMNS[column]}{row + 1}"


def _drawn(grid: list[list[str]], start: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    head = [Image.new("RGB", (SIDE, SIDE), "white"), *(tile(COLUMNS[column], rng) for column in range(len(grid)))]
    rows = [
        [tile(str(row + 1), rng), *(_arrow(move, (column, row) == start, rng) for column, move in enumerate(line))]
        for row, line in enumerate(grid)
    ]
    return laid_out([head, *rows], rng)


def _arrow(move: str, marked: bool, rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), (170, 170, 170) if marked else (250, 250, 250))
    dx, dy = MOVES[move]
    x, y = (SIDE / 2 + rng.uniform(-0.7, 0.7, 2)).tolist()
    length, width = 0.36 * SIDE, 0.26 * SIDE  # of the head, which is half of the arrow
    draw = ImageDraw.Draw(picture)
    draw.line([(x - dx * length, y - dy * length), (x, y)], fill=(20, 20, 20), width=2)
    head = [(x + dx * length, y + dy * length), (x - dy * width, y + dx * width), (x + dy * width, y - dx * width)]
    draw.polygon(head, fill=(20, 20, 20))
    return picture
