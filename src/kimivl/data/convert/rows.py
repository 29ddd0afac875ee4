"""Files of rows, one row after another, in constant memory: JSONL files, JSON lists, CSV and Parquet tables.

What it is: generators of (number, row); a row that cannot be read comes as a `Fault` in its place. Numbers are lines of a JSONL
file, places in a JSON list, rows of a table, all from 1 (a CSV's line with the names of columns is not counted).
What it is not: what the rows mean (`forms.py`).
"""

import csv
import datetime
import decimal
import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.data.convert.faults import Malformed
from kimivl.data.convert.forms import Fault
from kimivl.data.parsing import NotJson, check, parse_json, why_not

CHUNK = 1 << 20  # characters of a JSON list that are looked at together
BATCH = 64  # rows of a Parquet table with pictures in it

Rows = Iterator[tuple[int, Any]]
_INK = re.compile(r"\S")


def json_rows(file: BinaryIO, name: str) -> Rows:
    """A JSONL file, or a JSON list. Raises: Malformed naming `name` for a text that is neither."""
    first = _first_character(file)
    file.seek(0)
    return _list_rows(file, name) if first == b"[" else _line_rows(file)


def csv_rows(file: BinaryIO, name: str) -> Rows:
    """A CSV table with names of columns in its first line. Raises: Malformed naming `name` if it is none."""
    try:
        reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        for number, row in enumerate(reader, start=1):
            extra = None in row or None in row.values()
            yield number, Fault("it has more or fewer columns than the first line: quote texts with commas") if extra else row
    except (csv.Error, UnicodeDecodeError) as error:
        raise Malformed(f"{name}: no CSV table in UTF-8 ({error}); save it as one") from None


def parquet_rows(file: BinaryIO, name: str) -> Rows:
    """A Parquet table; columns without a value are left out of a row. Raises: Malformed naming `name` if it is none."""
    try:
        table = pq.ParquetFile(file)
        number = 0
        for batch in table.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, {key: value for key, value in row.items() if value is not None}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise Malformed(f"{name}: damaged, or no Parquet table ({str(error).splitlines()[0]})") from None


def plain(value: Any, field: str) -> Any:
    """A cell as JSON has it; NaN, which many programs write for what is missing, is null.

    Raises: Fault naming the field for one that JSON has not.
    """
    if isinstance(value, dict):
        return {key: plain(inner, f"{field}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, f"{field}[{number}]") for number, inner in enumerate(value)]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise Fault(f"{field} is {value}, which JSON has not: write a number, or null")
    if isinstance(value, bytes):
        raise Fault(f"{field} holds bytes, and only 'image' and 'images' may: leave the column out")
    return value


def _first_character(file: BinaryIO) -> bytes:
    start = file.read(3)
    if start != b"\xef\xbb\xbf":  # what some programs write in front of UTF-8
        file.seek(0)
    while (character := file.read(1)) and character.isspace():
        pass
    return character


def _line_rows(file: BinaryIO) -> Rows:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, parse_json(text)
        except UnicodeDecodeError as error:
            yield number, Fault(f"not UTF-8 text (byte {error.start + 1} of the line); save the file as UTF-8")
        except NotJson as error:
            yield number, Fault(str(error))


def _list_rows(file: BinaryIO, name: str) -> Rows:
    """The items of a list, of which a chunk is in memory at a time."""
    try:
        yield from _items(_Window(io.TextIOWrapper(file, "utf-8-sig")))
    except UnicodeDecodeError as error:
        raise Malformed(f"{name}: not UTF-8 text ({error.reason}); save the file as UTF-8") from None
    except _Broken as error:
        raise Malformed(f"{name}:{error}") from None


class _Broken(ValueError):
    """What stands behind it cannot be read either. Its text begins with the line."""


class _Window:
    """A text as far as it was read, and `at`, how much of it was taken."""

    def __init__(self, file: io.TextIOBase):
        self.file, self.text, self.at, self.ended = file, "", 0, False
        self._lines = 1  # the line that `text` begins in

    @property
    def line(self) -> int:
        return self._lines + self.text.count("\n", 0, self.at)

    def grow(self) -> None:
        self._lines = self.line
        left = self.text[self.at :]
        more = self.file.read(max(CHUNK, len(left)))  # doubled, so that a long item costs little
        self.text, self.at, self.ended = left + more, 0, not more

    def next(self) -> str:
        """The first character that is no space, "" at the end; what stands before it is taken."""
        while not (found := _INK.search(self.text, self.at)) and not self.ended:
            self.grow()
        self.at = found.start() if found else len(self.text)
        return found[0] if found else ""


def _items(window: _Window) -> Rows:
    decoder = json.JSONDecoder()
    number = 0

    def expect(allowed: str) -> str:
        found = window.next()
        if not found or found not in allowed:
            raise _Broken(f"{window.line}: not valid JSON ({' or '.join(allowed)} is missing behind item {number})")
        window.at += 1
        return found

    expect("[")
    ended = window.next() == "]" and expect("]") == "]"
    while not ended:
        number += 1
        window.next()
        while True:
            try:
                row, end = decoder.raw_decode(window.text, window.at)
                if end < len(window.text) or window.ended:  # else a number may go on
                    break
            except json.JSONDecodeError as error:
                if window.ended:
                    line = window.line + window.text.count("\n", window.at, error.pos)
                    raise _Broken(f"{line}: not valid JSON ({error.msg} at column {error.colno})") from None
            except (ValueError, RecursionError) as error:
                raise _Broken(f"{window.line}: item {number}: {why_not(error, window.text[window.at :])}") from None
            window.grow()
        yield number, _checked(row, window.text[window.at : end])
        window.at = end
        ended = expect(",]") == "]"
    if window.next():
        raise _Broken(f"{window.line}: there is more behind the list: put all rows into one list, or give each a line of its own")


def _checked(row: Any, text: str) -> Any:
    try:
        check(row, text)
        return row
    except NotJson as error:
        return Fault(str(error))
