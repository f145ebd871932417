"""HTTPS: TLS 1.2 or newer, with the same behaviour behind it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from trueup.config.serving import ServingSettings
from trueup.errors import BadInputError
from trueup.serving.listen import tls_context

GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"


def settings(certificate: Path, key: Path) -> ServingSettings:
    return ServingSettings(tls_certificate=certificate, tls_key=key)


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def secured(server: Any, context: ssl.SSLContext) -> Any:
    client = server.connect()
    client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
    return client


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_requests_over_tls(
    serve: Any, kind: str, pem_files: tuple[Path, Path], wait_until: Callable[..., None]
) -> None:
    server = serve(kind, tls=tls_context(settings(*pem_files)))
    client = secured(server, trusting(pem_files[0]))
    assert client.socket.version() in ("TLSv1.2", "TLSv1.3")
    body = b"x" * 3_000_000
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert client.ask(head + body).json["size"] == len(body)
    client.send(b"GET /big?3000000 HTTP/1.1\r\nHost: a\r\n\r\n" + GET * 2)
    assert len(client.read().body) == 3_000_000
    assert [client.read().status for _ in range(2)] == [200, 200]
    leaving = secured(server, trusting(pem_files[0])).send(GET.replace(b"/echo", b"/hold"))
    wait_until(lambda: server.held)
    leaving.close()
    wait_until(lambda: server.held[0].gone)
    refused = client.ask(b"\x00\r\n\r\n")
    assert refused.status == 400


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_and_strangers_are_not_spoken_with(
    serve: Any, pem_files: tuple[Path, Path]
) -> None:
    server = serve(tls=tls_context(settings(*pem_files)))
    old = trusting(pem_files[0])
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        secured(server, old)
    plain = server.connect()
    with suppress(ConnectionResetError):
        assert b"HTTP" not in plain.send(GET).socket.recv(1000)
    assert secured(server, trusting(pem_files[0])).ask(GET).status == 200
    assert server.seen == ["/echo"]


def test_a_client_that_says_nothing_holds_nobody_up(
    serve: Any, pem_files: tuple[Path, Path]
) -> None:
    server = serve(tls=tls_context(settings(*pem_files)))
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    assert secured(server, trusting(pem_files[0])).ask(GET).status == 200
    for each in silent:
        each.close()


def test_without_files_there_is_no_tls() -> None:
    assert tls_context(ServingSettings()) is None


@pytest.fixture
def pem(pem_files: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies that a test may spoil."""
    certificate, key = (Path(shutil.copy(path, tmp_path)) for path in pem_files)
    return certificate, key


def refused(pem: tuple[Path, Path]) -> str:
    with pytest.raises(BadInputError) as caught:
        tls_context(settings(*pem))
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(pem: tuple[Path, Path]) -> None:
    pem[1].unlink()
    said = refused(pem)
    assert f"serving.tls_key = {pem[1]} cannot be read: No such file" in said


def test_a_file_that_is_no_pem_is_named(pem: tuple[Path, Path]) -> None:
    pem[0].write_text("hello")
    assert str(pem[0]) in refused(pem)


def test_a_key_of_another_certificate_is_named(pem: tuple[Path, Path]) -> None:
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-out", pem[1]], check=True, capture_output=True)
    assert "is not the key of" in refused(pem)


def test_an_encrypted_key_asks_nobody(pem: tuple[Path, Path]) -> None:
    plain = pem[1].with_suffix(".plain")
    pem[1].rename(plain)
    command = ["openssl", "pkey", "-in", str(plain), "-aes256", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", str(pem[1])], check=True, capture_output=True)
    assert "is encrypted" in refused(pem)
