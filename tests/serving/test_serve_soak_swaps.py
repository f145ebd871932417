"""Fifty version swaps under load, with versions in between that must not go live."""

from __future__ import annotations

import re
import shutil
import struct
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.serving.conftest import Server, Site, until
from tests.serving.soak_clients import Load, assert_captured_once, compact_all, resident
from trueup.store.engine import open_engine, writing
from trueup.store.promotion import promote
from trueup.store.registry import Author

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SWAPS = 50
GROWTH = 1.1
WARMUP_RECORDS = Path("assets.extra", "tf_serving_warmup_requests")


def record_for_no_signature() -> bytes:
    """A frame with a PredictionLog whose request names a signature that the model does not have."""
    from trueup.frames.format import encode

    def field(number: int, payload: bytes) -> bytes:
        return struct.pack("BB", number << 3 | 2, len(payload)) + payload

    model_spec = field(3, b"no_such_signature")
    return encode([field(6, field(1, field(1, model_spec)))])


class Promotions:
    """``trueup promote`` without a process of its own for each."""

    def __init__(self, site: Site) -> None:
        self._engine = open_engine(f"sqlite:///{site.folder}/.trueup/store.db")
        self._count = 0

    def to(self, version: int) -> None:
        self._count += 1
        author = Author("soak", f"swap {self._count}", datetime.now(timezone.utc))
        with writing(self._engine) as connection:
            assert promote(connection, "m", version, author) is not None


def answers(server: Server, version: int) -> None:
    """Wait until that version does."""
    until(f"version {version}", lambda: server.version() == version)


def refusal(server: Server, version: int) -> str:
    """What the status reply says of a version that is not served, as soon as it does."""

    def said() -> str:
        states = server.get("/v1/models/m").json()["model_version_status"]
        found = [state["status"] for state in states if state["version"] == str(version)]
        return str(found[0]["error_message"]) if found else ""

    return str(until("the refusal", said))


def damage(site: Site, version: int) -> None:
    blobs = site.folder / ".trueup" / "blobs" / "models" / "m" / str(version)
    path = next(blobs.rglob("saved_model.pb"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_fifty_swaps_under_load(site: Site, tmp_path: Path) -> None:
    site.configure('[serving]\npoll_interval = "0.1s"\n')
    site.add(1)
    cold = tmp_path / "fails_to_warm"
    shutil.copytree(site.models / "2", cold)
    (cold / WARMUP_RECORDS).parent.mkdir(exist_ok=True)
    (cold / WARMUP_RECORDS).write_bytes(record_for_no_signature())
    for saved in (site.models / "2", site.models / "3", cold):
        site.trueup("import", "m", "--saved-model", str(saved), "--no-promote")
    damage(site, 3)
    server = site.serve_ready()
    (worker,) = server.workers()
    promotions = Promotions(site)
    load = Load(server, clients=2)
    fifth = 0
    for swap in range(1, SWAPS + 1):
        version = 1 + swap % 2
        promotions.to(version)
        answers(server, version)
        if swap == 5:
            fifth = resident(worker)
        if swap in (20, 30):
            bad, word = (3, "saved_model.pb") if swap == 20 else (4, "no_such_signature")
            promotions.to(bad)
            sentence = refusal(server, bad)
            assert word in sentence
            assert f"version {bad} is refused, and what is live stays" in sentence
            load.more(50)
            assert server.version() == version
    until("the last one's end", lambda: server.log.read_text().count("is unloaded") >= SWAPS)
    last = resident(worker)
    load.stop()

    assert load.failures == []
    assert load.statuses.keys() == {200}
    assert last <= GROWTH * fifth, f"{fifth >> 20} MiB after the fifth, {last >> 20} after the last"
    assert server.workers() == [worker]
    assert server.stop() == 0
    said = [line for line in server.log.read_text().splitlines() if "is refused" in line]
    assert len(said) == 2
    assert re.search(r"version 3 .*saved_model\.pb", said[0])
    assert re.search(r"version 4 .*no_such_signature", said[1])
    compact_all(site)
    assert_captured_once(site, load.names(200))
