"""Who may ask: tokens with scopes, and the names by which the server may be asked.

Everything is answered from memory. The worker brings the store's tokens by :meth:`Access.refresh`
whenever it looks there; while the store is away, the last ones hold, and still expire.

The names stand against DNS rebinding: a page that a browser on this machine shows can point its
own name at 127.0.0.1 and then talk to what listens there, but its requests carry that name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address

from trueup.serving.http_message import Reply, Request, error_reply
from trueup.serving.routes import NoRoute, What, route
from trueup.store.tokens import Token, split

#: One of these scopes is needed; none for what everyone may ask.
NEEDED: dict[What, tuple[str, ...]] = {
    What.PREDICT: ("predict",),
    What.CLASSIFY: ("predict",),
    What.REGRESS: ("predict",),
    What.OPEN_INFERENCE: ("predict",),
    What.STATUS: ("predict", "read"),
    What.METADATA: ("predict", "read"),
    What.CAPTURE: ("ingest",),
    What.LABELS: ("ingest",),
    What.METRICS: ("read",),
    What.LIVE: (),
    What.READY: (),
}

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_ANY_ADDRESS = ("0.0.0.0", "::", "")
_KEPT_HOSTS = 256

_WANTED = (("WWW-Authenticate", 'Bearer realm="trueup"'),)
_INVALID = (("WWW-Authenticate", 'Bearer realm="trueup", error="invalid_token"'),)


class Access:
    """Of one process.

    :param required: whether a token is asked for.
    :param listens_on: the address; when it is every address of the machine, a request may name
        any address, but no name: those are for ``allowed_hosts``.
    :param allowed_hosts: further names; ``"*"`` for any.
    """

    def __init__(
        self, *, required: bool, listens_on: str, allowed_hosts: Collection[str] = ()
    ) -> None:
        self._required = required
        self._any_host = "*" in allowed_hosts
        self._any_address = listens_on in _ANY_ADDRESS
        names = (*_LOOPBACK_HOSTS, listens_on, *allowed_hosts)
        self._names = frozenset(_bare_host(name) for name in names if name not in _ANY_ADDRESS)
        self._seen_hosts: set[str] = set()
        self._tokens: dict[str, tuple[Token, float]] = {}

    def refresh(self, tokens: Iterable[Token]) -> None:
        """What :func:`trueup.store.tokens.list_tokens` has found."""
        self._tokens = {
            token.id: (token, token.expires_at.timestamp() if token.expires_at else math.inf)
            for token in tokens
            if token.revoked_at is None
        }

    def check(
        self, headers: Mapping[str, str], scopes: Collection[str], now: float
    ) -> Reply | None:
        """The refusal of a request, or ``None``.

        :param headers: names in lower case.
        :param scopes: one of them is needed (:data:`NEEDED`); without any, everyone may ask.
        :param now: seconds since 1970.
        """
        if not scopes:
            return None
        host = headers.get("host")
        if host is not None and host not in self._seen_hosts and not self._host_allowed(host):
            return error_reply(
                403,
                f"This server is not asked by the name {host[:100]!r}; "
                "setting serving.allowed_hosts allows it",
            )
        return self._check_token(headers, scopes, now) if self._required else None

    def _host_allowed(self, host: str) -> bool:
        bare = _bare_host(host)
        allowed = self._any_host or bare in self._names or (self._any_address and _is_address(bare))
        if allowed and len(self._seen_hosts) < _KEPT_HOSTS and len(host) <= _KEPT_HOSTS:
            self._seen_hosts.add(host)
        return allowed

    def _check_token(
        self, headers: Mapping[str, str], scopes: Collection[str], now: float
    ) -> Reply | None:
        given = headers.get("authorization")
        if given is None:
            return error_reply(
                401,
                "A token is needed: send the header Authorization: Bearer TOKEN "
                "(trueup token create makes one)",
                _WANTED,
            )
        scheme, _, text = given.partition(" ")
        parts = split(text.strip()) if scheme.lower() == "bearer" else None
        known = self._tokens.get(parts[0]) if parts else None
        if parts is None or known is None or not known[0].has_secret(parts[1]):
            return error_reply(401, "The token is not known here, or was revoked", _INVALID)
        token, expires = known
        if expires <= now:
            return error_reply(401, f"The token {token.id} has expired", _INVALID)
        if not token.may(scopes):
            needed = " or ".join(scopes)
            wanted = " ".join(scopes)
            challenge = f'Bearer realm="trueup", error="insufficient_scope", scope="{wanted}"'
            return error_reply(
                403,
                f"The token {token.id} has no scope {needed}",
                (("WWW-Authenticate", challenge),),
            )
        return None


def gate(
    access: Access, *, clock: Callable[[], float] = time.time
) -> Callable[[Request], Reply | None]:
    """The ``accept`` hook of connections: routes a request by its head, and refuses what leads
    nowhere or may not be asked. Leaves the :class:`~trueup.serving.routes.Route` in its context.

    :param clock: seconds since 1970.
    """

    def accept(request: Request) -> Reply | None:
        found = route(request.method, request.raw_path)
        if isinstance(found, NoRoute):
            # Who is not let in learns that first, as on all paths.
            refused = access.check(request.headers, _ANY_SCOPE, clock())
            return refused or error_reply(found.status, found.message, found.headers)
        request.context = found
        return access.check(request.headers, NEEDED[found.what], clock())

    return accept


_ANY_SCOPE = ("predict", "ingest", "read")


def _bare_host(host: str) -> str:
    """Without port and brackets, in lower case.

    >>> _bare_host("[::1]:8501"), _bare_host("Example.com.:80"), _bare_host("::1")
    ('::1', 'example.com', '::1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
