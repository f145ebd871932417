"""Artifacts: published once, checked before every load, whatever happens to files meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trueup.errors import BadInputError, StoreError
from trueup.records.registry import VersionRecord
from trueup.store.artifact_cache import fetch_verified, prune
from trueup.store.artifacts import CorruptArtifactError, blob_name, publish, remove
from trueup.store.blobs import BlobRoot

CHILD = Path(__file__).parent / "copying_child.py"
CONTENT = {
    "saved_model.pb": b"graph" * 1000,
    "variables/variables.index": b"\x00\x01",
    "variables/variables.data-00000-of-00001": os.urandom(3 << 20),
    "assets/Städte (1) = 100 %.txt": "Köln\n".encode(),
    "assets.extra/tf_serving_warmup_requests": b"",
    "assets/" + "ä" * 120: b"long name",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, data in CONTENT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobRoot]:
    """A local blob root, and one that is none."""
    if request.param == "folder":
        yield BlobRoot(str(tmp_path / "blobs"))
        return
    found = BlobRoot(f"memory://{tmp_path.name}")
    yield found
    for name in list(found.list()):
        found.delete(name)


def publish_as(root: BlobRoot, folder: Path, version: int = 1) -> VersionRecord:
    found = publish(root, folder, "flights", version)
    return VersionRecord(
        model="flights", version=version,
        artifact_uri=found.artifact_uri, manifest_sha256=found.manifest_sha256,
    )  # fmt: skip


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def blob(root: BlobRoot, version: VersionRecord, name: str) -> str:
    prefix = version.artifact_uri[version.artifact_uri.index("models/") :]
    return f"{prefix}/files/{blob_name(name)}"


def test_what_is_published_comes_back(root: BlobRoot, model: Path, cache: Path) -> None:
    version = publish_as(root, model)
    assert "/models/flights/1/" in version.artifact_uri
    for _ in range(2):  # copied, then from the cache
        with fetch_verified(root, version, cache) as folder:
            assert read(folder) == CONTENT


def test_what_is_cached_needs_no_blob_root(root: BlobRoot, model: Path, cache: Path) -> None:
    version = publish_as(root, model)
    with fetch_verified(root, version, cache):
        pass
    remove(root, version.artifact_uri)
    assert list(root.list()) == []
    with fetch_verified(root, version, cache) as folder:
        assert read(folder) == CONTENT
    prune(cache, set())
    with (
        pytest.raises(CorruptArtifactError, match=r"manifest\.json is gone"),
        fetch_verified(root, version, cache),
    ):
        pass


def test_nothing_is_overwritten(root: BlobRoot, model: Path, cache: Path) -> None:
    """The same number again, as after a restored backup of the store."""
    first = publish_as(root, model)
    (model / "saved_model.pb").write_bytes(b"other")
    second = publish_as(root, model)
    with fetch_verified(root, first, cache) as folder:
        assert read(folder) == CONTENT
    with fetch_verified(root, second, cache) as folder:
        assert read(folder)["saved_model.pb"] == b"other"


@pytest.mark.parametrize(
    ("name", "data", "how"),
    [
        ("saved_model.pb", b"graph" * 999 + b"Graph", "saved_model.pb was changed"),
        ("saved_model.pb", b"graph" * 999, "saved_model.pb has 4995 bytes instead of 5000"),
        ("variables/variables.index", None, "variables.index is gone"),
    ],
)
def test_a_corrupt_artifact_is_named_in_one_sentence(
    root: BlobRoot, model: Path, cache: Path, name: str, data: bytes | None, how: str
) -> None:
    version = publish_as(root, model)
    damaged = blob(root, version, name)
    if data is None:
        root.delete(damaged)
    else:
        root.put_atomic(damaged, data)
    with pytest.raises(CorruptArtifactError) as raised, fetch_verified(root, version, cache):
        pass
    sentence = str(raised.value)
    assert sentence.startswith("the artifact of flights version 1 is corrupt: ")
    assert how in sentence and "import the model again" in sentence
    assert "\n" not in sentence
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_another_manifest_is_refused(root: BlobRoot, model: Path, cache: Path) -> None:
    """Files and manifest changed together agree with each other, but not with the registry."""
    version = publish_as(root, model)
    (model / "saved_model.pb").write_bytes(b"evil")
    other = publish_as(root, model)
    evil = version.model_copy(update={"artifact_uri": other.artifact_uri})
    with (
        pytest.raises(CorruptArtifactError, match="manifest is not the one that was registered"),
        fetch_verified(root, evil, cache),
    ):
        pass


def test_changes_after_the_check_reach_nobody(tmp_path: Path, model: Path, cache: Path) -> None:
    root = BlobRoot(str(tmp_path / "blobs"))
    version = publish_as(root, model)
    with fetch_verified(root, version, cache) as folder:
        path = tmp_path / "blobs" / blob(root, version, "saved_model.pb")
        with path.open("r+b") as stream:  # in place: a link would show it
            stream.write(b"EVIL!")
        assert read(folder) == CONTENT
        modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o400}
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["changed", "removed", "added"])
def test_a_copy_that_was_touched_is_made_anew(
    root: BlobRoot, model: Path, cache: Path, damage: str
) -> None:
    version = publish_as(root, model)
    with fetch_verified(root, version, cache) as folder:
        path = folder / "saved_model.pb"
    path.chmod(0o600)
    if damage == "changed":
        path.write_bytes(b"grapH" * 1000)
    elif damage == "removed":
        path.unlink()
    else:
        (folder / "variables" / "more").write_bytes(b"")
    with fetch_verified(root, version, cache) as folder:
        assert read(folder) == CONTENT


def test_processes_at_once_share_one_copy(tmp_path: Path, model: Path, cache: Path) -> None:
    root = BlobRoot(str(tmp_path / "blobs"))
    version = publish_as(root, model)
    children = [start(root, version, cache) for _ in range(4)]
    folders = {heard(child, "held") for child in children}
    assert len(folders) == 1
    assert read(Path(folders.pop())) == CONTENT
    # While somebody loads from it, nobody removes it.
    assert prune(cache, set()) == []
    for child in children:
        child.communicate("\n", timeout=60)
        assert child.returncode == 0
    assert prune(cache, set()) == [version.manifest_sha256]
    assert list(cache.iterdir()) == []


def test_threads_and_a_pruner_at_once(tmp_path: Path, model: Path, cache: Path) -> None:
    root = BlobRoot(str(tmp_path / "blobs"))
    versions = [publish_as(root, model, number) for number in (1, 2)]

    def use(place: int) -> bool:
        with fetch_verified(root, versions[place % 2], cache) as folder:
            return read(folder) == CONTENT

    def tidy(_: int) -> bool:
        prune(cache, {versions[0].manifest_sha256})
        return True

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(tidy if place % 5 == 4 else use, place) for place in range(60)]
        assert all(job.result(120) for job in jobs)


def test_a_killed_copy_is_no_copy_and_is_removed(tmp_path: Path, model: Path, cache: Path) -> None:
    root = BlobRoot(str(tmp_path / "blobs"))
    version = publish_as(root, model)
    child = start(root, version, cache, "stop")
    heard(child, "copying")
    child.kill()
    child.communicate(timeout=60)
    assert next(path.name for path in cache.iterdir() if path.is_dir()).startswith(".unfinished-")
    with fetch_verified(root, version, cache) as folder:
        assert read(folder) == CONTENT
    prune(cache, {version.manifest_sha256})
    left = {path.name for path in cache.iterdir()}
    assert left == {version.manifest_sha256, f"{version.manifest_sha256}.lock"}


def test_old_versions_leave_the_cache(root: BlobRoot, model: Path, cache: Path) -> None:
    versions = []
    for number in range(1, 6):
        (model / "saved_model.pb").write_bytes(b"%d" % number)
        versions.append(publish_as(root, model, number))
        with fetch_verified(root, versions[-1], cache):
            prune(cache, {versions[-1].manifest_sha256})
    whole = [path.name for path in cache.iterdir() if path.is_dir()]
    assert whole == [versions[-1].manifest_sha256]


def test_a_disk_without_room_is_said(root: BlobRoot, model: Path, cache: Path) -> None:
    version = publish_as(root, model)
    cache.mkdir()
    most = shutil.disk_usage(cache).total
    with (
        pytest.raises(StoreError, match=r"has 3 MiB, and the disk of .* make room") as raised,
        fetch_verified(root, version, cache, min_free=most),
    ):
        pass
    assert raised.value.retry
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_cache_that_is_no_folder_is_said(root: BlobRoot, model: Path, cache: Path) -> None:
    version = publish_as(root, model)
    cache.write_bytes(b"")
    with pytest.raises(StoreError, match=str(cache)), fetch_verified(root, version, cache):
        pass


def test_only_files_are_published(tmp_path: Path, root: BlobRoot, model: Path) -> None:
    (model / "link").symlink_to(tmp_path)
    with pytest.raises(BadInputError, match=r"link is a link to a folder"):
        publish(root, model, "flights", 1)
    (model / "link").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(BadInputError, match="pipe is neither a file nor a folder"):
        publish(root, model, "flights", 1)
    (model / "pipe").unlink()
    (model / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="cannot read"):
        publish(root, model, "flights", 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInputError, match="holds no files"):
        publish(root, empty, "flights", 1)
    assert list(root.list()) == []


def test_a_linked_file_is_published_as_what_it_is(
    tmp_path: Path, root: BlobRoot, model: Path, cache: Path
) -> None:
    real = tmp_path / "real"
    (model / "saved_model.pb").rename(real)
    (model / "saved_model.pb").symlink_to(real)
    with fetch_verified(root, publish_as(root, model), cache) as folder:
        assert read(folder) == CONTENT


def test_a_file_that_changes_under_its_publication_is_refused(tmp_path: Path, model: Path) -> None:
    class Busy(BlobRoot):
        """Somebody trains into the folder meanwhile."""

        def put_file(self, name: str, source: Path) -> str:
            found = super().put_file(name, source)
            if source.name == "saved_model.pb":
                with source.open("ab") as stream:
                    stream.write(b"more")
            return found

    root = Busy(str(tmp_path / "blobs"))
    with pytest.raises(BadInputError, match=r"saved_model\.pb was changed while it was copied"):
        publish(root, model, "flights", 1)
    assert list(root.list()) == []


def start(root: BlobRoot, version: VersionRecord, cache: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), root.url, version.model_dump_json(), str(cache), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def heard(child: subprocess.Popen[str], word: str) -> str:
    """What a child says after ``word``."""
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    assert said.startswith(word), said
    return said.removeprefix(word).strip()
