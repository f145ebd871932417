"""Bad input gives one sentence that names the file and exit code 2, whichever side it is on:
never a traceback, never a verdict on half of the data."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import socket
import sys
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueup.datasets.example_proto import example_class
from trueup.frames.format import encode

ROWS = 120
CHANCE = random.Random(20130701)
TEXT = "fare,city\n" + "".join(
    f"{CHANCE.gauss(13, 4):.2f},{CHANCE.choice(['Oslo', 'Rome', 'Lima'])}\n" for _ in range(ROWS)
)
CSV = TEXT.encode()
NOISE = random.Random(7).randbytes(6000)
ZIPPED_NOISE = gzip.compress(NOISE.hex().encode(), mtime=0)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.csv"
    path.write_bytes(CSV)
    return path


def zipped(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return data.getvalue()


def parquet(table: pa.Table, **options: object) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data, **options)
    return data.getvalue()


TABLE = pa.table({"fare": [float(i % 17) for i in range(5000)], "city": ["Oslo", "Rome"] * 2500})
PLAIN = parquet(TABLE, compression="gzip", use_dictionary=False)


def corrupt(data: bytes, place: int, length: int = 300) -> bytes:
    turned = bytes(byte ^ 0xFF for byte in data[place : place + length])
    return data[:place] + turned + data[place + length :]


def without_row_groups() -> bytes:
    data = io.BytesIO()
    pq.ParquetWriter(data, TABLE.schema).close()
    return data.getvalue()


def example(**values: float | bytes) -> bytes:
    message = example_class()()
    for name, value in values.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return bytes(message.SerializeToString())


FRAMES = encode([example(fare=float(i), city=b"Oslo") for i in range(ROWS)])
SEQUENCE = example(fare=1.0) + b"\x12\x03\x0a\x01a"
"""As a tf.train.SequenceExample: field 2 holds feature lists."""

UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    # nothing in it
    "zero bytes": ("a.csv", b"", "is empty"),
    "line ends alone": ("a.csv", b"\n\r\n\n", "is empty"),
    "blanks alone": ("a.csv", b"   \n  \n", "is empty"),
    "byte order mark alone": ("a.csv", b"\xef\xbb\xbf", "is empty"),
    "header alone": ("a.csv", b"fare,city\n", "has columns ('fare', 'city') but no rows"),
    "empty Parquet": ("a.parquet", parquet(TABLE.slice(0, 0)), "but no rows"),
    "no row groups": ("a.parquet", without_row_groups(), "but no rows"),
    "Parquet without columns": ("a.parquet", parquet(pa.table({})), "no columns"),
    "zero bytes of Parquet": ("a.parquet", b"", "is empty"),
    "zero bytes of JSON": ("a.jsonl", b"\n\n", "is empty"),
    "empty objects": ("a.jsonl", b"{}\n{}\n", "no columns"),
    "zero frames": ("a.tfrecord", b"", "is empty"),
    "empty Examples": ("a.tfrecord", encode([b""] * 9), "no columns"),
    # not what the name says
    "random bytes": ("a.csv", NOISE, "holds binary data, not text"),
    "zeros": ("a.csv", bytes(500), "holds binary data"),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n" + NOISE, "is a PNG picture"),
    "a document": ("a.csv", b"%PDF-1.7\n" + NOISE, "is a PDF document"),
    "a database": ("a.csv", b"SQLite format 3\0" + NOISE, "is an SQLite database"),
    "an error page": ("a.csv", b"\n<!DOCTYPE html>\n<html>Sorry</html>\n", "is an HTML"),
    "an Excel workbook": ("a.csv", zipped("[Content_Types].xml", "xl/a.xml"), "is an Excel"),
    "Zstandard": ("a.csv.zst", b"\x28\xb5\x2f\xfd" + NOISE, "compressed with Zstandard"),
    "CSV as Parquet": ("a.parquet", CSV, "cannot be read as Parquet"),
    "CSV as JSON": ("a.jsonl", CSV, "line 1: no valid JSON"),
    "CSV as TFRecord": ("a.tfrecord", CSV, "no TFRecord frame"),
    # encodings
    "UTF-16": ("a.csv", TEXT.encode("utf-16"), "is encoded in UTF-16; save it as UTF-8"),
    "UTF-16 unmarked": ("a.csv", TEXT.encode("utf-16-be"), "seems to be encoded in UTF-16"),
    "UTF-32": ("a.csv", TEXT.encode("utf-32"), "is encoded in UTF-32"),
    "UTF-16 JSON": ("a.jsonl", '{"fare": 1}\n'.encode("utf-16"), "is encoded in UTF-16"),
    # damaged
    "gzip cut": ("a.csv.gz", gzip.compress(CSV, mtime=0)[:-20], "cannot be read"),
    "gzip noise": ("a.csv.gz", b"\x1f\x8b" + NOISE, "cannot be read"),
    "gzip bit": ("a.csv.gz", corrupt(ZIPPED_NOISE, 900, 9), "cannot be"),
    "bz2 cut": ("a.csv.bz2", bz2.compress(CSV)[:-20], "cannot be read"),
    "xz noise": ("a.csv.xz", b"\xfd7zXZ\x00" + NOISE, "cannot be read"),
    "xz cut": ("a.csv.xz", lzma.compress(CSV)[:-40], "cannot be read"),
    "zip noise": ("a.zip", b"PK\x03\x04" + NOISE, "cannot be read"),
    "zip of two": ("a.zip", zipped("a.csv", "b.csv"), "is a ZIP archive of 2 files"),
    "Parquet cut": ("a.parquet", PLAIN[: len(PLAIN) // 2], "cannot be read as Parquet"),
    "Parquet cut at the end": ("a.parquet", PLAIN[:-5], "cannot be read as Parquet"),
    "Parquet named CSV": ("a.csv", PLAIN[:-5], "cannot be read as Parquet"),
    "Parquet page": ("a.parquet", corrupt(PLAIN, 200), "cannot be read as Parquet"),
    "Parquet page in the middle": ("a.parquet", corrupt(PLAIN, len(PLAIN) // 2), "as Parquet"),
    "frame checksum": ("a.tfrecord", corrupt(FRAMES, 2000, 5), "byte "),
    "first frame": ("a.tfrecord", corrupt(FRAMES, 3, 4), "no TFRecord frame"),
    "torn frame": ("a.tfrecord", FRAMES[:-7], "is cut short inside a frame"),
    "torn header": ("a.tfrecord", FRAMES + b"abc", "is cut short inside a frame"),
    "no Examples": ("a.tfrecord", encode([b"hello world"] * 9), "is no tf.train.Example"),
    "SequenceExamples": ("a.tfrecord", encode([SEQUENCE] * 9), "a SequenceExample?"),
    # rows and names
    "a short row": ("a.csv", CSV + b"1\n", f"line {ROWS + 2}: 1 field where the header has 2"),
    "a long row": ("a.csv", CSV + b"1,2,3\n", f"line {ROWS + 2}: 3 fields"),
    "an open quote": ("a.csv", CSV + b'1,"Oslo\n2,Rome\n', "opens a quote that is never closed"),
    "carriage returns": ("a.csv", CSV.replace(b"\n", b"\r"), "bare carriage return"),
    "two columns of one name": ("a.csv", b"a,b,a\n1,2,3\n", "two columns named 'a'"),
    "two long names": ("a.csv", b",".join([b"x" * 10_000] * 2) + b"\n1,2\n", "named 'xxx"),
    "two in Parquet": ("a.parquet", parquet(pa.table([[1], [2]], ["a", "a"])), "named 'a'"),
    "two by nesting": (
        "a.parquet", parquet(pa.table({"a": [{"b": 1}], "a.b": [2]})), "two columns named 'a.b'"
    ),
    "two by nested JSON": ("a.jsonl", b'{"a": {"b": 1}, "a.b": 2}\n', "named 'a.b'"),
    "two keys in JSON": ("a.jsonl", b'\n{"a": 1, "a": 2}\n', "line 2 has two columns named 'a'"),
    # JSON
    "array on top": ("a.json", b'[{"fare": 1}, {"fare": 2}]', "holds an array, not an object"),
    "array over lines": ("a.json", b'[\n{"fare": 1}\n]', "holds an array, not an object"),
    "one object over lines": ("a.json", b'{\n "fare": 1\n}', "line 1: no valid JSON"),
    "null on a line": ("a.jsonl", b'{"fare": 1}\nnull\n', "line 2: holds null"),
    "cut JSON": ("a.jsonl", b'{"fare": 1}\n{"fare": ', "line 2: no valid JSON"),
    "deep objects": ("a.jsonl", b'{"a":' * 600 + b"1" + b"}" * 600, "nested too deeply"),
    "deeper objects": ("a.jsonl", b'{"a":' * 9000 + b"1" + b"}" * 9000, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("side", ["training", "serving"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_files_are_one_sentence(compare_here, tmp_path, good, case, side) -> None:
    name, data, words = UNREADABLE[case]
    bad = tmp_path / "bad" / name
    bad.parent.mkdir()
    bad.write_bytes(data)
    sides = (bad, good) if side == "training" else (good, bad)
    compare_here(*sides).refused(str(bad), words)


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def _socket(folder: Path) -> str:
    place = os.path.relpath(folder / "socket")  # an address may have 107 characters
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(place)
    return str(folder / "socket")


def _file(folder: Path, name: str, data: bytes = CSV) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def _folder_of(folder: Path, **files: bytes) -> str:
    for name, data in files.items():
        _file(folder, f"data/{name.replace('_', '.')}", data)
    return str(folder / "data")


def _empty_folder(folder: Path) -> str:
    (folder / "data").mkdir()
    (folder / "data/_SUCCESS").touch()
    return str(folder / "data")


def _broken_link(folder: Path) -> str:
    (folder / "link.csv").symlink_to(folder / "nowhere.csv")
    return str(folder / "link.csv")


PLACES: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (lambda f: f"{f}/no.csv", "no.csv does not exist"),
    "missing below a file": (lambda f: _file(f, "a.csv") + "/b.csv", "does not exist"),
    "missing URL": (lambda f: f"file://{f}/no.csv", "does not exist"),
    "empty": (lambda f: "", "the path is empty"),
    "standard input": (lambda f: "-", "standard input cannot be compared"),
    "home": (lambda f: "~/no/such/file.csv", "~/no/such/file.csv does not exist"),
    "null character": (lambda f: f"{f}/a\0b.csv", "a\\x00b.csv does not exist"),
    "line end": (lambda f: _file(f, "two\nlines.csv", b"a,a\n1,2\n"), "two\\x0alines.csv has two"),
    "name not in UTF-8": (
        lambda f: _file(f, os.fsdecode(b"caf\xe9.csv"), b"a,a\n1,2\n"), "two columns named 'a'"
    ),
    "pattern": (lambda f: f"{f}/no*.csv", "no file matches"),
    "empty folder": (_empty_folder, "holds no data files"),
    "one bad file of a folder": (partial(_folder_of, a_csv=CSV, b_parquet=b"PAR1"), "b.parquet"),
    "broken link": (_broken_link, "link.csv does not exist"),
    "device": (lambda f: "/dev/null", "/dev/null is no file"),
    "endless device": (lambda f: "/dev/zero", "/dev/zero is no file"),
    "pipe": (_pipe, "is a pipe, which can be read only once"),
    "socket": (_socket, "is no file"),
    "unknown scheme": (lambda f: "nosuch://bucket/a.csv", "nosuch://bucket/a.csv cannot be opened"),
    "SQL": (lambda f: "sqlite:///a.db", "sqlite:///a.db cannot be opened"),
}  # fmt: skip


@pytest.mark.parametrize("side", ["training", "serving"])
@pytest.mark.parametrize("case", PLACES)
def test_places_without_data_are_one_sentence(compare_here, tmp_path, good, case, side) -> None:
    make, words = PLACES[case]
    place = make(tmp_path)
    sides = (place, good) if side == "training" else (good, place)
    compare_here(*sides).refused(words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(compare_here, tmp_path, good) -> None:
    closed = tmp_path / "closed.csv"
    closed.write_bytes(CSV)
    closed.chmod(0)
    compare_here(good, closed).refused(str(closed), "permission denied")


def test_an_object_store_without_its_package(compare_here, good, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # what Python does for one that is absent
    compare_here(good, "s3://bucket/a.csv").refused("s3://bucket/a.csv", "s3fs")


class Refusing(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/").split(".")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_web_server_that_refuses(compare_here, good, status: int) -> None:
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/{status}.csv"
            compare_here(good, url).refused(url)
        finally:
            server.shutdown()
            thread.join()


def test_a_web_server_that_is_not_there(compare_here, good) -> None:
    pytest.importorskip("aiohttp")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.csv"
        compare_here(good, url).refused(url, "check the address")


OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "key": (("--key", "nope"), "the key column 'nope' is not in"),
    "near key": (("--key", "fares"), "did you mean 'fare'?"),
    "time": (("--time", "when"), "the time column 'when' is not in"),
    "no time": (("--time", "city"), "holds values such as"),
    "label": (("--label", "town"), "the label column 'town' is not in"),
    "ignore": (("--ignore", "town"), "the ignored column 'town' is not in"),
    "window": (("--time", "fare", "--window", "soon"), "soon"),
    "spec": (("--spec", "no.toml"), "no.toml does not exist"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_name_no_column(compare_here, good, case) -> None:
    arguments, words = OPTIONS[case]
    compare_here(good, good, *arguments).refused(words)


SPECS: dict[str, tuple[str, str]] = {
    "no TOML": ("[variables.fare\n", "cannot be read as TOML"),
    "no table": ("variables = 3\n", "variables is not a table"),
    "table": ('[variable.fare]\nrole = "id"\n', "did you mean 'variables'?"),
    "variable": ('[variables.fair]\nrole = "id"\n', "did you mean 'fare'?"),
    "key": ('[variables.fare]\nrol = "id"\n', "did you mean 'role'?"),
    "missing": ("[variables.fare.missing]\nsentinel = [-1]\n", "did you mean 'sentinels'?"),
}


@pytest.mark.parametrize("case", SPECS)
def test_corrections_that_are_misspelt(compare_here, tmp_path, good, case) -> None:
    text, words = SPECS[case]
    spec = tmp_path / "spec.toml"
    spec.write_text(text)
    run = compare_here(good, good, "--spec", spec)
    assert run.code == 2
    assert str(spec) in run.err and words in run.err
    assert run.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("zero.csv", b"", "is empty"),
        ("corrupt.parquet", corrupt(PLAIN, 200), "cannot be read as Parquet"),
        (
            "late.csv.gz",
            gzip.compress(CSV + b"1,2,3\n", mtime=0),
            "3 fields where the header has 2",
        ),
        ("pipe", None, "is a pipe"),
    ],
)
def test_processes_end_with_2(compare_process, tmp_path, good, name, data, words) -> None:
    bad = tmp_path / name
    if data is None:
        os.mkfifo(bad)
    else:
        bad.write_bytes(data)
    compare_process(good, bad).refused(str(bad), words)


def test_json_of_a_refusal_is_no_report(compare_here, tmp_path, good) -> None:
    compare_here(good, tmp_path / "no.csv", "--json").refused("no.csv")
    page = tmp_path / "page.html"
    compare_here(good, tmp_path / "no.csv", "--html", page).refused("no.csv")
    assert not page.exists()
    assert json.loads(compare_here(good, good, "--json").out)["verdict"] == "ok"
