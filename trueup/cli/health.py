"""The checks of ``trueup doctor``. Each is a function that finds out one thing and never raises."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from trueup.errors import TrueupError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from trueup.config.settings import Settings

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)

#: TensorFlow Data Validation for Python 3.12 and newer is built against this (its wheels' tag).
TFDV_GLIBC = (2, 39)
TFDV_PYTHON = (3, 12)

_GIB = 1 << 30
FREE_WARN_BYTES = 5 * _GIB
FREE_FAIL_BYTES = _GIB // 4

#: Lease times and windows are tens of seconds and more.
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 30.0

#: flock is not reliable there, or a power loss at the other end loses what was "written".
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "gpfs", "afs", "9p"}
)

#: This software is not older than that, so neither is the present.
_EARLIEST = datetime(2025, 1, 1, tzinfo=timezone.utc)


class Check(NamedTuple):
    """One finding; ``remedy`` is empty when all is well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def examine(config: Path | None) -> list[Check]:
    """All checks, in the order in which one would mend what they find."""
    checks = [check_python(), *check_packages(), check_glibc(), check_clock()]
    settings, check = check_configuration(config)
    checks.append(check)
    if settings is not None:
        checks += [*check_store(settings), check_blob_root(settings), *check_spool(settings)]
    return checks


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Check:
    """The interpreter is one that we test on."""
    text = platform.python_version()
    if OLDEST_PYTHON <= found <= NEWEST_PYTHON:
        return Check("Python", "ok", text)
    return Check("Python", "fail", text, "use Python 3.10, 3.11, 3.12 or 3.13")


def check_packages() -> Iterator[Check]:
    """Required packages are there in supported versions; optional ones are there or not. Nothing
    is imported: TensorFlow alone would take ten seconds."""
    from packaging.requirements import Requirement

    try:
        declared = [Requirement(line) for line in requires("trueup") or []]
    except PackageNotFoundError:
        yield Check("packages", "fail", "trueup is not installed", "run: pip install trueup")
        return
    broken = []
    required = [each for each in declared if each.marker is None or each.marker.evaluate()]
    for requirement in required:
        problem = _problem_with(requirement)
        if problem:
            broken.append(Check(requirement.name, "fail", *problem))
    yield from broken or [Check("packages", "ok", f"{len(required)} required packages")]
    for extra, name in [
        ("serving", "tensorflow"),
        ("tfdv", "tensorflow-data-validation"),
        ("postgresql", "psycopg"),
    ]:
        for requirement in declared:
            marker = requirement.marker
            if requirement.name == name and marker and marker.evaluate({"extra": extra}):
                yield _optional(requirement, extra)


def _problem_with(requirement: object) -> tuple[str, str] | None:
    """(what is found, what to do) of an unmet requirement."""
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "not installed", f"run: pip install '{requirement.name}{requirement.specifier}'"
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return (
        f"{found}, supported is {requirement.specifier}",
        f"run: pip install '{requirement.name}{requirement.specifier}'",
    )


def _optional(requirement: object, extra: str) -> Check:
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    name = f"{requirement.name} (optional)"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(name, "ok", f"not installed; comes with pip install 'trueup[{extra}]'")
    problem = _problem_with(requirement)
    return Check(name, "fail", *problem) if problem else Check(name, "ok", found)


def check_glibc() -> Check:
    """TFDV's newer wheels need a recent C library."""
    kind, text = platform.libc_ver()
    if kind != "glibc":
        return Check(
            "C library", "warn", kind or "unknown", "use a Linux with glibc: TensorFlow needs it"
        )
    numbers = tuple(int(part) for part in text.split(".")[:2])
    if sys.version_info[:2] >= TFDV_PYTHON and numbers < TFDV_GLIBC and _has_tfdv():
        return Check(
            "C library",
            "fail",
            f"glibc {text}; TFDV for this Python needs {'.'.join(map(str, TFDV_GLIBC))}",
            "use Ubuntu 24.04, Debian 13 or newer, or Python 3.11",
        )
    return Check("C library", "ok", f"glibc {text}")


def _has_tfdv() -> bool:
    try:
        version("tensorflow-data-validation")
    except PackageNotFoundError:
        return False
    return True


def check_clock() -> Check:
    """The clock shows a possible time, does not run backwards, and knows time zones."""
    now = datetime.now(timezone.utc)
    text = now.strftime("%Y-%m-%d %H:%M:%S UTC")
    if now < _EARLIEST:
        return Check("clock", "fail", text, "set the clock, best by NTP")
    if not time.get_clock_info("monotonic").monotonic:
        return Check("clock", "fail", "no monotonic clock", "use a supported Linux")
    try:
        zoneinfo.ZoneInfo("America/New_York")
    except zoneinfo.ZoneInfoNotFoundError:
        return Check("clock", "fail", "no time zone data", "run: pip install tzdata")
    return Check("clock", "ok", text)


def check_configuration(config: Path | None) -> tuple[Settings | None, Check]:
    """The configuration can be read."""
    from trueup.config.load import DEFAULT_FILE, load

    try:
        settings = load(config)
    except TrueupError as error:
        return None, Check("configuration", "fail", error.message, error.remedy or "correct it")
    source = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    return settings, Check("configuration", "ok", str(source or "built-in defaults"))


def check_store(settings: Settings) -> Iterator[Check]:
    """The store answers, its schema is one that this release knows, its clock agrees."""
    from trueup.store.engine import open_engine, shown

    url = settings.store.url.get_secret_value()
    try:
        engine = open_engine(url, busy_timeout_s=min(5.0, settings.store.busy_timeout_s))
    except TrueupError as error:
        yield Check("store", "fail", error.message, error.remedy)
        return
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(str(file)).exists():
        status = _writable_later(Path(str(file)).parent)
        yield status or Check("store", "ok", f"{shown(engine)}: made when it is first needed")
        return
    try:
        yield from _check_store_inside(engine)
    except TrueupError as error:
        yield Check(
            "store",
            "fail",
            error.message,
            "start the database, or correct store.url and its rights",
        )
    finally:
        engine.dispose()


def _check_store_inside(engine: Engine) -> Iterator[Check]:
    from sqlalchemy import text

    from trueup.store.engine import reading, shown
    from trueup.store.schema import schema_state, store_id

    state = schema_state(engine)
    if not state.known:
        yield Check("store", "fail", f"schema {state.current} of a newer release", "upgrade Trueup")
        return
    if state.up_to_date:
        found = f"{shown(engine)}, schema {state.current}, id {store_id(engine)}"
        yield Check("store", "ok", found)
    else:
        found = f"{shown(engine)}, schema {state.current or 'empty'} becomes {state.head}"
        yield Check("store", "warn", found, "back it up: it is upgraded when Trueup next writes")
    if engine.dialect.name == "postgresql":
        with reading(engine) as connection:
            theirs = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        yield check_skew("store's clock", (theirs - datetime.now(timezone.utc)).total_seconds())


def check_skew(name: str, skew_s: float) -> Check:
    """Another clock agrees with ours."""
    found = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this host's"
    if abs(skew_s) < SKEW_WARN_S:
        return Check(name, "ok", found)
    status: Literal["warn", "fail"] = "warn" if abs(skew_s) < SKEW_FAIL_S else "fail"
    return Check(name, status, found, "synchronize both hosts by NTP")


def check_blob_root(settings: Settings) -> Check:
    """A blob can be written, read back and deleted."""
    from trueup.store.blobs import BlobRoot

    name = f".doctor-{os.getpid()}"
    try:
        root = BlobRoot(settings.blob_root)
        folder = Path(settings.blob_root)
        if root.is_local and not folder.exists():
            return _writable_later(folder, "blob root") or Check(
                "blob root", "ok", f"{folder}: made when it is first needed"
            )
        root.put_atomic(name, b"trueup")
        same = root.get(name) == b"trueup"
        root.delete(name)
    except TrueupError as error:
        return Check("blob root", "fail", error.message, error.remedy or "correct blob_root")
    if not same:
        return Check("blob root", "fail", f"{root.shown} gives back other bytes", "check the disk")
    return Check("blob root", "ok", root.shown)


def check_spool(settings: Settings) -> Iterator[Check]:
    """The spool can be written and locked, is on a local disk, and has room."""
    from trueup.frames.reader import FrameReader
    from trueup.frames.writer import FrameWriter

    folder = _nearest(settings.spool_dir)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as probe:
            path = Path(probe) / "probe"
            with FrameWriter(path, sync=True) as writer:
                writer.append([b"trueup"])
            whole = list(FrameReader(path)) == [b"trueup"]
    except (OSError, TrueupError) as error:
        yield Check(
            "spool",
            "fail",
            f"{folder} cannot be written: {error}",
            "correct spool_dir or its rights",
        )
        return
    kind = file_system_of(folder)
    if not whole:
        yield Check("spool", "fail", f"{folder} gives back other bytes", "check the disk")
    elif kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        remedy = "set spool_dir to a folder on a local disk"
        yield Check("spool", "fail", f"{folder} is on {kind}, not a local disk", remedy)
    elif kind in ("tmpfs", "ramfs"):
        remedy = "set spool_dir to a folder on a disk"
        yield Check("spool", "warn", f"{folder} is on {kind}: lost when the host stops", remedy)
    else:
        yield Check("spool", "ok", f"{settings.spool_dir} ({kind})")
    yield check_free_space(folder)


def check_free_space(folder: Path) -> Check:
    """There is room for what servers capture until it is compacted."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    found = f"{free / _GIB:.1f} GiB free in {folder}"
    if free >= FREE_WARN_BYTES:
        return Check("disk", "ok", found)
    level: Literal["warn", "fail"] = "warn" if free >= FREE_FAIL_BYTES else "fail"
    return Check("disk", level, found, "free some space, or move spool_dir")


def file_system_of(folder: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds ``folder``, such as ``"ext4"``.

    :param mounts: in the form of ``/proc/self/mountinfo`` (proc(5)), which is read when absent.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "unknown"
    found, depth = "unknown", -1
    real = folder.resolve()
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].replace("\\040", " "))
        # A later mount on the same point hides the earlier one, hence >=.
        if real.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = right.split(" ")[0], len(point.parts)
    return found


def _nearest(folder: Path) -> Path:
    """``folder``, or the innermost of its parents that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _writable_later(folder: Path, name: str = "store") -> Check | None:
    """A failure when a folder that is not there yet cannot be made."""
    near = _nearest(folder)
    if near.is_dir() and os.access(near, os.W_OK | os.X_OK):
        return None
    found = f"{folder} cannot be made: {near} cannot be written"
    return Check(name, "fail", found, "correct the configuration or the folder's rights")
