"""Why a task failed: a sentence for people, and whether starting it anew can help.

The exit code says the latter to the launcher: ``BAD`` ends the job, ``PORT`` asks for other ports,
``AGAIN`` for a new start from the backup.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from trueup.errors import BadInputError, ChildTaskError, TrueupError
from trueup.records.training import Shard

DONE = 0
AGAIN = 1
BAD = 2
PORT = 3

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
#: What TensorFlow says of a full disk, under several kinds of error.
_FULL_WORDS = re.compile(
    r"no space left|file too large|disk quota|errno ?[:=]? ?(28|27|122)\b", re.I
)
_PORT_WORDS = re.compile(
    r"could not start grpc server|address already in use|no address added", re.I
)
_MOST_WORDS = 300


class PortInUseError(TrueupError):
    """Another process took the port that this task was to listen on."""


def full_disk(folder: Path, doing: str) -> BadInputError:
    return BadInputError(
        f"the disk of {folder} is full, or a limit on the size of files was met, in {doing}",
        remedy="make room there, or raise the limit, and start the job again",
    )


def explain(error: BaseException, folder: Path, doing: str) -> tuple[int, str]:
    """Exit code and sentence.

    :param doing: what the task was at, as ``"building the model"``.
    """
    if isinstance(error, PortInUseError):
        return PORT, str(error)
    if isinstance(error, ChildTaskError) and error.retry:
        return AGAIN, str(error)
    if isinstance(error, TrueupError) and not _is_full(error):
        return BAD, str(error)
    if _is_full(error):
        return BAD, str(full_disk(folder, doing))
    if isinstance(error, MemoryError):
        return BAD, f"out of memory in {doing}; give the task more, or make batch_size smaller"
    if _is_tensorflow(error):
        return _explain_tensorflow(error, folder, doing)
    what = f"{type(error).__name__}: {_words(error)}"
    if isinstance(error, (ConnectionError, TimeoutError)):
        return AGAIN, f"{doing} failed with {what}"
    if isinstance(error, OSError):
        return BAD, f"{doing} failed with {what}; mend it and start the job again"
    return BAD, f"{doing} failed with {what}; the task's log has the place"


def _explain_tensorflow(error: BaseException, folder: Path, doing: str) -> tuple[int, str]:
    from tensorflow import errors

    if _PORT_WORDS.search(str(error)):
        return PORT, "its port was taken by another process"
    if isinstance(error, errors.DataLossError):
        return BAD, (
            f"{doing} failed: a shard of the training data is damaged ({_words(error)}); "
            "write the data again"
        )
    if isinstance(error, errors.ResourceExhaustedError):
        return BAD, f"out of memory in {doing}; give the task more, or make batch_size smaller"
    what = f"{type(error).__name__}: {_words(error)}"
    if isinstance(error, (errors.InvalidArgumentError, errors.NotFoundError)):
        if "grpc" in str(error).lower() or "RecvTensor" in str(error):
            return AGAIN, f"{doing} failed with {what}"
        return BAD, f"{doing} failed with {what}; the task's log has the place"
    return AGAIN, f"{doing} failed with {what}"


def _is_tensorflow(error: BaseException) -> bool:
    return any(kind.__name__ == "OpError" for kind in type(error).__mro__)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return bool(_FULL_WORDS.search(str(error)))


def _words(error: BaseException) -> str:
    """The first line that says something; TensorFlow's go on for pages."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Detected at", "File "))]
    text = re.sub(r"\s*\[\[.*", "", " ".join(kept[:3])) or type(error).__name__
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"


def check_shards(folder: Path, shards: Iterable[Shard], *, contents: bool = False) -> None:
    """Whether the files are what their lineage says.

    :param contents: read them and compare their hashes, else their sizes only.
    :raises BadInputError: names the first that is not.
    """
    for shard in shards:
        path = folder / shard.path
        try:
            size = path.stat().st_size
            digest = _sha256(path) if contents else None
        except OSError as error:
            raise BadInputError(
                f"shard {path} of the training data cannot be read: {error.strerror}",
                remedy="write the data again",
            ) from error
        if size != shard.bytes:
            raise BadInputError(
                f"shard {path} of the training data has {size} bytes and had {shard.bytes} "
                "when it was written",
                remedy="write the data again",
            )
        if digest is not None and digest != shard.sha256:
            raise BadInputError(
                f"shard {path} of the training data is damaged: its SHA-256 is not what it was",
                remedy="write the data again",
            )


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
