"""Awkward data that can be read give findings with reasons, and no column goes missing: the same
for CSV, Parquet, JSON lines and TFRecord."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from trueup.datasets.example_proto import example_class
from trueup.frames.format import encode
from trueup.records.report import CauseKind, Level, Quantity, Verdict

ROWS = 400
FORMATS = ("csv", "parquet", "jsonl", "tfrecord")


def column(kind: str, seed: int) -> list[Any]:
    chance = np.random.default_rng([11, seed])
    if kind == "float":
        return chance.normal(13, 4, ROWS).round(3).tolist()
    if kind == "int":
        return chance.integers(0, 9, ROWS).tolist()
    if kind == "bool":
        return (chance.random(ROWS) < 0.4).tolist()
    if kind == "list":
        return [part.tolist() for part in np.split(chance.normal(13, 4, 2 * ROWS).round(3), ROWS)]
    return chance.choice(["Oslo", "Rome", "Lima"], ROWS).tolist()


def base(seed: int) -> dict[str, list[Any]]:
    return {"fare": column("float", seed), "city": column("string", seed)}


def write(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    path = folder / name
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".tfrecord":
        path.write_bytes(encode([example(row) for row in rows]))
    elif path.suffix == ".csv":
        lists = {name for name, values in columns.items() if isinstance(values[0], list)}
        shown = {n: list(map(str, v)) if n in lists else v for n, v in columns.items()}
        pa.csv.write_csv(pa.table(shown), path)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def example(row: dict[str, Any]) -> bytes:
    message = example_class()()
    for name, value in row.items():
        for one in value if isinstance(value, list) else [value]:
            feature = message.features.feature[name]
            if isinstance(one, str):
                feature.bytes_list.value.append(one.encode())
            elif isinstance(one, float):
                feature.float_list.value.append(one)
            elif one is not None:
                feature.int64_list.value.append(int(one))
    return bytes(message.SerializeToString())


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_the_format_is_no_difference(compare_here, tmp_path, suffix, other) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0))
    after = write(tmp_path, f"b.{other}", base(1))
    run = compare_here(before, after, "--json")
    assert run.report.verdict is Verdict.OK, run.report.reasons
    assert run.columns == {"fare", "city"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_column_on_one_side_only(compare_here, tmp_path, suffix) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"old": column("int", 2)})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"new": column("int", 3)})
    run = compare_here(before, after, "--json")
    assert run.code == 4
    assert run.columns == {"fare", "city", "old", "new"}
    gone = run.findings("old")[Quantity.PRESENCE]
    assert (gone.level, gone.cause.kind) == (Level.ALERT, CauseKind.COLUMN_GONE)
    assert run.findings("new")[Quantity.PRESENCE].level is Level.WATCH


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_column_that_became_empty(compare_here, tmp_path, suffix) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": column("float", 2)})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": [None] * ROWS})
    run = compare_here(before, after, "--json")
    assert run.code == 4
    assert run.findings("x")[Quantity.MISSING].cause.kind is CauseKind.MISSING_JUMP


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["float", "string", "bool"])
def test_a_column_that_was_empty_is_no_fault(compare_here, tmp_path, suffix, kind) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": [None] * ROWS})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": column(kind, 2)})
    run = compare_here(before, after, "--json")
    assert run.report.verdict is Verdict.WATCH, run.report.reasons
    assert "x" in run.columns
    assert run.findings("x")[Quantity.PRESENCE].level is Level.WATCH


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_column_that_is_stuck(compare_here, tmp_path, suffix) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": column("float", 2)})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": [13.25] * ROWS})
    run = compare_here(before, after, "--json")
    assert run.code == 4
    assert {f.cause.kind for f in run.findings("x").values() if f.cause} == {CauseKind.STUCK}


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_constant_is_no_difference(compare_here, tmp_path, suffix) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": [7] * ROWS, "y": ["k"] * ROWS})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": [7] * ROWS, "y": ["k"] * ROWS})
    run = compare_here(before, after, "--json")
    assert run.report.verdict is Verdict.OK, run.report.reasons
    assert run.columns == {"fare", "city", "x", "y"}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("side", ["training", "serving"])
def test_one_row_is_too_few_to_judge(compare_here, tmp_path, suffix, side) -> None:
    many = write(tmp_path, f"a.{suffix}", base(0))
    one = write(tmp_path, f"b.{suffix}", {"fare": [900.0], "city": ["Bonn"]})
    sides = (one, many) if side == "training" else (many, one)
    run = compare_here(*sides, "--json")
    assert run.report.verdict is Verdict.WATCH  # nothing could be compared
    for name in ("fare", "city"):
        assert "too few rows" in run.findings(name)[Quantity.PRESENCE].reason


CHANGED = [
    ("int", "string"), ("string", "float"), ("float", "string"), ("float", "list"),
    ("float", "bool"), ("bool", "float"), ("string", "bool"), ("bool", "string"), ("bool", "int"),
]  # fmt: skip
TYPED = [
    (suffix, *kinds)
    for suffix in FORMATS
    for kinds in CHANGED
    if suffix != "tfrecord" or "bool" not in kinds  # an Example has no Boolean values
]


@pytest.mark.parametrize(("suffix", "was", "became"), TYPED)
def test_a_type_that_changed(compare_here, tmp_path, suffix, was, became) -> None:
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": column(was, 2)})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": column(became, 3)})
    run = compare_here(before, after, "--json")
    assert run.code == 4, run.report.reasons
    changed = run.findings("x")[Quantity.TYPE]
    assert changed.level is Level.ALERT
    assert changed.cause.kind in (CauseKind.TYPE_CHANGED, CauseKind.STUCK)


@pytest.mark.parametrize("suffix", FORMATS)
def test_infinities_and_not_a_number(compare_here, tmp_path, suffix) -> None:
    values = column("float", 3)
    values[::4], values[1::4] = [math.inf] * (ROWS // 4), [math.nan] * (ROWS // 4)
    before = write(tmp_path, f"a.{suffix}", base(0) | {"x": column("float", 2)})
    after = write(tmp_path, f"b.{suffix}", base(1) | {"x": values})
    run = compare_here(before, after, "--json")
    found = run.findings("x")
    assert found[Quantity.NON_FINITE].level is Level.ALERT
    assert found[Quantity.NON_FINITE].serving == pytest.approx(100 / 3)
    assert found[Quantity.MISSING].serving == pytest.approx(25.0)
    back = compare_here(after, before, "--json")
    assert back.findings("x")[Quantity.NON_FINITE].level is Level.WATCH


def test_infinities_alone_in_training_are_worth_a_look(compare_here, tmp_path) -> None:
    before = write(tmp_path, "a.csv", base(0) | {"x": [math.inf] * ROWS})
    after = write(tmp_path, "b.csv", base(1) | {"x": column("float", 2)})
    run = compare_here(before, after, "--json")
    assert run.report.verdict is Verdict.WATCH
    assert "no finite value in training" in run.findings("x")[Quantity.PRESENCE].reason


def not_utf8(texts: list[bytes], kind: pa.DataType) -> pa.Array:
    """Bytes under the name of strings, which Arrow and Parquet take on trust."""
    broken = pa.array(texts, pa.binary()).view(pa.string())
    if pa.types.is_list(kind):
        ones = pa.array(np.arange(len(texts) + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(ones, broken)
    return broken.dictionary_encode() if pa.types.is_dictionary(kind) else broken


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.list_(pa.string()), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_strings_of_parquet_that_are_not_utf8(compare_here, tmp_path, kind) -> None:
    sides = []
    for side, texts in (("a", [b"Krak\xf3w", b"Oslo"]), ("b", [b"Krak\xf3w", b"Rome"])):
        cities = not_utf8(texts * (ROWS // 2), kind)
        sides.append(tmp_path / f"{side}.parquet")
        pq.write_table(pa.table({"fare": column("float", 0), "city": cities}), sides[-1])
    run = compare_here(*sides, "--json")
    assert run.columns == {"fare", "city"}
    shown = next(s for s in run.report.features if s.feature == "city").categories
    assert "Krak\\xf3w" in {one.value for one in shown}
    assert run.findings("city")[Quantity.UNSEEN].serving == pytest.approx(50.0)


NAMES = ["a.b", " lead", "two\nlines", "<b>bold</b>", "[red]x[/red]", "x" * 10_000, "é", "e\u0301"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_odd_names_are_shown_everywhere(compare_here, tmp_path, suffix) -> None:
    names = [name for name in NAMES if suffix != "jsonl" or name != "a.b"]
    odd = {name: column("float", place) for place, name in enumerate(names)}
    before = write(tmp_path, f"a.{suffix}", odd)
    after = write(tmp_path, f"b.{suffix}", odd)
    page = tmp_path / "page.html"
    run = compare_here(before, after, "--json", "--html", page)
    assert run.columns == set(names)
    assert "<b>bold</b>" not in page.read_text(encoding="utf-8")
    lost = compare_here(before, write(tmp_path, f"c.{suffix}", base(1)))
    assert lost.code == 4
    assert "[red]x[/red]" in lost.out and "two\nlines" not in lost.out


@pytest.mark.parametrize(
    ("suffix", "name"),
    [("csv", "column_2"), ("parquet", "column_2"), ("jsonl", "unnamed"), ("tfrecord", "unnamed")],
)
@pytest.mark.parametrize("blank", ["", " "])
def test_a_column_without_a_name_has_one_in_the_report(
    compare_here, tmp_path, suffix, name, blank
) -> None:
    nameless = {"fare": column("float", 0), blank: column("float", 1)}
    path = write(tmp_path, f"a.{suffix}", nameless)
    run = compare_here(path, path, "--json")
    assert run.columns == {"fare", name}


def csv_rows(**columns: list[str]) -> bytes:
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    return ("\n".join(lines) + "\n").encode()


FARES = [f"{value}" for value in column("float", 1)]


TELLING: dict[str, tuple[str, bytes, str]] = {
    "broken UTF-8 in values": (
        "a.csv", csv_rows(fare=FARES, city=["Krak?w"] * ROWS).replace(b"?", b"\xf3"),
        "400 bytes that are not UTF-8",
    ),
    "broken UTF-8 in the header": (
        "a.csv", csv_rows(fare=FARES, caf=FARES).replace(b"caf", b"caf\xe9", 1), ""
    ),
    "decimal commas": (
        "a.csv",
        csv_rows(fare=FARES, x=FARES).replace(b",", b";").replace(b".", b","),
        "numbers written for people",
    ),
    "thousands": (
        "a.csv", csv_rows(fare=FARES, x=['"1,234,567.5"'] * ROWS), "such as '1,234,567.5'"
    ),
    "per cent": ("a.csv", csv_rows(fare=FARES, x=["15 %", "7 %"] * 200), "such as '15 %'"),
    "no header": ("a.csv", b"\n".join(csv_rows(fare=FARES).splitlines()[1:]), "first line holds"),
    "zones": (
        "a.csv",
        csv_rows(fare=FARES, t=["2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00"] * 200),
        "with and without a zone",
    ),
    "zones in JSON": (
        "a.jsonl",
        b'{"fare": 1.5, "t": "2024-03-31T01:30:00Z"}\n{"fare": 2.5, "t": "2024-03-31"}\n' * 200,
        "with and without a zone",
    ),
    "dates that are none": (
        "a.csv", csv_rows(fare=FARES, t=["2024-02-29", "2024-02-30", "0000-00-00", "-"] * 100), ""
    ),
    "types that change between rows": (
        "a.jsonl", b'{"fare": 1.5, "x": 1}\n{"fare": 2.5, "x": "a"}\n' * 200, "different types"
    ),
    "features whose kind changes": (
        "a.tfrecord",
        encode([example({"fare": 1.5, "x": 1}), example({"fare": 2.5, "x": "a"})] * 200),
        "features of different kinds",
    ),
    "integers beyond 64 bits": (
        "a.jsonl", f'{{"fare": {2**64}, "x": {10**400}}}\n'.encode() * ROWS, ""
    ),
    "a number of 5,000 digits": ("a.jsonl", b'{"fare": 1' + b"0" * 5000 + b"}\n", ""),
    "lone surrogates": ("a.jsonl", b'{"fare": 1.5, "x\\ud800": "\\udfff"}\n' * ROWS, ""),
    "a trailing delimiter": (
        "a.csv", csv_rows(fare=FARES, x=FARES).replace(b"\n", b",\n"), "column 3 has no name"
    ),
    "Excel's own first line": (
        "a.csv", b"sep=;\r\n" + csv_rows(fare=FARES, x=FARES).replace(b",", b";"), ""
    ),
    "a byte order mark": ("a.csv", b"\xef\xbb\xbf" + csv_rows(fare=FARES), ""),
    "a null character": ("a.csv", csv_rows(fare=FARES, x=["a\0b", *["ab"] * (ROWS - 1)]), ""),
    "JSON lines named CSV": ("a.csv", b'{"fare": 1.5, "x": 2}\n' * ROWS, ""),
    "packed without a suffix": ("a.csv", gzip.compress(csv_rows(fare=FARES), mtime=0), ""),
}  # fmt: skip


@pytest.mark.parametrize("side", ["training", "serving"])
@pytest.mark.parametrize("case", TELLING)
def test_what_reading_had_to_decide_is_said(compare_here, tmp_path, case, side) -> None:
    name, data, words = TELLING[case]
    odd = tmp_path / name
    odd.write_bytes(data)
    plain = write(tmp_path, "plain.parquet", {"fare": column("float", 5)})
    sides = (odd, plain) if side == "training" else (plain, odd)
    run = compare_here(*sides, "--json")
    assert any(words in note and str(odd) in note for note in run.report.notes) or not words
    if case != "no header":
        assert "fare" in run.columns
    told = compare_here(*sides)
    assert told.code == run.code and told.err == ""


def test_a_folder_of_every_format_is_one_data_set(compare_here, tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for place, suffix in enumerate(FORMATS):
        write(folder, f"part.{suffix}", base(place))
    (folder / "readme.md").write_text("# not data")
    run = compare_here(folder, write(tmp_path, "all.csv", base(9)), "--json")
    assert run.report.training.rows == 4 * ROWS
    assert run.report.verdict is Verdict.OK, run.report.reasons
    assert any("readme.md was passed over" in note for note in run.report.notes)


def test_folders_that_are_named_for_values_are_told(compare_here, tmp_path) -> None:
    inner = tmp_path / "data" / "year=2024"
    inner.mkdir(parents=True)
    write(inner, "part.parquet", base(0))
    run = compare_here(tmp_path / "data", tmp_path / "data", "--json")
    assert any("'year': these are not read as columns" in note for note in run.report.notes)


def test_times_beyond_the_calendar(compare_here, tmp_path) -> None:
    """Milliseconds that are taken for seconds lie in the year 54,000."""
    seconds = np.arange(ROWS) * 3600 + 1_700_000_000
    before = write(tmp_path, "a.parquet", {"event_time": seconds.tolist(), **base(0)})
    after = write(tmp_path, "b.parquet", {"event_time": (seconds * 1000).tolist(), **base(1)})
    run = compare_here(before, after, "--json")
    assert run.report.training.first_time is not None
    assert run.report.serving.first_time is None
    far = pa.table({"day": pa.array([2**30, -(2**30), 19_000] * 100, pa.date32())})
    pq.write_table(far, tmp_path / "far.parquet")
    run = compare_here(tmp_path / "far.parquet", tmp_path / "far.parquet", "--json")
    assert run.report.verdict is Verdict.OK


@pytest.mark.heavy
def test_a_million_distinct_strings_take_little_memory(tmp_path) -> None:
    """Neither vocabularies nor the names of new categories grow with the data."""
    program = (  # VmHWM: the ru_maxrss of a new process begins with that of the tests' own
        "import re, sys; from trueup.cli.main import main; code = main(sys.argv[1:]);"
        "status = open('/proc/self/status').read();"
        r"print(code, int(re.search(r'VmHWM:\s+(\d+)', status)[1]) // 1024)"
    )
    rows = 1_000_000
    paths = []
    for seed in (0, 1):
        keys = np.random.default_rng([12, seed]).integers(0, 2**62, rows)
        words = pa.array(keys).cast(pa.string())
        frame = pa.table({"word": pc.binary_join_element_wise("say", words, "now", " ")})
        paths.append(str(tmp_path / f"{seed}.csv"))
        pa.csv.write_csv(frame.append_column("tag", words), paths[-1])
    command = [sys.executable, "-c", program, "compare", *paths, "--workers", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    code, megabytes = map(int, ended.stdout.splitlines()[-1].split())
    assert code == 0, ended.stdout
    assert megabytes < 700, megabytes


@pytest.mark.heavy
def test_five_thousand_columns(compare_here, tmp_path) -> None:
    """Every one of them is in the report, and the one that moved is found among them."""
    chance = np.random.default_rng(13)
    names = [f"c{place:04}" for place in range(5000)]
    before, after = (chance.normal(size=(5000, 100)).round(3) for _ in range(2))
    after[4321] += 3
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, values in zip(paths, (before, after), strict=True):
        pa.csv.write_csv(pa.table(list(values), names=names), path)
    run = compare_here(*paths, "--json")
    assert run.columns == set(names)
    assert run.report.verdict is Verdict.DRIFT
    assert {f.feature for f in run.report.findings if f.level is Level.ALERT} == {"c4321"}
