"""Clients that ask a real server without pause, and what their answers must have left behind."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.serving.conftest import LONG_S, Server, Site, until

PREDICT = "/v1/models/m:predict"
JSON = {"Content-Type": "application/json"}


def connect(url: str, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A connection that is opened with the first request, and again when the server closed it."""
    where = urlsplit(url)
    assert where.hostname is not None
    if tls is not None:
        return http.client.HTTPSConnection(where.hostname, where.port, timeout=LONG_S, context=tls)
    return http.client.HTTPConnection(where.hostname, where.port, timeout=LONG_S)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def ask(
    connection: http.client.HTTPConnection,
    body: bytes,
    path: str = PREDICT,
    headers: Mapping[str, str] = JSON,
) -> Answer:
    connection.request("POST", path, body, dict(headers))
    reply = connection.getresponse()
    return Answer(reply.status, reply.read())


def predict_body(name: str, rows: int, filling: str = "") -> bytes:
    instances = [{"x": float(row), "name": f"{name}{filling}"} for row in range(rows)]
    return json.dumps({"instances": instances}).encode()


class Load:
    """Threads that ask one request after the other, each under a name of its own.

    :param filling: makes requests (and answers) larger.
    :param anew: every request on a connection of its own.
    :ivar answered: names by status. :ivar failures: what was no answer at all; a connection that
        was refused before anything was sent is in ``refused``.
    """

    def __init__(
        self,
        server: Server,
        *,
        clients: int = 4,
        filling: str = "",
        anew: bool = False,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        prefix: str = "c",
    ) -> None:
        self.failures: list[str] = []
        self.refused = 0
        self._answered: list[tuple[str, int]] = []
        self._url, self._tls = server.url, tls
        self._filling, self._anew = filling, anew
        self._headers = {**JSON, **(headers or {})}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(f"{prefix}{number}",), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, client: str) -> None:
        connection = connect(self._url, self._tls)
        count = 0
        while not self._stop.is_set():
            count += 1
            name = f"{client}-{count}"
            body = predict_body(name, rows_of(name), self._filling)
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                self.refused += 1
                return
            except OSError as error:
                self.failures.append(f"{name}: connecting: {error!r}")
                return
            try:
                answer = ask(connection, body, headers={**self._headers, "X-Request-Id": name})
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{name}: {error!r}")
                return
            self._answered.append((name, answer.status))
            if self._anew:
                connection.close()
        connection.close()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for _, status in self._answered.copy())

    def names(self, status: int) -> list[str]:
        return [name for name, got in self._answered if got == status]

    def more(self, count: int, status: int = 200) -> None:
        """Wait until ``count`` further requests were answered with ``status``."""
        wanted = self.statuses[status] + count

        def came() -> bool:
            assert not self.failures, self.failures
            return self.statuses[status] >= wanted

        until(f"{count} more answers {status}", came)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LONG_S)
            assert not thread.is_alive(), "a client is still waiting"

    def stop(self) -> None:
        self._stop.set()
        self.join()


def rows_of(name: str) -> int:
    """How many rows the request of that name has."""
    return 1 + int(name.rpartition("-")[2]) % 3


def metric(server: Server, name: str, **labels: str) -> float:
    """Sum of the series of ``name`` that have these labels."""
    return total(server.get("/metrics").text, name, **labels)


def total(text: str, name: str, **labels: str) -> float:
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"{name}{{") and all(label in line for label in wanted)
    ]
    return sum(found)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def compact_all(site: Site) -> None:
    """Compact until the spool has no segment any more; the server has stopped."""

    def empty() -> bool:
        report = site.compact()
        assert not report["failed"], report
        return not [*site.spool.glob("*.open"), *site.spool.glob("*.sealed")]

    until("an empty spool", empty)


def captured_rows(site: Site) -> Counter[str]:
    """Rows that were answered, by request id; no row is there twice."""
    rows = site.captured()
    assert len({row["row_id"] for row in rows}) == len(rows)
    return Counter(row["request_id"] for row in rows if row["status"] == 200)


def assert_captured_once(site: Site, answered: list[str]) -> None:
    """Each of these requests is in the compacted capture, with all its rows, once."""
    seen = captured_rows(site)
    wrong = {name: seen[name] for name in answered if seen[name] != rows_of(name)}
    assert not wrong, f"{len(wrong)} of {len(answered)} are not there once: {[*wrong.items()][:5]}"


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """``work`` on its way, and where its result will be."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found
