"""Blobs: whole or not there, and never outside of their root."""

from __future__ import annotations

import os
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

from trueup.errors import BadInputError, ConfigError, StoreError, UnsupportedError
from trueup.store.blobs import BlobRoot


@pytest.fixture(params=["local", "memory", "file-url"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> BlobRoot:
    if request.param == "memory":
        return BlobRoot(f"memory://{uuid.uuid4().hex}/root")
    folder = tmp_path / "blobs"
    return BlobRoot(str(folder) if request.param == "local" else f"file://{folder}")


def test_what_is_put_is_got(root: BlobRoot) -> None:
    uri = root.put_atomic("flights/v1/model.pb", b"\x00abc")
    assert uri == root.uri("flights/v1/model.pb")
    assert uri.endswith("/flights/v1/model.pb")
    assert root.get("flights/v1/model.pb") == b"\x00abc"
    root.put_atomic("flights/v1/model.pb", b"")
    assert root.get("flights/v1/model.pb") == b""


def test_list_exists_delete(root: BlobRoot) -> None:
    assert list(root.list()) == []
    assert list(root.list("none")) == []
    for name in ("b/2", "a", "b/1", "bb/1"):
        root.put_atomic(name, b"x")
    assert list(root.list()) == ["a", "b/1", "b/2", "bb/1"]
    assert list(root.list("b")) == ["b/1", "b/2"]
    assert root.exists("b/1")
    assert not root.exists("b")
    assert root.delete("b/1")
    assert not root.delete("b/1")
    assert not root.exists("b/1")
    with pytest.raises(StoreError, match="there is no blob b/1"):
        root.get("b/1")


def test_a_file_of_any_size_is_copied(root: BlobRoot, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    root.put_file("big", source)
    assert root.get("big") == source.read_bytes()
    with pytest.raises(StoreError):
        root.put_file("big2", tmp_path / "none")
    assert list(root.list()) == ["big"]


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\x00b", "a b",
     "a?b", "s3://x", "~", "*", "a\n", "x" * 300],
)  # fmt: skip
def test_names_that_lead_out_are_refused(root: BlobRoot, name: str) -> None:
    with pytest.raises(BadInputError, match="not allowed"):
        root.put_atomic(name, b"x")
    with pytest.raises(BadInputError, match="not allowed"):
        root.get(name)
    with pytest.raises(BadInputError, match="not allowed"):
        root.delete(name)


def test_a_failed_put_leaves_the_old_blob_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = BlobRoot(str(tmp_path))
    root.put_atomic("a", b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write blob a in .*: No space left"):
        root.put_atomic("a", b"new")
    monkeypatch.undo()
    assert root.get("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_unfinished_file_of_a_dead_writer_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-0123").write_bytes(b"half")
    assert list(BlobRoot(str(tmp_path)).list()) == []


def test_roots_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="no usable URL"):
        BlobRoot("nonsense://x")


@pytest.mark.skipif(find_spec("adlfs") is not None, reason="Azure's file system is installed")
def test_a_root_whose_package_is_missing_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="not installed"):
        BlobRoot("abfs://container/x")


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    root = BlobRoot("memory://key:secret@bucket/x")
    assert "secret" not in root.shown
