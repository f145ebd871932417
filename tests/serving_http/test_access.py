"""Who may ask what, and by which name: on records, and through a real server."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from trueup.serving.access import NEEDED, Access, gate
from trueup.serving.http_message import Reply
from trueup.serving.routes import What
from trueup.store.tokens import Token

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECRET = "5" * 64
HOUR = 3600.0


def token(name: str, *scopes: str, **more: Any) -> Token:
    hashed = hashlib.sha256(SECRET.encode()).hexdigest()
    return Token(name, name, frozenset(scopes), hashed, NOW, "me", **more)


def bearer(name: str, secret: str = SECRET, **more: str) -> dict[str, str]:
    return {"host": "localhost:8501", "authorization": f"Bearer trueup_{name}_{secret}", **more}


@pytest.fixture
def access() -> Access:
    """With tokens p, i, r, a of one scope each, one that ends in an hour, one that was revoked."""
    found = Access(required=True, listens_on="127.0.0.1")
    found.refresh(
        [
            token("p", "predict"),
            token("i", "ingest"),
            token("r", "read"),
            token("a", "admin"),
            token("short", "predict", expires_at=NOW + timedelta(hours=1)),
            token("gone", "predict", revoked_at=NOW),
        ]
    )
    return found


def status(
    access: Access, headers: dict[str, str], what: What = What.PREDICT, after: float = 0
) -> int:
    reply = access.check(headers, NEEDED[what], NOW.timestamp() + after)
    if reply is None:
        return 200
    assert list(json.loads(reply.body)) == ["error"]
    challenge = dict(reply.headers).get("WWW-Authenticate", "")
    assert reply.status != 401 or challenge.startswith("Bearer ")
    return reply.status


ALLOWED = {
    What.PREDICT: "pa",
    What.CLASSIFY: "pa",
    What.REGRESS: "pa",
    What.OPEN_INFERENCE: "pa",
    What.STATUS: "pra",
    What.METADATA: "pra",
    What.CAPTURE: "ia",
    What.LABELS: "ia",
    What.METRICS: "ra",
    What.LIVE: "pira",
    What.READY: "pira",
}


@pytest.mark.parametrize("what", list(What))
def test_each_path_needs_its_scope(access: Access, what: What) -> None:
    for name in "pira":
        expected = 200 if name in ALLOWED[what] else 403
        assert status(access, bearer(name), what) == expected
    everyone = what in (What.LIVE, What.READY)
    assert status(access, {"host": "localhost"}, what) == (200 if everyone else 401)


def test_a_missing_scope_is_named(access: Access) -> None:
    reply = access.check(bearer("p"), NEEDED[What.CAPTURE], NOW.timestamp())
    assert reply is not None
    assert "has no scope ingest" in json.loads(reply.body)["error"]
    assert dict(reply.headers)["WWW-Authenticate"].endswith(
        'error="insufficient_scope", scope="ingest"'
    )


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Bearer", "Bearer ", f"Basic trueup_p_{SECRET}", f"trueup_p_{SECRET}",
        f"Bearer p_{SECRET}", "Bearer trueup_p_", f"Bearer trueup_p_{SECRET[:-1]}6",
        f"Bearer trueup_p_{SECRET[:-1]}", f"Bearer trueup_p_{SECRET}5",
        f"Bearer trueup_nobody_{SECRET}", f"Bearer trueup_gone_{SECRET}", "Bearer trueup_p_é\udc80",
        f"Bearer trueup_p_{SECRET}, Bearer trueup_p_{SECRET}",
        f"Bearer trueup_p_{hashlib.sha256(SECRET.encode()).hexdigest()}",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(access: Access, authorization: str) -> None:
    assert status(access, {"host": "localhost", "authorization": authorization}) == 401


def test_guesses_are_all_answered_alike(access: Access) -> None:
    """A wrong secret and a token that never was cannot be told apart."""
    guesses = [bearer("p", "0" * 64), bearer("q", "0" * 64), bearer("gone"), bearer("p", "x")]
    replies = {access.check(g, ("predict",), NOW.timestamp()) for g in guesses}
    assert len(replies) == 1
    assert isinstance(replies.pop(), Reply)


def test_the_scheme_is_of_either_case(access: Access) -> None:
    headers = {"host": "localhost", "authorization": f"bEARER   trueup_p_{SECRET} "}
    assert status(access, headers) == 200


def test_tokens_end_without_the_store(access: Access) -> None:
    assert status(access, bearer("short"), after=HOUR - 1) == 200
    assert status(access, bearer("short"), after=HOUR) == 401
    access.refresh([token("new", "predict")])
    assert status(access, bearer("new")) == 200
    assert status(access, bearer("p")) == 401


def test_where_no_token_is_asked_for_none_is_looked_at() -> None:
    access = Access(required=False, listens_on="127.0.0.1")
    assert status(access, {"host": "127.0.0.1:8501"}) == 200
    assert status(access, bearer("nobody")) == 200


@pytest.mark.parametrize(
    ("listens_on", "allowed", "host", "expected"),
    [
        ("127.0.0.1", (), "localhost", 200),
        ("127.0.0.1", (), "LocalHost.:8501", 200),
        ("127.0.0.1", (), "127.0.0.1:1", 200),
        ("127.0.0.1", (), "[::1]:8501", 200),
        ("127.0.0.1", (), "evil.example", 403),
        ("127.0.0.1", (), "evil.example:8501", 403),
        ("127.0.0.1", (), "localhost.evil.example", 403),
        ("127.0.0.1", (), "10.0.0.1", 403),
        ("127.0.0.1", (), "", 403),
        ("10.0.0.1", (), "10.0.0.1:8501", 200),
        ("10.0.0.1", (), "10.0.0.2:8501", 403),
        ("fd00::1", (), "[fd00::1]:8501", 200),
        ("0.0.0.0", (), "10.0.0.2:8501", 200),
        ("::", (), "[fd00::2]:8501", 200),
        ("0.0.0.0", (), "models.example", 403),
        ("0.0.0.0", ("models.example",), "Models.Example:443", 200),
        ("127.0.0.1", ("*",), "anything", 200),
    ],
)
def test_the_server_is_asked_by_its_own_names_only(
    listens_on: str, allowed: tuple[str, ...], host: str, expected: int
) -> None:
    access = Access(required=False, listens_on=listens_on, allowed_hosts=allowed)
    for _ in range(2):
        assert status(access, {"host": host}) == expected
    reply = access.check({"host": host}, ("read",), 0.0)
    assert reply is None or "serving.allowed_hosts" in json.loads(reply.body)["error"]
    assert access.check({"host": host}, NEEDED[What.LIVE], 0.0) is None
    assert access.check({}, ("read",), 0.0) is None  # HTTP/1.0: no browser


def test_a_server_lets_in_whom_it_knows(serve: Any, access: Access) -> None:
    server = serve(accept=gate(access, clock=NOW.timestamp))
    client = server.connect()

    def ask(first: str, *lines: str, body: str = "") -> int:
        length = f"Content-Length: {len(body)}"
        text = "\r\n".join([f"{first} HTTP/1.1", "Host: localhost", length, *lines, "", body])
        answer = client.ask(text.encode())
        assert answer.status == 200 or answer.error
        return int(answer.status)

    predict, mine = "POST /v1/models/m:predict", f"Authorization: Bearer trueup_p_{SECRET}"
    assert ask(predict, body="{}") == 401
    assert ask(predict, mine, body="{}") == 200
    assert ask("POST /trueup/v1/labels", mine, body="{}") == 403
    assert ask("GET /livez") == 200
    assert ask("GET /v1/models", mine) == 400
    assert ask("GET /v1/models") == 401
    assert ask("DELETE /metrics", mine) == 405
    for guess in range(200):
        assert ask(predict, f"Authorization: Bearer trueup_p_{guess:064x}", body="{}") == 401
    assert server.seen == ["/v1/models/m:predict", "/livez"]
    assert server.state.accepted == 1
