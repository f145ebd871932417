"""Statistics and schema protos in files: binary, text, or a TFRecord as TFDV writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from trueup.datasets.sources import is_url
from trueup.errors import DataError, FrameError, UnsupportedError
from trueup.frames.format import HEADER_BYTES, encode, payload_length
from trueup.frames.reader import FrameReader
from trueup.frames.walk import TailKind
from trueup.frames.whole import write_whole
from trueup.tfdv.places import local, local_files
from trueup.tfdv.protos import protos

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

TEXT_SUFFIXES = frozenset({".pbtxt", ".txt", ".textproto"})

#: Names of which a URL is taken to be statistics, without reading it.
STATISTICS_SUFFIXES = (".pb", ".pbtxt")

#: Protobuf's own limit for one message.
MAX_PROTO_BYTES = (1 << 31) - 1

_FIELD_1_LENGTH_DELIMITED = b"\x0a"
_SNIFF_BYTES = 4096

_TAGS_OF_A_DATASET = b"\x0a\x10\x1a\x21\x2a"
"""First bytes of the fields of DatasetFeatureStatistics (statistics.proto): name, num_examples,
features, weighted_num_examples, cross_features."""


def read_statistics(path: str | Path) -> DatasetFeatureStatisticsList:
    """The statistics in ``path``: a TFRecord (TFDV's output), a binary or a text proto.

    A folder is searched for the file that TFX's StatisticsGen writes. The shards of a pattern and
    the records of a TFRecord are joined by data set, as ``tfdv.load_sharded_statistics`` does.

    Raises :class:`DataError` for a file that holds no statistics.
    """
    with local_files(path) as files:
        if len(files) > 1 or _is_tfrecord(files[0]):
            return _joined(path, (part for file in files for part in _parts(file)))
        return next(_parts(files[0]))


def is_statistics_file(path: str | Path) -> bool:
    """Whether ``path`` holds TFDV statistics (and not, say, a TFRecord of Examples).

    Decides by content, reading one record of a TFRecord and nothing of other formats than their
    first bytes. Without tensorflow-metadata the suffix decides, so that reading says what to
    install; so it does for a URL.
    """
    if is_url(str(path)):
        return str(path).endswith(STATISTICS_SUFFIXES)
    try:
        file = local(path)[0]
        if not file.is_file():  # opening a pipe would wait for its writer
            return False
        with file.open("rb") as stream:
            head = stream.read(_SNIFF_BYTES)
    except (DataError, OSError, ValueError):  # ValueError: a null character in the path
        return False
    if _is_text(head):
        return True
    try:
        statistics = protos().statistics.DatasetFeatureStatisticsList()
    except UnsupportedError:
        return file.suffix in STATISTICS_SUFFIXES
    try:
        if _is_tfrecord(file):
            statistics.ParseFromString(next(iter(FrameReader(file)), b""))
        elif _may_be_binary(head):
            statistics.ParseFromString(file.read_bytes())
    except (DecodeError, FrameError, OSError):
        return file.suffix == ".pb"  # a damaged one: reading says so
    return any(dataset.num_examples or dataset.features for dataset in statistics.datasets)


def read_schema(path: str | Path) -> Schema:
    """The schema in ``path``, a text or binary proto, or in the folder of a SchemaGen artifact."""
    schema = protos().schema.Schema()
    with local_files(path) as files:
        if is_statistics_file(files[0]):  # as bytes, one could pass for the other
            raise DataError(f"{path} holds statistics, no schema")
        _parse(files[0], schema)
    if not schema.feature:
        raise DataError(f"{path} holds no schema proto with features")
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
    write_whole(file, content)


def _is_tfrecord(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    return len(header) == HEADER_BYTES and payload_length(header) is not None


def _may_be_binary(head: bytes) -> bool:
    """Whether these first bytes are those of a list with a data set in it. A text that begins with
    an empty line has the same first byte."""
    if not head.startswith(_FIELD_1_LENGTH_DELIMITED):
        return False
    length_ends = next((i for i in range(1, min(len(head), 11)) if head[i] < 0x80), None)
    if length_ends is None or length_ends + 1 >= len(head):
        return False
    return head[length_ends + 1] in _TAGS_OF_A_DATASET


def _parts(file: Path) -> Iterator[DatasetFeatureStatisticsList]:
    """The messages in one file."""
    if _is_tfrecord(file):
        yield from _records(file)
        return
    statistics = protos().statistics.DatasetFeatureStatisticsList()
    _parse(file, statistics)
    if not statistics.datasets:
        raise DataError(
            f"{file} holds no TFDV statistics",
            remedy="write it with tfdv.write_stats_text or TFX's StatisticsGen",
        )
    yield statistics


def _records(file: Path) -> Iterator[DatasetFeatureStatisticsList]:
    reader = FrameReader(file)
    try:
        for payload in reader:
            statistics = protos().statistics.DatasetFeatureStatisticsList()
            statistics.ParseFromString(payload)
            yield statistics
    except DecodeError as error:
        raise DataError(f"{file} is a TFRecord of something else than TFDV statistics") from error
    except FrameError as error:
        raise DataError(error.message, remedy=error.remedy) from error
    if reader.tail is not TailKind.CLEAN:
        raise DataError(f"{file} is cut short within a record", remedy="write it again")


def _joined(
    place: str | Path, shards: Iterable[DatasetFeatureStatisticsList]
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
        raise DataError(f"{place} is a TFRecord of something else than TFDV statistics")
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


def _is_text(head: bytes) -> bool:
    """Whether the first thing that is not a comment is ``datasets {`` (a CSV file may have a
    column of that name)."""
    lines = (line for line in head.splitlines() if not line.lstrip().startswith(b"#"))
    return re.match(rb"\s*datasets\s*:?\s*[{<]", b"\n".join(lines)) is not None
