"""Rows of files, one at a time: what other readers read from the same bytes, and where it is."""

import datetime
import decimal
import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kimivl.data.convert import rows
from kimivl.data.convert.faults import TOLD, Faults, Malformed
from kimivl.data.convert.forms import Fault
from kimivl.data.convert.rows import csv_rows, json_rows, parquet_rows, plain

ITEMS = [{"a": "[,]", "b": [1, 2, {"c": None}]}, "text, [", 12, 3.5, True, None, [], {"long": "x" * 300}, {"é": "\u2028"}, 7]


@pytest.mark.parametrize("chunk", [1, 2, 7, 50, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_is_read_in_chunks_of_any_size(monkeypatch, chunk, indent):
    monkeypatch.setattr(rows, "CHUNK", chunk)
    text = json.dumps(ITEMS, indent=indent, ensure_ascii=False)
    assert list(json_rows(io.BytesIO(f"\ufeff \n{text}\n".encode()), "x")) == list(enumerate(ITEMS, start=1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1 2]", "x:1: not valid JSON (, or ] is missing behind item 1)"), ("[1,\n2,\n", "x:3: not valid JSON (Expecting value"),
        ('[1,\n{"a": 1\n', "x:3: not valid JSON (Expecting ',' delimiter"),
        ("[1,\n\n2", "x:3: not valid JSON (, or ] is missing"),
        ("[1]\n[2]\n", "x:2: there is more behind the list: put all rows into one list, or give each a line of its own"),
        ("[]\n\n{}", "x:3: there is more behind the list"),
        ("[1,\n" + "[" * 100_000, "x:2: item 2: lists and objects nest more than 100 deep"),
        ("[1,\n\n" + "9" * 5000 + "]", "x:3: item 2: the number 999999999999… has more than 4300 digits"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_a_list_that_breaks_off_is_told_with_its_line(monkeypatch, chunk, text, words):
    monkeypatch.setattr(rows, "CHUNK", chunk)
    with pytest.raises(Malformed) as caught:
        list(json_rows(io.BytesIO(text.encode()), "x"))
    assert str(caught.value).startswith(words)


def test_lines_have_their_numbers_and_faults_stand_in_their_places():
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}\n{half\n\xff\n[3]'
    found = list(json_rows(io.BytesIO(data), "x"))
    assert [number for number, _ in found] == [1, 4, 5, 6, 7]
    assert [row for _, row in found if not isinstance(row, Fault)] == [{"a": 1}, {"a": 2}, [3]]
    assert "not valid JSON" in str(found[2][1]) and "not UTF-8 text (byte 1" in str(found[3][1])


@pytest.mark.parametrize("form", ["{}\n{}\n{}", "[{}, {}, {}]"])
def test_a_value_that_is_none_of_ours_is_a_fault_in_its_place(form):
    deep, half = json.dumps(json.loads("[" * 101 + "]" * 101)), r'{"image": "\ud800.jpg"}'
    found = [row for _, row in json_rows(io.BytesIO(form.format(json.dumps({"deep": deep}), "7", half).encode()), "x")]
    assert found[:2] == [{"deep": deep}, 7] and "image holds half of a character" in str(found[2])
    found = [row for _, row in json_rows(io.BytesIO(form.format('{"a": ' + deep + "}", "7", "8").encode()), "x")]
    assert "nest more than 100 deep" in str(found[0]) and found[1:] == [7, 8]


def test_nothing_is_no_row():
    assert list(json_rows(io.BytesIO(b" \n"), "x")) == list(json_rows(io.BytesIO(b"[ ]"), "x")) == []


def test_a_csv_table_as_a_spreadsheet_writes_it():
    data = '\ufefffile_name,text\r\n1.png,"One,\nand ""two"""\r\n2.png,\r\n'
    found = list(csv_rows(io.BytesIO(data.encode()), "x"))
    assert found == [(1, {"file_name": "1.png", "text": 'One,\nand "two"'}), (2, {"file_name": "2.png", "text": ""})]


def test_a_parquet_table_without_its_nulls():
    file = io.BytesIO()
    table = [{"n": n, "odd": n if n % 2 else None, "texts": ["a", None]} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(table), file)
    file.seek(0)
    found = list(parquet_rows(file, "x"))
    assert found[:2] == [(1, {"n": 0, "texts": ["a", None]}), (2, {"n": 1, "odd": 1, "texts": ["a", None]})] and len(found) == 200


def test_cells_as_json_has_them():
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    assert plain({"a": [when, when.date()], "b": decimal.Decimal("1.50"), "c": None}, "x") == {
        "a": ["2026-01-02T03:04:05", "2026-01-02"], "b": "1.50", "c": None,
    }  # fmt: skip
    assert plain({"a": [1.5, float("nan")]}, "x") == {"a": [1.5, None]}
    with pytest.raises(Fault, match=r"x.a\[1\] holds bytes"):
        plain({"a": [1, b"2"]}, "x")
    with pytest.raises(Fault, match=r"x.a\[0\] is -inf, which JSON has not"):
        plain({"a": [-math.inf]}, "x")


def test_faults_are_counted_in_constant_memory():
    faults = Faults()
    faults.raise_any(5)
    for number in range(1000):
        faults.add(f"a:{number}", "no")
    with pytest.raises(Malformed) as caught:
        faults.raise_any(500)
    told = str(caught.value).splitlines()
    assert told[0] == "1000 of 1500 rows are malformed:" and told[1] == "a:0: no" and len(told) == TOLD + 2
    assert told[-1] == f"… and {1000 - TOLD} more"
