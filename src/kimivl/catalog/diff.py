"""What changed from one manifest to another, by DuckDB over their tables.

What it is: `diff`. Samples are told apart by id, originals by name; what counts is what they hold, not where it lies.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimivl.catalog.publish import SUMMARY
from kimivl.catalog.statistics import connect, statistics
from kimivl.data.manifest.schema import OBJECTS_FILE, SAMPLES_FILE

TOLD = 5  # names that are given of each kind


@dataclass(frozen=True)
class Change:
    """Counts, and the first names in order."""

    added: int
    removed: int
    changed: int
    same: int
    names: dict[str, list[str]]


@dataclass(frozen=True)
class Diff:
    """`counts`: (before, after) of what lists show."""

    samples: Change
    originals: Change
    counts: dict[str, tuple[int, int]]

    @property
    def same(self) -> bool:
        return not any(each.added or each.removed or each.changed for each in (self.samples, self.originals))


def diff(before: Path, after: Path) -> Diff:
    """Compares the manifests in two folders. Raises: ValueError for a folder that is none, or without DuckDB."""
    old, new = statistics(before), statistics(after)
    with connect() as database:
        for which, folder in (("before", before), ("after", after)):
            _define(database, which, folder)
        return Diff(
            _change(database, "samples"), _change(database, "originals"), {key: (old[key], new[key]) for key in SUMMARY}
        )  # fmt: skip


def _define(database: Any, which: str, folder: Path) -> None:
    """Views `samples_WHICH` and `originals_WHICH` of (name, holds)."""
    for table, file in (("objects", OBJECTS_FILE), ("rows", SAMPLES_FILE)):
        database.read_parquet(str(folder / file), file_row_number=True).create_view(f"{table}_{which}")
    database.execute(
        f"CREATE VIEW originals_{which} AS SELECT name, concat_ws(' ', sha256, page, deflated) AS holds FROM objects_{which}"
    )
    database.execute(
        f"CREATE VIEW pictures_{which} AS"
        f" SELECT row, string_agg(concat_ws(' ', sha256, page, frame), ',' ORDER BY place) AS pictures FROM (SELECT"
        " file_row_number AS row, generate_subscripts(pictures, 1) AS place, unnest(pictures).object AS object,"
        f" unnest(pictures).frame AS frame FROM rows_{which}) JOIN objects_{which} ON object = file_row_number GROUP BY row"
    )
    database.execute(
        f"CREATE VIEW samples_{which} AS SELECT id AS name, concat(record, coalesce(pictures_{which}.pictures, '')) AS holds"
        f" FROM rows_{which} LEFT JOIN pictures_{which} ON row = file_row_number"
    )


def _change(database: Any, what: str) -> Change:
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE change AS SELECT coalesce(b.name, a.name) AS name, CASE WHEN b.name IS NULL THEN 'added'"
        " WHEN a.name IS NULL THEN 'removed' WHEN a.holds <> b.holds THEN 'changed' ELSE 'same' END AS kind"
        f" FROM {what}_before b FULL JOIN {what}_after a ON a.name = b.name"
    )
    counts = dict(database.execute("SELECT kind, count(*) FROM change GROUP BY kind").fetchall())
    names = {
        kind: [name for (name,) in database.execute(
            "SELECT name FROM change WHERE kind = ? ORDER BY name LIMIT ?", [kind, TOLD]
        ).fetchall()]
        for kind in ("added", "removed", "changed")
    }  # fmt: skip
    added, removed, changed, same = (counts.get(kind, 0) for kind in ("added", "removed", "changed", "same"))
    return Change(added, removed, changed, same, names)
