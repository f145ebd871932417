"""CSV: types over the whole file, safe cuts, and every bad input as one sentence."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import math
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.datasets import text_blocks
from trueup.datasets.open import open_dataset
from trueup.datasets.text_blocks import blocks, csv_cut
from trueup.errors import DataError

UTC = datetime.timezone.utc


def test_types_are_inferred_from_the_whole_file(read, write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    rows = [f"{i},{i},{i}" for i in range(2000)]
    rows[1900] = "1900,2.5,many"
    path = write("late.csv", ("a,b,c\n" + "\n".join(rows) + "\n").encode())
    assert len(open_dataset(path).units) > 5
    table = read(path)
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string()]
    assert table["a"].to_pylist() == list(range(2000))
    assert table["b"][1900].as_py() == 2.5
    assert table["c"][7].as_py() == "7" and table["c"][1900].as_py() == "many"
    assert "'c' has values of different types" in " ".join(open_dataset(path).notes)


def _small_blocks(stream, cut, **place):
    return blocks(stream, cut, **{**place, "block_bytes": 1 << 10})


def test_text_that_looks_like_numbers_in_one_file_alone_is_read_as_it_stands(read, write):
    write("part/a.csv", b"code\n007\n008\n")
    folder = write("part/b.csv", b"code\nx9\n").rsplit("/", 1)[0]
    assert read(folder)["code"].to_pylist() == ["007", "008", "x9"]


def test_empty_and_na_fields_are_null_but_quoted_ones_are_strings(read, write):
    path = write("na.csv", b'n,s\n1,NA\n,""\nNaN,"NA"\n4,\n')
    table = read(path)
    assert table["n"].to_pylist() == [1, None, None, 4]
    assert table["s"].to_pylist() == [None, "", "NA", None]


def test_natural_types(read, write):
    path = write(
        "types.csv",
        b"b,i,f,d,t,z,clock,inf,none\n"
        b"true,1,1.5,2013-01-01,2013-01-01 10:00:00,2013-01-01T10:00:00-05:00,12:30:05,inf,\n"
        b"FALSE,2,2,9999-12-31,2013-01-02 10:00:00.25,2013-01-01T10:00:00Z,00:00:01,-inf,\n",
    )
    table = read(path)
    times = pa.timestamp("us", "UTC")
    assert table.schema.types == [
        pa.bool_(), pa.int64(), pa.float64(), times, times, times,
        pa.float64(), pa.float64(), pa.null(),
    ]  # fmt: skip
    first = table.slice(0, 1).to_pylist()[0]
    assert first["z"] == datetime.datetime(2013, 1, 1, 15, tzinfo=UTC)
    assert first["clock"] == 12 * 3600 + 30 * 60 + 5
    assert first["inf"] == math.inf
    assert table["d"][1].as_py() == datetime.datetime(9999, 12, 31, tzinfo=UTC)
    notes = " ".join(open_dataset(path).notes)
    assert "'t' has times without a zone" in notes and "'z'" not in notes


def test_times_with_and_without_a_zone_become_utc_with_a_note(read, write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    rows = ["2013-01-01T10:00:00+02:00"] * 99 + ["2013-01-01T10:00:00"] + ["2013-01-01"] * 200
    path = write("zones.csv", ("t\n" + "\n".join(rows)).encode())
    times = read(path)["t"].to_pylist()
    assert times[0] == datetime.datetime(2013, 1, 1, 8, tzinfo=UTC)
    assert times[99] == datetime.datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert times[-1] == datetime.datetime(2013, 1, 1, tzinfo=UTC)
    assert "those without are taken as UTC" in open_dataset(path).notes[0]


def test_a_time_that_is_none_leaves_a_column_of_strings(read, write):
    path = write("soon.csv", b"t\n2013-01-01\nsoon\n2013-02-30\n")
    assert read(path)["t"].to_pylist() == ["2013-01-01", "soon", "2013-02-30"]


def test_quoted_newlines_survive_every_cut(read, write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    chance = random.Random(1)
    rows = [
        [str(i), "".join(chance.choice('ab"\n,\r') for _ in range(chance.randrange(30)))]
        for i in range(3000)
    ]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows])
    path = write("quoted.csv", text.getvalue().encode())
    assert len(open_dataset(path).units) > 10
    table = read(path)
    assert table["b"].to_pylist() == [row[1] for row in rows]


def test_a_quote_inside_a_bare_field_is_an_ordinary_character(read, write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    rows = [f'{i},{i}" pipe,"a\nb"' for i in range(500)]
    path = write("inches.csv", ("n,size,note\n" + "\n".join(rows) + "\n").encode())
    table = read(path)
    assert table["size"].to_pylist() == [f'{i}" pipe' for i in range(500)]
    assert set(table["note"].to_pylist()) == {"a\nb"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.text(alphabet='ab",\n', max_size=6), min_size=2, max_size=2), min_size=1),
    st.integers(8, 64),
)
def test_blocks_hold_whole_records(rows, size):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    found = list(blocks(io.BytesIO(data), csv_cut(","), source="x", block_bytes=size))
    assert b"".join(block.data for block in found) == data
    parsed = [
        row for block in found for row in csv.reader(io.StringIO(block.data.decode(), newline=""))
    ]
    assert parsed == rows
    for block in found:
        assert block.first_line == 1 + data.count(b"\n", 0, block.offset)


def test_compressed_and_other_delimiters(read, write):
    path = write("semi.csv.gz", gzip.compress(b'\xef\xbb\xbfa;b\n1;"x;y"\n2;z', mtime=0))
    assert read(path).to_pydict() == {"a": [1, 2], "b": ["x;y", "z"]}
    assert read(write("tab.tsv", b"a\tb\r\n1,5\t2\r\n")).to_pydict() == {"a": ["1,5"], "b": [2]}


def test_columns_can_be_chosen_and_ordered(read, write):
    path = write("abc.csv", b"a,b,c\n1,2,3\n")
    assert read(path, ["c", "a"]).to_pydict() == {"c": [3], "a": [1]}


def test_broken_utf8_is_escaped_and_counted(read, write):
    path = write("latin.csv", b"name,n\ncaf\xe9,1\nna\xefve \xff,2\n")
    assert read(path)["name"].to_pylist() == ["caf\\xe9", "na\\xefve \\xff"]
    assert "3 bytes that are not UTF-8" in open_dataset(path).notes[0]


def test_a_column_without_a_name_gets_one(read, write):
    path = write("nameless.csv", b",a\n1,2\n")
    assert read(path).schema.names == ["column_1", "a"]
    assert "column 1 has no name" in open_dataset(path).notes[0]


def test_five_thousand_columns_come_in_bounded_batches(write):
    names = [f"c{i}" for i in range(5000)]
    line = ",".join("1.25" for _ in names)
    path = write("wide.csv", "\n".join([",".join(names), *[line] * 1500]).encode())
    dataset = open_dataset(path)
    assert len(dataset.schema) == 5000 and dataset.rows == 1500
    batches = [batch for part in dataset.partitions(2) for batch in part.batches()]
    assert sum(batch.num_rows for batch in batches) == 1500
    assert max(batch.nbytes for batch in batches) <= 33 << 20


def test_one_row_and_all_null_columns(read, write):
    table = read(write("one.csv", b"a,b\n1,"))
    assert table.to_pydict() == {"a": [1], "b": [None]}
    assert table.schema.field("b").type == pa.null()


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("few.csv", b"a,b\n1,2\n\n3\n", "few.csv, line 4: 1 field where the header has 2"),
        ("many.csv", b'a,b\n"x\ny",2\n1,2,3\n', "many.csv, line 4: 3 fields where"),
        ("open.csv", b'a,b\n1,2\n3,"x\n4,5\n', "line 3 opens a quote that is never closed"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "twice.csv has two columns named 'a'"),
        ("empty.csv", b"", "empty.csv is empty"),
        ("blank.csv", b"\n\n", "blank.csv is empty"),
        ("gaps.csv", b"a,b\n\n\n", "has columns ('a', 'b') but no rows"),
        ("header.csv", b"a,b\n", "has columns ('a', 'b') but no rows"),
        ("wide.csv", "a,b\n1,2\n".encode("utf-16"), "wide.csv is encoded in UTF-16"),
        ("mac.csv", b"a,b\r1,2\r", "mac.csv ends its lines with a bare carriage return"),
        (
            "cut.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-30],
            "cut.csv.gz cannot be",
        ),
    ],
)
def test_bad_files_are_one_sentence(write, name, data, sentence):
    with pytest.raises(DataError) as caught:
        open_dataset(write(name, data))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_is_right_far_into_a_large_file(write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    rows = ['1,"two\nlines"'] * 3000
    rows[2500] = "1,2,3"
    path = write("far.csv", ("a,b\n" + "\n".join(rows)).encode())
    with pytest.raises(DataError, match=r"line 5002: 3 fields"):
        open_dataset(path)


def test_a_record_without_end_is_refused_before_memory_is(write, monkeypatch):
    monkeypatch.setattr(text_blocks, "LONGEST_RECORD_BYTES", 1 << 16)
    monkeypatch.setattr("trueup.datasets.csv_file.blocks", _small_blocks)
    path = write("endless.csv", b'a,b\n1,"' + b"x" * (1 << 17))
    with pytest.raises(DataError, match="begins at line 2 is longer"):
        open_dataset(path)
