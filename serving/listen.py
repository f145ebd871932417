"""Where the server listens: the socket, TLS, and the refusal to be open to all."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address

from trueup.config.serving import ServingSettings
from trueup.errors import BadInputError
from trueup.serving.http_state import Limits

#: Connections that wait to be accepted; the kernel cuts it down to net.core.somaxconn.
BACKLOG = 4096

# Of a process besides its connections: models, segments, libraries, the store.
_OTHER_FILES = 512


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # binding says what is wrong
    return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def tokens_required(settings: ServingSettings) -> bool:
    """Whether requests need a token: always beyond loopback."""
    return settings.require_tokens or not is_loopback(settings.host)


def refuse_exposure(settings: ServingSettings, *, usable_tokens: int) -> None:
    """
    :param usable_tokens: how many tokens the store has that are neither expired nor revoked.
    :raises BadInputError: others could reach the server, and nobody could be let in.
    """
    if not is_loopback(settings.host) and usable_tokens == 0:
        raise BadInputError(
            f"serving.host = {settings.host} can be reached from other machines, and there is no "
            "token to let them in by",
            remedy="run trueup token create --name NAME --scope predict, or listen on 127.0.0.1",
        )


def tls_context(settings: ServingSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with the configured certificate; ``None`` when none is configured.

    :raises BadInputError: a file cannot be read, is no PEM, or the two do not belong together.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadInputError(
                f"serving.{name} = {path} cannot be read: {error.strerror}",
                remedy="name a PEM file that this user may read",
            ) from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise BadInputError(_tls_problem(error, settings)) from error
    except _EncryptedKeyError as error:
        raise BadInputError(
            f"serving.tls_key = {key} is encrypted, and there is nobody to type its password",
            remedy="decrypt it: openssl pkey -in KEY -out PLAIN",
        ) from error
    return context


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _tls_problem(error: ssl.SSLError, settings: ServingSettings) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"serving.tls_key = {settings.tls_key} is not the key of serving.tls_certificate = "
            f"{settings.tls_certificate}; give the two that belong together"
        )
    return (
        f"serving.tls_certificate = {settings.tls_certificate} and serving.tls_key = "
        f"{settings.tls_key} cannot be used: {error.reason or error}; "
        "give PEM files of a certificate and its key"
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; workers get it by inheritance.

    :param host: a name or an address; empty or ``::`` for all addresses of both families.
    :raises BadInputError: the address is not this machine's, or the port is taken or forbidden.
    """
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise BadInputError(
            f"serving.host = {host} cannot be found: {getattr(error, 'strerror', error)}",
            remedy="give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
        ) from error
    # A name of both families, such as localhost: clients try IPv4 of the two anyhow.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise BadInputError(*_bind_problem(error, host, port)) from error
    return listener


def _bind_problem(error: OSError, host: str, port: int) -> tuple[str]:
    if error.errno == errno.EADDRINUSE:
        what = f"port {port} of {host} is in use by another program"
        return (f"{what}; stop that, or choose another by serving.rest_port (0: any free one)",)
    if error.errno in (errno.EACCES, errno.EPERM):
        what = f"port {port} of {host} may not be listened on by this user"
        return (f"{what}; choose one from 1024 on by serving.rest_port",)
    if error.errno == errno.EADDRNOTAVAIL:
        what = f"serving.host = {host} is no address of this machine"
        return (f"{what}; give one that is, or 0.0.0.0 for all",)
    return (f"{host} port {port} cannot be listened on: {error.strerror}",)


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Where clients reach it: ``http://127.0.0.1:8501``."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


async def accept_on(
    listener: socket.socket,
    connection: Callable[[], asyncio.Protocol],
    *,
    tls: ssl.SSLContext | None,
    limits: Limits,
) -> asyncio.Server:
    """Begin to accept connections, each of them a ``connection()``."""
    loop = asyncio.get_running_loop()
    if tls is None:
        return await loop.create_server(connection, sock=listener, backlog=BACKLOG)
    return await loop.create_server(
        connection,
        sock=listener,
        backlog=BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=limits.head_timeout_s,
    )


def allow_open_files(limits: Limits) -> bool:
    """Raise this process's limit of open files to what its connections may need; whether it is
    enough. Without it, accepting stops at the limit, which is 1024 on many machines."""
    wanted = limits.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return True
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed >= wanted
