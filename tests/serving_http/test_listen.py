"""Where a server listens, and what it refuses."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable

import pytest

from trueup.config.serving import ServingSettings
from trueup.errors import BadInputError
from trueup.serving.http_state import Limits
from trueup.serving.listen import (
    allow_open_files,
    bind,
    is_loopback,
    refuse_exposure,
    tokens_required,
    url_of,
)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
        ("localhost", True), ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False),
        ("no-such-host.invalid", False), ("a" * 300, False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_world(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_beyond_loopback_nobody_listens_without_a_token(host: str) -> None:
    settings = ServingSettings(host=host)
    assert tokens_required(settings)
    with pytest.raises(BadInputError) as caught:
        refuse_exposure(settings, usable_tokens=0)
    assert host in str(caught.value)
    assert "trueup token create --name NAME --scope predict" in str(caught.value)
    refuse_exposure(settings, usable_tokens=1)


def test_on_loopback_tokens_are_a_choice() -> None:
    refuse_exposure(ServingSettings(), usable_tokens=0)
    assert not tokens_required(ServingSettings())
    assert tokens_required(ServingSettings(require_tokens=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_a_socket_is_bound_and_reached(host: str) -> None:
    if "::" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with bind(host, 0) as listener:
        address = listener.getsockname()[:2]
        socket.create_connection(address, timeout=10).close()
        shown = url_of(listener, tls=False)
        assert shown == f"http://{'[::1]' if '::' in host else '127.0.0.1'}:{address[1]}"
        assert url_of(listener, tls=True).startswith("https://")


def test_all_addresses_of_both_families() -> None:
    with bind("::", 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=10).close()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(BadInputError) as caught:
        call()
    assert "; " in str(caught.value)
    return str(caught.value)


def test_a_port_in_use_is_named() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        said = refused(lambda: bind("127.0.0.1", port))
    assert f"port {port} of 127.0.0.1 is in use" in said
    assert "serving.rest_port" in said


def test_a_host_that_is_not_ours_is_named() -> None:
    assert "203.0.113.7" in refused(lambda: bind("203.0.113.7", 0))
    assert "no-such-host.invalid" in refused(lambda: bind("no-such-host.invalid", 0))


def test_a_process_may_open_files_for_its_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
        assert allow_open_files(Limits(max_connections=100))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1024
        enough = allow_open_files(Limits(max_connections=3000))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == hard or enough
        assert enough is (soft == resource.RLIM_INFINITY or soft > 3000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
