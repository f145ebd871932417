"""Clients learn why they get no answer, and not where the server keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.in_process import Columns, serving
from trueup.config.serving import CaptureSettings
from trueup.errors import CaptureFullError, StoreError
from trueup.serving import client_words
from trueup.serving.client_words import A_PATH, CAPTURE_FULL, Said, for_clients, without_paths
from trueup.serving.fleet import FleetView, Lifecycle, VersionStatus
from trueup.serving.saved_model import ModelRunError

FULL = CaptureSettings(when_full="reject", max_spool=1, min_free=0)
ROW = b'{"instances": [{"x": 1}]}'


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has had logged is logged again."""
    monkeypatch.setattr(client_words, "_said", Said())


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/models/m:predict", ROW),
    ("/v1/models/m:predict", b'{"instances": [{"x": "no number"}]}'),
    ("/v1/models/m:predict", b"no json"),
    ("/trueup/v1/capture", b'{"model": "m", "rows": [{"instance": {"x": 1}}]}'),
    ("/trueup/v1/labels", b'{"model": "m", "labels": [{"id": "a/0", "label": 1}]}'),
])  # fmt: skip
def test_a_full_capture_is_told_without_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, body: bytes
) -> None:
    with serving(tmp_path, capture=FULL) as server:
        for _ in range(3):
            answer = server.post(body, path=path)
            assert (answer.status_code, answer.json()) == (503, {"error": CAPTURE_FULL})
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("error", [
    RuntimeError("cannot open /srv/models/m/1/vocabulary.txt"),
    ModelRunError("cannot open /srv/models/m/1/vocabulary.txt", code="NOT_FOUND"),
    ModelRunError("cannot open /srv/models/m/1/vocabulary.txt", code="INTERNAL"),
])  # fmt: skip
def test_a_model_that_fails_does_not_tell_its_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def model(columns: Columns) -> dict[str, Any]:
        raise error

    with serving(tmp_path, model=model) as server:
        answer = server.post(ROW)
    assert answer.status_code in (404, 500)
    assert f"cannot open {A_PATH}" in answer.json()["error"]
    assert "/srv" not in answer.text
    assert "/srv/models/m/1/vocabulary.txt" in caplog.text


def test_a_refused_version_is_told_without_its_folder(tmp_path: Path) -> None:
    status = VersionStatus(2, Lifecycle.END, "DATA_LOSS", "blob /srv/blobs/m is corrupt")
    with serving(tmp_path) as server:
        server.on_loop(lambda: server.fleet.show(FleetView({}, {"m": (status,)})))
        answer = server.get("/v1/models/m")
    assert answer.json()["model_version_status"][0]["status"] == {
        "error_code": "DATA_LOSS", "error_message": f"blob {A_PATH} is corrupt",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "told"), [
    ("no file /srv/a-b/m.1: gone", f"no file {A_PATH}: gone"),
    ("spool '/srv/my spool/x' is full", f"spool '{A_PATH}' is full"),
    ("at s3://bucket/a/b and file:///tmp/x.", f"at {A_PATH} and {A_PATH}"),
    ("~/models/m is absent (/tmp)", f"{A_PATH} is absent ({A_PATH})"),
    *[(same, same) for same in (
        "node model/dense/MatMul of and/or 1/2: I/O error", "{{node serving_default/x}} is 3 / 4",
    )],
])  # fmt: skip
def test_paths_are_told_from_names(text: str, told: str) -> None:
    assert without_paths(text) == told


def test_what_has_no_path_stays_as_it_is() -> None:
    assert for_clients(StoreError("the store is away")) == "the store is away"
    assert for_clients(CaptureFullError("spool x is full")) == CAPTURE_FULL


def test_a_sentence_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    said = Said(lambda: now[0])
    for _ in range(3):
        said("5 bytes are free")
        said("6 bytes are free")
    said("no room")
    now[0] = 61.0
    said("no room")
    assert [record.message for record in caplog.records] == [
        "5 bytes are free",
        "no room",
        "no room",
    ]
