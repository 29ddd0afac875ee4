"""The rows of a file in a store, whatever kind of table it is."""

from typing import Any

from kimivl.data.convert.forms import Fault
from kimivl.data.convert.rows import Rows, csv_rows, json_rows, parquet_rows, plain
from kimivl.data.index.cells import Cells
from kimivl.data.index.original import ends
from kimivl.data.index.place import Listed, Place


def table_rows(place: Place, of: Listed, cells: Cells) -> Rows:
    """(number, row or `Fault`) of each. Raises: Malformed naming a file that is no such table; StoreError."""
    with place.open(of) as file:
        if ends(of.path, ".parquet"):
            for number, row in parquet_rows(file, of.path):
                yield number, _extracted(row, cells)
        elif ends(of.path, ".csv"):
            yield from csv_rows(file, of.path)
        else:
            yield from json_rows(file, of.path)


def _extracted(row: dict[str, Any], cells: Cells) -> dict[str, Any] | Fault:
    try:
        return {field: plain(value, f"'{field}'") for field, value in cells.extracted(row).items()}
    except Fault as fault:
        return fault
