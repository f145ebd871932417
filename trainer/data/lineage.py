"""``data.json``: what a version was trained on, beside the files themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from trueup.errors import DataError
from trueup.frames.whole import write_whole
from trueup.records.training import Split, TrainingData

FILE_NAME = "data.json"
_BLOCK = 1 << 20


def write_lineage(data: TrainingData, folder: Path) -> None:
    """Write ``data.json``; where it is, the files that it names are whole."""
    write_whole(folder / FILE_NAME, data.model_dump_json(indent=1).encode() + b"\n")


def read_lineage(folder: Path) -> TrainingData:
    """:raises DataError: there are no (whole) training data in ``folder``."""
    path = folder / FILE_NAME
    try:
        return TrainingData.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"there are no training data in {folder}: {FILE_NAME} is not there",
            remedy="prepare them anew",
        ) from None
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path} cannot be read: {' '.join(str(error).split())[:200]}",
            remedy="prepare the training data anew",
        ) from error


def shard_paths(data: TrainingData, folder: Path, split: Split) -> tuple[Path, ...]:
    """The files of one split, in order."""
    return tuple(folder / shard.path for shard in data.splits[split].shards)


def check_shards(data: TrainingData, folder: Path, *, content: bool = True) -> None:
    """Whether all files are there, and are what was written.

    :param content: compare hashes; else sizes only.
    :raises DataError: naming the file that is not.
    """
    for split in data.splits.values():
        for shard in split.shards:
            path = folder / shard.path
            remedy = "prepare the training data anew"
            try:
                if path.stat().st_size != shard.bytes:
                    raise DataError(
                        f"{path} has {path.stat().st_size:,} bytes, and {shard.bytes:,} were "
                        "written",
                        remedy=remedy,
                    )
                if content and _sha256(path) != shard.sha256:
                    raise DataError(
                        f"{path} is not what was written: its hash differs", remedy=remedy
                    )
            except OSError as error:
                raise DataError(
                    f"{path} cannot be read: {error.strerror or error}", remedy=remedy
                ) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
