"""Two workers behind TLS, with tokens, and one of them killed."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.conftest import LONG_S, Server, Site, until
from tests.serving.soak_clients import Load, assert_captured_once, compact_all, total

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    certificate, key = folder / "server.crt", folder / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


class Secured:
    """Asks a server that has TLS and wants tokens."""

    def __init__(self, site: Site, server: Server, certificate: Path) -> None:
        self.tls = ssl.create_default_context(cafile=str(certificate))
        self._url = server.url
        self.predicting, self.reading = (bearer(site, scope) for scope in ("predict", "read"))

    def get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        return httpx.get(self._url + path, headers=headers, verify=self.tls, timeout=LONG_S)

    def loaded(self) -> int:
        """Workers that have the model."""
        return self.metrics().count("trueup_predict_requests_total{")

    def metrics(self) -> str:
        """What any one worker says of all: of the others what they wrote within a second."""
        return self.get("/metrics", self.reading).text


def bearer(site: Site, scope: str) -> dict[str, str]:
    made: dict[str, Any] = json.loads(
        site.trueup("token", "create", "--name", scope, "--scope", scope, "--json")
    )
    return {"Authorization": f"Bearer {made['token']}"}


def test_two_workers_with_tls_and_tokens_add_up(site: Site, tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    site.configure(
        f'[serving]\nrequire_tokens = true\ntls_certificate = "{certificate}"\n'
        f'tls_key = "{key}"\n[capture]\nsegment_age = "1s"\n'
    )
    site.add(1)
    server = site.serve("--workers", "2")
    assert server.url.startswith("https://")
    asks = Secured(site, server, certificate)
    until("both workers", lambda: asks.loaded() == 2)
    assert asks.get("/v1/models/m", {}).status_code == 401
    assert asks.get("/metrics", asks.predicting).status_code == 403
    load = Load(server, clients=4, anew=True, tls=asks.tls, headers=asks.predicting)
    load.more(400)
    load.stop()
    assert load.failures == []
    assert load.statuses.keys() == {200}
    answered = load.statuses[200]

    def add_up() -> str:
        text = asks.metrics()
        told = total(text, "trueup_predict_requests_total")
        assert told <= answered
        return text if told == answered else ""

    text = until("numbers of both workers", add_up)
    for worker in ("0", "1"):
        assert 0 < total(text, "trueup_predict_requests_total", worker=worker) < answered
    assert total(text, "trueup_capture_frames_total") == answered
    assert total(text, "trueup_http_replies_total", status="200") >= answered
    assert server.stop() == 0
    compact_all(site)
    assert_captured_once(site, load.names(200))


def replace_one(server: Server) -> None:
    """Kill a worker and wait for its successor's start."""
    workers = server.workers()
    os.kill(workers[0], signal.SIGKILL)
    until("its successor", lambda: set(server.workers()) - set(workers))


def test_a_worker_that_starts_anew_fails_no_request(site: Site) -> None:
    """Once it is gone, requests go to the other one until it has its models again."""
    site.add(1)
    server = site.serve_ready("--workers", "2")
    series = 'trueup_predict_requests_total{model="m",version="1",worker='
    until("both workers", lambda: server.get("/metrics").text.count(series) == 2)
    for _ in range(2):
        replace_one(server)
        load = Load(server, clients=3, anew=True)
        until("both workers", lambda: server.get("/metrics").text.count(series) == 2)
        load.more(100)
        load.stop()
        assert load.failures == []
        assert load.statuses.keys() == {200}
    assert server.stop() == 0


def test_who_asks_before_the_models_are_loaded_waits_for_them(site: Site) -> None:
    site.add(1)
    server = site.serve()
    assert server.version() == 1
    assert server.predict({"x": 0.0, "name": "a"}, path="/v1/models/n:predict").status_code == 404
    assert server.stop() == 0
