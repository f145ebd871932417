"""``trueup serve`` as clients and operators meet it: real processes, real models, real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import LONG_S, Server, Site, until

pytestmark = pytest.mark.heavy

ROW = {"x": 1.5, "name": "a"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, saved_models: Path):
    """One server for tests that change nothing."""
    site = Site(tmp_path_factory.mktemp("shared"), saved_models)
    site.configure(
        '[models.m.variables.x]\noptional = true\n[serving]\nmax_body = "64KiB"\n'
        "max_json_depth = 20\n"
    )
    site.add(1)
    server = site.serve_ready()
    yield server
    assert server.stop() == 0
    assert not list(site.spool.glob("*.open"))


def test_rows_and_columns(shared: Server) -> None:
    rows = shared.predict(ROW, {"x": -2.0, "name": "ü"})
    assert rows.status_code == 200
    assert rows.headers["content-type"] == "application/json"
    assert rows.json() == {
        "predictions": [{"name": "a", "score": 1001.5}, {"name": "ü", "score": 998.0}]
    }
    columns = httpx.post(
        shared.url + "/v1/models/m:predict",
        json={"signature_name": "serving_default", "inputs": {"x": [0, 1], "name": ["a", "b"]}},
    )
    assert columns.json() == {"outputs": {"name": ["a", "b"], "score": [1000.0, 1001.0]}}


def test_versions_and_aliases_have_their_paths(shared: Server) -> None:
    for path in ("/v1/models/m/versions/1:predict", "/v1/models/m/labels/stable:predict"):
        assert shared.predict(ROW, path=path).status_code == 200
    missing = shared.predict(ROW, path="/v1/models/m/versions/7:predict")
    assert (missing.status_code, missing.json()) == (
        404,
        {"error": "Servable not found for request: Specific(m, 7)"},
    )
    unknown = shared.predict(ROW, path="/v1/models/m/labels/x:predict")
    assert (unknown.status_code, unknown.json()) == (
        400,
        {"error": "Unrecognized servable version label: x"},
    )
    assert shared.predict(ROW, path="/v1/models/other:predict").status_code == 404


def test_status_and_metadata(shared: Server) -> None:
    status = shared.get("/v1/models/m").json()
    assert status["model_version_status"] == [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    metadata = shared.get("/v1/models/m/metadata").json()
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert set(signature["inputs"]) == {"x", "name"}
    assert metadata["model_spec"]["version"] == "1"
    assert shared.get("/v1/models/other/metadata").status_code == 404


def test_what_is_wrong_is_named(shared: Server) -> None:
    wrong = shared.predict({"x": "high", "name": "a"})
    assert wrong.status_code == 400
    assert "x" in wrong.json()["error"] and "float" in wrong.json()["error"]
    assert shared.predict({"y": 1.0, "name": "a"}).status_code == 400
    assert httpx.post(shared.url + "/v1/models/m:predict", content=b"{").status_code == 400
    assert shared.get("/v1/models").json() == {"error": "Missing model name in request."}
    assert shared.get("/v1/nothing").status_code == 400
    large = httpx.post(shared.url + "/v1/models/m:predict", content=b" " * (65 << 10))
    assert large.status_code == 413
    deep = httpx.post(shared.url + "/v1/models/m:predict", content=b"[" * 5000)
    assert deep.status_code == 400


def test_an_optional_variable_may_be_absent_or_null(shared: Server) -> None:
    for row in ({"name": "a"}, {"x": None, "name": "a"}):
        answer = shared.predict(row)
        assert answer.status_code == 200, answer.text
        assert b"NaN" in answer.content
    assert shared.predict({"x": 1.0, "name": None}).status_code == 400


def test_a_poisoned_request_fails_alone(shared: Server) -> None:
    """Many at once, so that they share batches; the model itself refuses some of them."""
    answers: dict[int, int] = {}

    def ask(number: int) -> None:
        x = -1e7 if number % 7 == 0 else float(number)
        answers[number] = shared.predict({"x": x, "name": str(number)}).status_code

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(42)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert answers == {number: 400 if number % 7 == 0 else 200 for number in range(42)}


def test_ids_come_back(shared: Server) -> None:
    given = shared.predict(ROW, **{"X-Request-Id": "order-1"})
    assert given.headers["x-request-id"] == "order-1"
    ours = shared.predict(ROW).headers["x-request-id"]
    segment, frame = ours.rsplit("-", 1)
    assert len(segment) == 26 and frame.isdigit()


def test_health_and_numbers(shared: Server) -> None:
    assert shared.get("/livez").status_code == 200
    shared.predict(ROW)
    text = shared.get("/metrics").text
    assert 'trueup_predict_requests_total{model="m",version="1",worker="0"}' in text


def test_other_hosts_are_refused(shared: Server) -> None:
    answer = httpx.get(shared.url + "/v1/models/m", headers={"Host": "evil.example"})
    assert answer.status_code == 403


def test_rows_and_labels_may_be_sent(shared: Server) -> None:
    rows = httpx.post(
        shared.url + "/trueup/v1/capture",
        json={"model": "m", "rows": [{"instance": ROW, "request_id": "elsewhere-1"}, {"no": 1}]},
    )
    assert rows.status_code == 200, rows.text
    assert (rows.json()["accepted"], rows.json()["refused"]) == (1, 1)
    labels = httpx.post(
        shared.url + "/trueup/v1/labels",
        json={"model": "m", "labels": [{"id": "elsewhere-1/0", "label": 1}]},
    )
    assert labels.json()["accepted"] == 1
    unknown = httpx.post(
        shared.url + "/trueup/v1/labels",
        json={"model": "no", "labels": [{"id": "a/0", "label": 1}]},
    )
    assert unknown.status_code == 404


def test_a_promotion_switches_without_a_failure(site: Site) -> None:
    site.add(1)
    server = site.serve_ready()
    assert server.version() == 1
    stop, statuses = threading.Event(), []

    def ask() -> None:
        with httpx.Client(timeout=LONG_S) as client:
            while not stop.is_set():
                answer = client.post(server.url + "/v1/models/m:predict", json={"instances": [ROW]})
                statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    site.add(2)
    until("version 2", lambda: server.version() == 2)
    site.trueup("rollback", "m", "--reason", "test")
    until("version 1 again", lambda: server.version() == 1)
    stop.set()
    for thread in threads:
        thread.join(LONG_S)
    assert set(statuses) == {200}
    assert server.stop() == 0


def test_a_corrupt_artifact_is_refused_and_the_old_version_stays(site: Site) -> None:
    site.add(1)
    server = site.serve_ready()
    site.trueup("import", "m", "--saved-model", str(site.models / "2"), "--no-promote")
    blobs = site.folder / ".trueup" / "blobs" / "models" / "m" / "2"
    damaged = next(blobs.rglob("saved_model.pb"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.chmod(0o644)
    damaged.write_bytes(data)
    site.trueup("promote", "m", "2", "--reason", "test")

    def refused() -> str:
        states = server.get("/v1/models/m").json()["model_version_status"]
        return next((s["status"]["error_message"] for s in states if s["version"] == "2"), "")

    sentence = until("a sentence", refused)
    assert "saved_model.pb" in sentence
    assert server.version() == 1
    assert server.stop() == 0
    assert server.log.read_text().count("is refused") == 1


def test_a_killed_worker_is_started_again(site: Site) -> None:
    site.add(1)
    server = site.serve_ready()
    first = server.workers()[0]
    os.kill(first, signal.SIGKILL)
    until("another worker", lambda: server.workers() not in ([], [first]) and server.ready())
    assert server.version() == 1
    assert server.stop() == 0


def test_workers_end_with_their_supervisor(site: Site) -> None:
    site.add(1)
    server = site.serve_ready()
    worker = server.workers()[0]
    server.process.kill()
    server.process.wait(LONG_S)
    until("the worker's end", lambda: not Path(f"/proc/{worker}/cmdline").exists()
          or not Path(f"/proc/{worker}/cmdline").read_bytes())  # fmt: skip
    assert not list(site.spool.glob("*.open"))


def test_without_the_store_it_goes_on_and_even_starts(site: Site) -> None:
    site.add(1)
    server = site.serve_ready()
    store = site.folder / ".trueup" / "store.db"
    away = store.with_name("away")
    away.mkdir()
    for path in store.parent.glob("store.db*"):
        shutil.move(path, away / path.name)
    store.mkdir()  # so that nobody makes a new one
    try:
        os.kill(server.workers()[0], signal.SIGKILL)
        until("readiness without a store", server.ready)
        assert server.version() == 1
        assert 'trueup_store_reachable{worker="0"} 0.0' in server.get("/metrics").text
    finally:
        store.rmdir()
        for path in away.iterdir():
            shutil.move(path, store.parent / path.name)
    back = 'trueup_store_reachable{worker="0"} 1.0'
    until("the store is seen again", lambda: back in server.get("/metrics").text)
    assert server.stop() == 0


def test_two_workers_share_the_port(site: Site) -> None:
    site.add(1)
    server = site.serve("--workers", "2")
    until("both workers", lambda: server.get("/metrics").text.count("trueup_connections{") == 2)
    until("readiness", server.ready)
    assert server.stop() == 0


def test_a_port_in_use_is_said(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = site.trueup("serve", "--rest-port", port, code=2)
    assert port in said and "in use" in said
    assert len(said.splitlines()) == 1


def test_who_has_no_token_learns_that_it_is_not_ready_and_not_why(site: Site) -> None:
    server = site.serve()
    until("the reason", lambda: "no model is live" in _readiness(server))
    assert server.stop() == 0
    site.configure("[serving]\nrequire_tokens = true\n")
    server = site.serve()
    until("an answer", lambda: _readiness(server) == "not ready; the server's log says why")
    assert server.stop() == 0


def _readiness(server: Server) -> str:
    return server.get("/readyz").text.strip()


def test_beyond_loopback_it_needs_a_token(site: Site) -> None:
    said = site.trueup("serve", "--host", "0.0.0.0", "--rest-port", "0", code=2)
    assert "trueup token create" in said
    made = json.loads(
        site.trueup("token", "create", "--name", "test", "--scope", "predict", "--json")
    )
    site.add(1)
    site.configure('[serving]\nhost = "0.0.0.0"\n')
    server = site.serve()
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    until("readiness", server.ready)
    assert server.predict(ROW).status_code == 401
    bearer = {"Authorization": f"Bearer {made['token']}"}
    until("the token", lambda: server.predict(ROW, **bearer).status_code == 200)
    assert httpx.get(server.url + "/metrics", headers=bearer).status_code == 403
    assert server.stop() == 0


def test_a_stopped_server_leaves_its_segments_in_the_blob_root(site: Site) -> None:
    """As in a container whose disk is gone then."""
    site.configure("[capture]\nupload_on_stop = true\n")
    site.add(1)
    server = site.serve_ready()
    for number in range(3):
        answer = server.predict({"x": 0.0, "name": "a"}, **{"X-Request-Id": f"r{number}"})
        assert answer.status_code == 200
    assert server.stop() == 0
    assert "1 segment uploaded" in server.log.read_text()
    assert not [path for path in site.spool.iterdir() if path.is_file() and "sealed" in path.name]
    shutil.rmtree(site.spool)
    assert site.compact()["compacted"] == 1
    assert sorted(row["request_id"] for row in site.captured()) == ["r0", "r1", "r2"]
