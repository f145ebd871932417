"""Statistics and schema protos in files: binary, text, or a TFRecord as TFDV writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from trueup.errors import DataError, FrameError, UnsupportedError
from trueup.frames.format import HEADER_BYTES, encode, payload_length
from trueup.frames.reader import FrameReader
from trueup.tfdv.protos import protos

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

TEXT_SUFFIXES = frozenset({".pbtxt", ".txt", ".textproto"})

#: What TFX's StatisticsGen and SchemaGen name their files inside an artifact's folder.
ARTIFACT_FILES = ("FeatureStats.pb", "stats_tfrecord", "schema.pbtxt")

#: Protobuf's own limit for one message.
MAX_PROTO_BYTES = (1 << 31) - 1

_FIELD_1_LENGTH_DELIMITED = b"\x0a"
_SNIFF_BYTES = 4096


def read_statistics(path: str | Path) -> DatasetFeatureStatisticsList:
    """The statistics in ``path``: a TFRecord (TFDV's output), a binary or a text proto.

    A folder is searched for the file that TFX's StatisticsGen writes. The shards of a TFRecord
    with several records are joined by data set, as ``tfdv.load_sharded_statistics`` does.

    Raises :class:`DataError` for a file that holds no statistics.
    """
    file = _existing(path)
    if _is_tfrecord(file):
        return _joined(file, _records(file))
    statistics = protos().statistics.DatasetFeatureStatisticsList()
    _parse(file, statistics)
    if not statistics.datasets:
        raise DataError(
            f"{file} holds no TFDV statistics",
            remedy="write it with tfdv.write_stats_text or TFX's StatisticsGen",
        )
    return statistics


def is_statistics_file(path: str | Path) -> bool:
    """Whether ``path`` holds TFDV statistics (and not, say, a TFRecord of Examples).

    Decides by content, reading one record of a TFRecord and nothing of other formats than their
    first bytes. Without tensorflow-metadata the suffix decides, so that reading says what to
    install.
    """
    try:
        file = _existing(path)
        with file.open("rb") as stream:
            head = stream.read(_SNIFF_BYTES)
    except (DataError, OSError):
        return False
    if _first_word(head) == b"datasets":
        return True
    try:
        statistics = protos().statistics.DatasetFeatureStatisticsList()
    except UnsupportedError:
        return file.suffix in (".pb", ".pbtxt")
    try:
        if _is_tfrecord(file):
            statistics.ParseFromString(next(iter(FrameReader(file)), b""))
        elif head.startswith(_FIELD_1_LENGTH_DELIMITED):
            statistics.ParseFromString(file.read_bytes())
    except (DecodeError, FrameError, OSError):
        return False
    return any(dataset.num_examples or dataset.features for dataset in statistics.datasets)


def read_schema(path: str | Path) -> Schema:
    """The schema in ``path``, a text or binary proto, or in the folder of a SchemaGen artifact."""
    file = _existing(path)
    schema = protos().schema.Schema()
    _parse(file, schema)
    if not schema.feature:
        raise DataError(f"{file} holds no schema proto with features")
    return schema


def write_message(message: Message, path: str | Path) -> None:
    """Writes ``message`` whole or not at all.

    Text for the suffixes .pbtxt, .textproto and .txt; one TFRecord for names with ``tfrecord``
    (``tfdv.load_statistics`` reads both); otherwise binary (``tfdv.load_stats_binary``).
    """
    file = Path(path)
    if file.suffix in TEXT_SUFFIXES:
        content = text_format.MessageToString(message, as_utf8=True).encode()
    elif "tfrecord" in file.name:
        content = encode([message.SerializeToString(deterministic=True)])
    else:
        content = message.SerializeToString(deterministic=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{file} cannot be written: {error.strerror}") from error


def _existing(path: str | Path) -> Path:
    file = Path(path)
    if file.is_dir():
        found = [name for name in ARTIFACT_FILES if (file / name).is_file()]
        if not found:
            raise DataError(f"folder {file} holds none of {', '.join(ARTIFACT_FILES)}")
        return file / found[0]
    if not file.is_file():
        raise DataError(f"{file} does not exist")
    return file


def _is_tfrecord(file: Path) -> bool:
    with file.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
    return len(header) == HEADER_BYTES and payload_length(header) is not None


def _records(file: Path) -> Iterable[DatasetFeatureStatisticsList]:
    for payload in FrameReader(file):
        statistics = protos().statistics.DatasetFeatureStatisticsList()
        try:
            statistics.ParseFromString(payload)
        except DecodeError as error:
            raise DataError(
                f"{file} is a TFRecord of something else than TFDV statistics"
            ) from error
        yield statistics


def _joined(
    file: Path, shards: Iterable[DatasetFeatureStatisticsList]
) -> DatasetFeatureStatisticsList:
    joined = protos().statistics.DatasetFeatureStatisticsList()
    by_name: dict[str, Any] = {}
    for shard in shards:
        for dataset in shard.datasets:
            if dataset.name not in by_name:
                by_name[dataset.name] = joined.datasets.add()
                by_name[dataset.name].CopyFrom(dataset)
            else:
                whole = by_name[dataset.name]
                whole.num_examples = max(whole.num_examples, dataset.num_examples)
                whole.weighted_num_examples = max(
                    whole.weighted_num_examples, dataset.weighted_num_examples
                )
                whole.features.extend(dataset.features)
                whole.cross_features.extend(dataset.cross_features)
    if not any(dataset.num_examples or dataset.features for dataset in joined.datasets):
        raise DataError(f"{file} is a TFRecord of something else than TFDV statistics")
    return joined


def _parse(file: Path, message: Message) -> None:
    """Fills ``message`` from a binary or text file."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    kind = type(message).__name__
    if not content.strip():
        raise DataError(f"{file} is empty")
    if len(content) > MAX_PROTO_BYTES:
        raise DataError(f"{file} is over 2 GB, which no proto can be")
    if content.startswith(_FIELD_1_LENGTH_DELIMITED):
        try:
            message.ParseFromString(content)
            return
        except DecodeError:
            message.Clear()  # a text file may begin with an empty line
    try:
        text_format.Parse(content.decode(), message)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is neither a binary nor a text {kind}") from error
    except text_format.ParseError as error:
        raise DataError(f"{file} is no text {kind}: {error}") from error


def _first_word(head: bytes) -> bytes:
    """The first word that is not in a comment line, such as ``datasets`` of ``datasets {``."""
    for line in head.splitlines():
        text = line.strip()
        if text and not text.startswith(b"#"):
            word = re.match(rb"\w+", text)
            return word[0] if word else b""
    return b""
