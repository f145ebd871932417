"""Paths, globs, directories, URLs; files of one data set that differ."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueup.datasets.example_proto import example_class
from trueup.datasets.open import open_dataset
from trueup.errors import DataError, UnsupportedError
from trueup.frames.format import encode


def test_a_directory_of_files_that_differ_loses_nothing(read, write, tmp_path):
    write("d/1.csv", b"a,b\n1,x\n")
    write("d/sub/2.csv", b"b,c\ny,2\n")
    write("d/sub/_SUCCESS", b"")
    write("d/.hidden.csv", b"q\n1\n")
    write("d/readme.md", b"# not data")
    pq.write_table(pa.table({"a": [2.5]}), tmp_path / "d/3.parquet")
    table = read(str(tmp_path / "d"))
    assert sorted(table.to_pylist(), key=str) == sorted(
        [
            {"a": 1.0, "b": "x", "c": None},
            {"a": None, "b": "y", "c": 2},
            {"a": 2.5, "b": None, "c": None},
        ],
        key=str,
    )
    notes = " ".join(open_dataset(tmp_path / "d").notes)
    assert "lacks 'c'" in notes and "readme.md was passed over" in notes


def test_globs_and_conflicting_types(read, write, tmp_path):
    write("x1.csv", b"a\n1\n")
    write("x2.csv", b"a\nsoon\n")
    write("y.csv", b"a\n9\n")
    pattern = str(tmp_path / "x*.csv")
    assert read(pattern)["a"].to_pylist() == ["1", "soon"]
    assert "different types (integer, string)" in open_dataset(pattern).notes[-1]


def test_an_empty_file_among_others_is_passed(read, write, tmp_path):
    write("e/1.csv", b"")
    write("e/2.csv", b"a\n1\n")
    assert read(str(tmp_path / "e")).to_pydict() == {"a": [1]}


def test_content_tells_the_format_where_the_suffix_does_not(read, write, tmp_path):
    example = example_class()()
    example.features.feature["a"].int64_list.value.append(1)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part-0")
    for path in (
        str(tmp_path / "part-0"),
        write("part-1", b"a\n1\n"),
        write("part-2", b'{"a": 1}\n'),
        write("part-3", gzip.compress(b'{"a": 1}\n')),
        write("part-4", encode([example.SerializeToString()])),
        write("part-5", gzip.compress(encode([example.SerializeToString()]))),
        write("misnamed.csv", gzip.compress(b"a\n1\n")),
    ):
        assert read(path).to_pydict() == {"a": [1]}, path


def test_urls_are_opened_by_fsspec(read):
    import fsspec

    fs = fsspec.filesystem("memory")
    for name, data in (("1.csv", b"a,b\n1,x\n"), ("2.csv.gz", gzip.compress(b"a,b\n2,y\n"))):
        fs.pipe(f"/sources/{name}", data)
    with fs.open("/sources/3.parquet", "wb") as file:
        pq.write_table(pa.table({"a": [3], "b": ["z"]}), file)
    dataset = open_dataset("memory://sources")
    batches = [batch for part in dataset.partitions(2) for batch in part.batches()]
    assert pa.Table.from_batches(batches).to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    assert open_dataset("memory://sources/*.csv").rows == 1
    with pytest.raises(DataError, match=r"memory://sources/nope\.csv does not exist"):
        open_dataset("memory://sources/nope.csv")
    with pytest.raises(UnsupportedError, match="nosuch://"):
        open_dataset("nosuch://bucket/a.csv")


def test_missing_paths_and_empty_directories(tmp_path):
    for source, sentence in [
        (tmp_path / "nope.csv", "nope.csv does not exist"),
        (tmp_path / "*.csv", "no file matches"),
        (tmp_path, "holds no data files"),
    ]:
        with pytest.raises(DataError) as caught:
            open_dataset(source)
        assert sentence in str(caught.value)


def test_a_truncated_parquet_file_is_named(write, tmp_path):
    pq.write_table(pa.table({"a": list(range(10_000))}), tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(DataError, match=r"cut\.parquet cannot be read as Parquet"):
        open_dataset(write("cut.parquet", data[: len(data) // 2]))


def test_damage_inside_a_parquet_file_is_named_when_it_is_read(write, tmp_path):
    table = pa.table({"a": [f"value {i}" for i in range(10_000)]})
    pq.write_table(table, tmp_path / "whole.parquet", compression="gzip", use_dictionary=False)
    data = bytearray((tmp_path / "whole.parquet").read_bytes())
    data[100:4000] = b"\xff" * 3900
    dataset = open_dataset(write("rot.parquet", bytes(data)))
    with pytest.raises(DataError, match=r"rot\.parquet cannot be read as Parquet"):
        list(dataset.partitions(1)[0].batches())


def test_partitions_cover_all_rows_in_order(write):
    folder = "many"
    for i in range(20):
        path = write(f"{folder}/{i:02}.csv", f"n\n{i}\n".encode() + b"7\n" * (i % 5))
    dataset = open_dataset(path.rsplit("/", 1)[0])
    for target in (1, 3, 20, 50):
        parts = dataset.partitions(target)
        assert len(parts) <= target
        rows = [row for part in parts for batch in part.batches() for row in batch["n"].to_pylist()]
        assert [row for row in rows if row != 7 or rows.count(7) == 1][:3] == [0, 1, 2]
        assert len(rows) == dataset.rows == 20 + sum(i % 5 for i in range(20))


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, trueup.datasets, trueup.records.dataset;"
        "print([m for m in ('pandas', 'pyarrow', 'polars', 'fsspec') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_names_are_for_messages(write):
    assert open_dataset(pd.DataFrame({"a": [1]})).name == "DataFrame"
    assert open_dataset(pd.DataFrame({"a": [1]}), name="serving").name == "serving"
    path = write("a.csv", b"a\n1\n")
    assert open_dataset(path).name == path
