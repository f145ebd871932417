"""Protos in files: what is recognized, what is read, and the sentence for what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from trueup.cli.main import main
from trueup.comparison import compare
from trueup.errors import DataError
from trueup.frames.format import encode
from trueup.profile.states import Profile
from trueup.tfdv.files import is_statistics_file, read_schema, read_statistics, write_message
from trueup.tfdv.protos import protos
from trueup.tfdv.schema import to_schema
from trueup.tfdv.statistics import to_statistics

#: A tf.Example with one feature "x" of one float.
EXAMPLE = b"\x0a\x0f\x0a\x0d\x0a\x01x\x12\x08\x12\x06\x0a\x04\0\0\0\0"

DAMAGES = [
    "cut binary", "cut record", "flipped bit", "garbage", "cut text", "wrong field", "no examples",
    "no features", "twice",
]  # fmt: skip


@pytest.fixture(scope="module")
def profile(profile_of: Callable[..., Profile]) -> Profile:
    frame = pd.DataFrame({"x": [1.0, 2.0, None, 4.5] * 50, "word": ["a", "b", "b", None] * 50})
    return profile_of(frame)


@pytest.fixture(scope="module")
def statistics(profile: Profile) -> Any:
    return to_statistics(profile, name="All Examples")


@pytest.mark.parametrize(
    "name",
    ["stats.pb", "stats.pbtxt", "stats.textproto", "stats.tfrecord", "stats", "stats_tfrecord"],
)
def test_every_form_is_recognized_and_read(tmp_path: Path, statistics: Any, name: str) -> None:
    path = tmp_path / name
    write_message(statistics, path)
    assert is_statistics_file(path)
    assert read_statistics(path) == statistics


def test_a_comment_may_precede_a_text_proto(tmp_path: Path, statistics: Any) -> None:
    path = tmp_path / "stats.pbtxt"
    path.write_text(f"# proto-message: DatasetFeatureStatisticsList\n\n{statistics}")
    assert is_statistics_file(path)
    assert read_statistics(path) == statistics


@pytest.mark.parametrize("name", ["FeatureStats.pb", "stats_tfrecord"])
def test_the_folder_of_an_artifact_of_tfx(tmp_path: Path, statistics: Any, name: str) -> None:
    folder = tmp_path / "Split-train"
    folder.mkdir()
    write_message(statistics, folder / "stats.tfrecord")
    (folder / "stats.tfrecord").rename(folder / name)
    if name.endswith(".pb"):
        write_message(statistics, folder / name)
    assert is_statistics_file(folder)
    assert read_statistics(folder) == statistics


def test_shards_are_joined(tmp_path: Path, statistics: Any) -> None:
    dataset = statistics.datasets[0]
    for index, feature in enumerate(dataset.features):
        shard = protos().statistics.DatasetFeatureStatisticsList()
        part = shard.datasets.add(name=dataset.name, num_examples=dataset.num_examples)
        part.features.add().CopyFrom(feature)
        write_message(shard, tmp_path / f"stats-{index:05}-of-00002.tfrecord")
    pattern = str(tmp_path / "stats-*-of-*")
    assert is_statistics_file(pattern)
    assert read_statistics(pattern) == statistics


def test_a_url_is_read(statistics: Any, profile: Profile) -> None:
    with fsspec.open("memory://bucket/stats.pb", "wb") as stream:
        stream.write(statistics.SerializeToString())
    assert is_statistics_file("memory://bucket/stats.pb")
    assert read_statistics("memory://bucket/stats.pb") == statistics
    frame = pd.DataFrame({"x": [1.0, 2.0, None, 4.5] * 50, "word": ["a", "b", "b", None] * 50})
    assert compare("memory://bucket/stats.pb", frame).verdict.value == "ok"
    with pytest.raises(DataError, match=r"memory://bucket/none\.pb does not exist"):
        read_statistics("memory://bucket/none.pb")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", b"datasets,x\n1,2\n"),
        ("newline.csv", b"\na,b\n1,2\n"),
        ("newline_name.csv", b"\n\x0a\x0aa,b\n1,2\n"),
        ("examples.tfrecord", encode([EXAMPLE])),
        ("empty.tfrecord", b""),
        ("schema.pbtxt", b'feature { name: "x" type: INT }'),
        ("torn.tfrecord", encode([b"abc"])[:-2]),
    ],
)  # fmt: skip
def test_data_are_not_taken_for_statistics(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert not is_statistics_file(path)
    assert not is_statistics_file(tmp_path)
    assert not is_statistics_file(tmp_path / "missing")


def test_a_schema_is_not_taken_for_statistics(tmp_path: Path, profile: Profile) -> None:
    path = tmp_path / "schema.pb"
    write_message(to_schema(profile.edges.spec), path)
    assert len(read_schema(path).feature) == 2
    assert not is_statistics_file(path)


def damaged(statistics: Any) -> dict[str, tuple[str, bytes, str]]:
    """Name, content, and words of the sentence."""
    binary = statistics.SerializeToString()
    record = encode([binary])
    flipped = bytearray(encode([binary, binary]))
    flipped[40] ^= 0xFF
    nothing = protos().statistics.DatasetFeatureStatisticsList()
    nothing.datasets.add(name="All Examples")
    empty = protos().statistics.DatasetFeatureStatisticsList()
    empty.datasets.add(name="All Examples", num_examples=5)
    twice = protos().statistics.DatasetFeatureStatisticsList()
    twice.CopyFrom(statistics)
    twice.datasets[0].features.add().CopyFrom(twice.datasets[0].features[0])
    return {
        "cut binary": ("a.pb", binary[:-7], "neither a binary nor a text"),
        "cut record": ("a.pb", record[:-9], "cut short"),
        "flipped bit": ("a.pb", bytes(flipped), "a.pb"),
        "garbage": ("a.pb", b"\x0a\xff\xff\xff", "a.pb"),
        "cut text": ("a.pbtxt", str(statistics).encode()[:-30], "is no text"),
        "wrong field": ("a.pbtxt", b"datasets { nmae: 'x' }", "nmae"),
        "no examples": ("a.pbtxt", str(nothing).encode(), "no examples"),
        "no features": ("a.pbtxt", str(empty).encode(), "no feature that can be compared"),
        "twice": ("a.pb", twice.SerializeToString(), "'x' occurs twice"),
    }


@pytest.mark.parametrize("case", DAMAGES)
def test_what_cannot_be_used_is_one_sentence(
    tmp_path: Path, statistics: Any, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, words = damaged(statistics)[case]
    path, serving = tmp_path / name, tmp_path / "serving.csv"
    path.write_bytes(content)
    serving.write_text("x,word\n1,a\n")
    assert main(["compare", str(path), str(serving)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("trueup: ") and said.count("\n") == 1
    assert words in said and name in said


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, statistics: Any) -> None:
    folder = tmp_path / "stats.pb"
    folder.mkdir()
    with pytest.raises(Exception, match=r"stats\.pb"):
        write_message(statistics, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["stats.pb"]
