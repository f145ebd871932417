"""Where protos lie: a file, the folder of a TFX artifact, shards, or a URL."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trueup.datasets.sources import is_url, unreadable
from trueup.errors import DataError, UnsupportedError

#: What TFX's StatisticsGen and SchemaGen name their files inside an artifact's folder.
ARTIFACT_FILES = ("FeatureStats.pb", "stats_tfrecord", "schema.pbtxt")


@contextmanager
def local_files(place: str | Path) -> Iterator[list[Path]]:
    """The files at ``place``, one but for shards; those behind a URL are copied for as long.

    :raises DataError: when nothing is there.
    """
    if not is_url(str(place)):
        yield local(place)
        return
    with TemporaryDirectory(prefix="trueup-") as folder:
        copy = Path(folder, str(place).rstrip("/").rpartition("/")[2] or "file")
        _fetch(str(place), copy)
        yield [copy]


def local(place: str | Path) -> list[Path]:
    """As :func:`local_files`, for places on this machine."""
    file = Path(place)
    if file.is_dir():
        found = [name for name in ARTIFACT_FILES if (file / name).is_file()]
        if not found:
            raise DataError(f"folder {file} holds none of {', '.join(ARTIFACT_FILES)}")
        return [file / found[0]]
    if file.is_file():
        return [file]
    shards = sorted(Path(path) for path in glob.glob(str(place)))  # noqa: PTH207  it may be absolute
    if not shards:
        raise DataError(f"{place} does not exist", remedy="check the path")
    return shards


def _fetch(url: str, copy: Path) -> None:
    import fsspec

    try:
        with fsspec.open(url, "rb") as source:
            copy.write_bytes(source.read())
    except (ImportError, ValueError) as error:
        raise UnsupportedError(f"{url} cannot be opened: {error}") from error
    except OSError as error:
        raise unreadable(url, error) from error
