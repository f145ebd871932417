"""Examples written column by column are those that protocol buffers would write."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.datasets.example_proto import example_class
from trueup.datasets.open import open_dataset
from trueup.frames.format import FOOTER_BYTES, HEADER_BYTES, payload_is_whole, payload_length
from trueup.records.input_spec import Variable
from trueup.trainer.data.declared import declared_type
from trueup.trainer.data.example_encoder import ExampleEncoder, Frames

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32)
BYTES = st.binary(max_size=200)

VARIABLES = (
    Variable(name="x", dtype="float32", kind="numeric"),
    Variable(name="wide", dtype="float64", kind="numeric"),
    Variable(name="n", dtype="int64", kind="numeric"),
    Variable(name="unsigned", dtype="uint64", kind="numeric"),
    Variable(name="small", dtype="int8", kind="numeric"),
    Variable(name="flag", dtype="bool", kind="categorical"),
    Variable(name="é" * 80, dtype="string", kind="categorical"),
    Variable(name="raw", dtype="bytes", kind="categorical"),
    Variable(name="numbers", dtype="float32", kind="numeric", shape=(-1,)),
    Variable(name="counts", dtype="int64", kind="numeric", shape=(-1,)),
    Variable(name="tags", dtype="string", kind="categorical", shape=(-1,)),
)
VALUES = (FLOATS, FLOATS, INTEGERS, st.integers(0, 2**64 - 1), st.integers(-128, 127),
          st.booleans(), TEXT, BYTES, st.lists(FLOATS, max_size=70),
          st.lists(INTEGERS, max_size=40), st.lists(TEXT, max_size=9))  # fmt: skip

ROW = st.tuples(*(st.none() | value for value in VALUES))


def encoded(rows: list[tuple[Any, ...]], offset: int = 0) -> Frames:
    """:param offset: rows that lie before in the arrays, and are not encoded."""
    columns = {}
    for place, variable in enumerate(VARIABLES):
        values = [row[place] for row in rows]
        array = pa.array([values[0]] * offset + values, declared_type(variable))
        columns[variable.name] = array.slice(offset)
    return ExampleEncoder(VARIABLES).encode(columns, len(rows))


def payloads(frames: Frames) -> list[bytes]:
    """Framing checked as a reader checks it."""
    stream, found = io.BytesIO(frames.data.tobytes()), []
    while header := stream.read(HEADER_BYTES):
        length = payload_length(header)
        assert length is not None
        payload = stream.read(length)
        assert payload_is_whole(payload, stream.read(FOOTER_BYTES))
        found.append(payload)
    return found


def told(payload: bytes) -> dict[str, list[Any]]:
    """What protocol buffers read."""
    example = example_class().FromString(payload)
    assert example.ByteSize() == len(payload)  # nothing written twice, no longer than need be
    found = {}
    for name, feature in example.features.feature.items():
        found[name] = list(getattr(feature, feature.WhichOneof("kind")).value)
    return found


def expected(row: tuple[Any, ...]) -> dict[str, list[Any]]:
    found = {}
    for variable, value in zip(VARIABLES, row, strict=True):
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if variable.dtype == "string":
            values = [text.encode() for text in values]
        if variable.dtype == "uint64":
            values = [number - 2**64 if number >= 2**63 else number for number in values]
        found[variable.name] = [int(v) if isinstance(v, bool) else v for v in values]
    return found


def same(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> bool:
    """Equal, NaN to NaN."""

    def comparable(values: list[Any]) -> list[Any]:
        return ["nan" if isinstance(v, float) and math.isnan(v) else v for v in values]

    return {n: comparable(v) for n, v in found.items()} == {
        n: comparable(v) for n, v in wanted.items()
    }


@settings(deadline=None, max_examples=150)
@given(st.lists(ROW, min_size=1, max_size=12), st.integers(0, 3))
def test_protocol_buffers_read_the_values_that_were_written(
    rows: list[tuple[Any, ...]], offset: int
) -> None:
    frames = encoded(rows, offset)
    found = payloads(frames)
    assert len(found) == len(frames) == len(rows)
    for payload, row in zip(found, rows, strict=True):
        assert same(told(payload), expected(row))


def test_no_rows_are_no_bytes() -> None:
    columns = {v.name: pa.array([], declared_type(v)) for v in VARIABLES}
    frames = ExampleEncoder(VARIABLES).encode(columns, 0)
    assert len(frames) == 0 and not frames.data.size


def test_long_values_and_all_lengths_in_between() -> None:
    """Lengths of one, two and three bytes on every level of the message."""
    texts = ["x" * size for size in (0, 1, 80, 100, 110, 120, 127, 128, 16_300, 16_384, 70_000)]
    variable = Variable(name="text", dtype="string", kind="text")
    frames = ExampleEncoder([variable]).encode({"text": pa.array(texts)}, len(texts))
    assert [told(p)["text"] for p in payloads(frames)] == [[t.encode()] for t in texts]


def test_times_are_written_as_clients_write_them() -> None:
    at = pa.array([1_357_034_400_250_000, None], pa.int64()).cast(pa.timestamp("us", "UTC"))
    variable = Variable(name="at", dtype="timestamp", kind="time")
    frames = ExampleEncoder([variable]).encode({"at": at}, 2)
    assert [told(p) for p in payloads(frames)] == [{"at": [b"2013-01-01T10:00:00Z"]}, {}]


def test_our_reader_reads_a_file_of_them(tmp_path: Path) -> None:
    rows = 20_000
    random = np.random.default_rng(3)
    table = {
        "x": pa.array(random.normal(size=rows).astype("f4"), mask=random.random(rows) < 0.1),
        "n": pa.array(random.integers(-5, 300, rows)),
        "word": pa.array(random.choice(["AA", "UA", "", "Zürich"], rows)),
    }
    variables = [
        Variable(name="x", dtype="float32", kind="numeric"),
        Variable(name="n", dtype="int64", kind="numeric"),
        Variable(name="word", dtype="string", kind="categorical"),
    ]
    path = tmp_path / "rows.tfrecord"
    path.write_bytes(ExampleEncoder(variables).encode(table, rows).data.tobytes())
    dataset = open_dataset(path)
    read = pa.Table.from_batches(
        batch for part in dataset.partitions(4) for batch in part.batches(list(table))
    )
    assert read.equals(pa.table(table).cast(read.schema))


@pytest.mark.heavy
def test_tensorflow_parses_the_same_values(tmp_path: Path) -> None:
    import tensorflow as tf

    rows = 5000
    random = np.random.default_rng(5)
    x = random.normal(size=rows).astype("f4")
    missing = random.random(rows) < 0.2
    n = random.integers(-(2**62), 2**62, rows)
    words = random.choice(["AA", "UA", "", "Zürich"], rows).tolist()
    lists = [random.choice(["a", "b", "cc"], size).tolist() for size in random.integers(0, 5, rows)]
    flags = random.random(rows) < 0.5
    columns = {
        "x": pa.array(x, mask=missing), "n": pa.array(n), "word": pa.array(words),
        "tags": pa.array(lists, pa.list_(pa.string())), "flag": pa.array(flags),
    }  # fmt: skip
    variables = [
        Variable(name="x", dtype="float32", kind="numeric"),
        Variable(name="n", dtype="int64", kind="numeric"),
        Variable(name="word", dtype="string", kind="categorical"),
        Variable(name="tags", dtype="string", kind="categorical", shape=(-1,)),
        Variable(name="flag", dtype="bool", kind="categorical"),
    ]
    path = tmp_path / "rows.tfrecord"
    path.write_bytes(ExampleEncoder(variables).encode(columns, rows).data.tobytes())
    batch = next(iter(tf.data.TFRecordDataset(str(path)).batch(rows)))
    parsed = tf.io.parse_example(
        batch,
        {
            "x": tf.io.FixedLenFeature([], tf.float32, float("nan")),
            "n": tf.io.FixedLenFeature([], tf.int64),
            "word": tf.io.FixedLenFeature([], tf.string),
            "tags": tf.io.RaggedFeature(tf.string),
            "flag": tf.io.FixedLenFeature([], tf.int64),
        },
    )
    np.testing.assert_array_equal(parsed["x"].numpy(), np.where(missing, np.nan, x))
    np.testing.assert_array_equal(parsed["n"].numpy(), n)
    assert parsed["word"].numpy().tolist() == [word.encode() for word in words]
    assert parsed["tags"].to_list() == [[tag.encode() for tag in tags] for tags in lists]
    np.testing.assert_array_equal(parsed["flag"].numpy(), flags.astype(np.int64))
