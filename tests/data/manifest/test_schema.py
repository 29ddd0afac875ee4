"""Two tables in a folder: whole or not at all, and a digest that any cell of them changes."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kimivl.data.manifest.schema import OBJECTS, ROW_GROUP, SAMPLES, SEEN, write_manifest

OBJECT = {
    "name": "1.png", "url": "1.png", "version": '"e"', "start": 0, "length": 9, "deflated": False, "sha256": "ab",
    "media_type": "image/png", "width": 4, "height": 3, "page": None, "frames": 2,
    "pts": [0, 10], "time_base": "1/10", "licence": "MIT",
}  # fmt: skip
SAMPLE = {
    "id": "a", "record": '{"id": "a", "content": "x"}', "pictures": [{"object": 0, "frame": None}], "text_length": 1,
    "where": "rows.jsonl:1", "licence": None, "language": None,
}  # fmt: skip
OTHER = {
    str: "other", int: 7, bool: True, list: [{"object": 0, "frame": 1}], type(None): "other",
}  # fmt: skip


def digest(tmp_path, objects=(OBJECT,), samples=(SAMPLE,), root="file:///x/", **more) -> str:
    return write_manifest(tmp_path / "m", objects, samples, root, **more)


def test_what_is_written_is_there(tmp_path):
    told = digest(tmp_path, settings="s", seen=[{"path": "1.png", "size": 9, "version": "", "changed": 5}])
    assert pq.read_table(tmp_path / "m" / "objects.parquet").to_pylist() == [OBJECT]
    assert pq.read_table(tmp_path / "m" / "samples.parquet").to_pylist() == [SAMPLE]
    assert pq.read_schema(tmp_path / "m" / "seen.parquet").equals(SEEN)
    head = json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert head == {"format": 1, "root": "file:///x/", "digest": told, "settings": "s"}


@pytest.mark.parametrize(
    ("table", "column"),
    [("objects", name) for name in OBJECTS.names if name != "version"] + [("samples", name) for name in SAMPLES.names],
)
def test_every_cell_counts_for_the_digest(tmp_path, table, column):
    row = {"objects": OBJECT, "samples": SAMPLE}[table]
    other = [0, 11] if column == "pts" else 1 if column == "page" else OTHER[type(row[column])]
    assert digest(tmp_path) != digest(tmp_path, **{table: [row | {column: other}]})


def test_the_order_of_rows_and_a_missing_row_count_and_what_differs_from_copy_to_copy_does_not(tmp_path):
    two = [SAMPLE, SAMPLE | {"id": "b"}]
    told = {digest(tmp_path, samples=samples) for samples in ([], two[:1], two, two[::-1])}
    assert len(told) == 4
    copied = [OBJECT | {"version": "of another store"}]
    assert digest(tmp_path) == digest(tmp_path, copied, root="s3://elsewhere/", settings="other", seen=[])


def test_many_rows_are_written_in_groups(tmp_path):
    taken = 0

    def samples():
        nonlocal taken
        for number in range(2 * ROW_GROUP + 1):
            taken += 1
            yield SAMPLE | {"id": str(number)}

    digest(tmp_path, samples=samples())
    file = pq.ParquetFile(tmp_path / "m" / "samples.parquet")
    assert taken == file.metadata.num_rows == 2 * ROW_GROUP + 1 and file.metadata.num_row_groups == 3
    assert [row["id"] for row in file.read_row_group(2).to_pylist()] == [str(2 * ROW_GROUP)]


@pytest.mark.parametrize("fault", [pa.ArrowInvalid, ValueError, OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_rows_fail(tmp_path, fault):
    told = digest(tmp_path)

    def samples():
        yield SAMPLE
        raise fault("no")

    with pytest.raises(fault):
        digest(tmp_path, samples=samples())
    assert json.loads((tmp_path / "m" / "manifest.json").read_text())["digest"] == told
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_row_that_is_not_of_the_schema_is_refused(tmp_path):
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        digest(tmp_path, objects=[OBJECT | {"start": "0"}])
