"""JSON lines: nested objects, types over all lines, and the line of what is wrong."""

from __future__ import annotations

import datetime
import gzip
import json
import math

import pyarrow as pa
import pytest

from trueup.datasets.open import open_dataset
from trueup.datasets.text_blocks import blocks
from trueup.errors import DataError

UTC = datetime.timezone.utc


def _lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_nested_objects_become_leaf_columns(read, write):
    path = write(
        "nested.jsonl",
        _lines(
            {"a": {"b": {"c": 1}}, "l": [1, 2], "o": [{"x": 1, "y": ["p", "q"]}, {"x": 2}]},
            {"a": {"b": None}, "l": [], "o": []},
            {"a": None, "l": None, "deep": [[1, 2], [3]]},
        ),
    )
    assert read(path).to_pydict() == {
        "a.b.c": [1, None, None],
        "l": [[1, 2], [], None],
        "o[].x": [[1, 2], [], None],
        "o[].y": [["p", "q"], [], None],
        "deep": [None, None, [1, 2, 3]],
    }
    assert read(path, ["o[].x", "a.b.c"]).schema.names == ["o[].x", "a.b.c"]


def test_types_over_all_blocks(read, write, monkeypatch):
    monkeypatch.setattr("trueup.datasets.json_lines.blocks", _small_blocks)
    rows: list[dict[str, object]] = [
        {"i": i, "f": i, "t": "2013-01-01T00:00:00Z", "s": "2013-01-01"} for i in range(500)
    ]
    rows[400].update(f=0.5, s="soon")
    rows[450] = {"late": True}
    path = write("late.jsonl", _lines(*rows))
    assert len(open_dataset(path).units) > 5
    table = read(path)
    assert table.schema.types == [
        pa.int64(), pa.float64(), pa.timestamp("us", "UTC"), pa.string(), pa.bool_(),
    ]  # fmt: skip
    assert table["t"][0].as_py() == datetime.datetime(2013, 1, 1, tzinfo=UTC)
    assert table["s"][0].as_py() == "2013-01-01"
    assert table["late"].null_count == 499


def _small_blocks(stream, cut, **place):
    return blocks(stream, cut, **{**place, "block_bytes": 1 << 11})


def test_values_of_different_types_are_strings_with_a_note(read, write):
    path = write("mixed.jsonl", _lines({"a": 1, "b": True}, {"a": "x", "b": 2}, {"a": None}))
    assert read(path).to_pydict() == {"a": ["1", "x", None], "b": ["true", "2", None]}
    assert "'a', 'b': values of different types" in open_dataset(path).notes[0]


def test_an_object_beside_other_values_of_its_key_loses_nothing(read, write):
    path = write("both.jsonl", _lines({"a": 1}, {"a": {"b": 2}}, {"a": [3, 4]}))
    table = read(path)
    assert table["a.b"].to_pylist() == [None, 2, None]
    assert table["a"].to_pylist() == [[1], None, [3, 4]]


def test_what_python_writes_beyond_json_is_read(read, write):
    path = write("nan.jsonl.gz", gzip.compress(b'{"a": NaN}\n\n{"a": -Infinity}\n{"a": 1e400}\n'))
    values = read(path)["a"].to_pylist()
    assert values[0] is None or math.isnan(values[0])
    assert values[1:] == [-math.inf, math.inf]


def test_integers_beyond_64_bits_are_numbers(read, write):
    path = write("big.jsonl", _lines({"a": 2**70}, {"a": 1}))
    assert read(path)["a"].to_pylist() == [2.0**70, 1.0]


def test_broken_utf8_is_escaped_and_counted(read, write):
    path = write("latin.jsonl", b'{"name": "caf\xe9"}\n{"name": "b"}\n')
    assert read(path)["name"].to_pylist() == ["caf\\xe9", "b"]
    assert "1 byte that is not UTF-8" in open_dataset(path).notes[0]


def test_rows_without_any_key_count(read, write):
    table = read(write("bare.jsonl", _lines({}, {"a": 1}, {})))
    assert table["a"].to_pylist() == [None, 1, None]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"a": 1}\n{"a":\n', "bad.jsonl, line 2: no valid JSON"),
        (b'{"a": 1}\n\n[1, 2]\n', "bad.jsonl, line 3: holds an array, not an object"),
        (b'{"a": 1}\n7\n', "line 2: holds the value 7, not an object"),
        (b'{"a": 1}{"a": 2}\n', "line 1: no valid JSON"),
        (b'{"a": {"b": 1}, "a.b": 2}\n', "two columns named 'a.b'"),
        (b"{}\n{}\n", "bad.jsonl is empty"),
        (b"", "bad.jsonl is empty"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "line 1: "),
    ],
)
def test_bad_files_are_one_sentence(write, data, sentence):
    with pytest.raises(DataError) as caught:
        open_dataset(write("bad.jsonl", data))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
