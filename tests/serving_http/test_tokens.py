"""Tokens in the store, and ``trueup token``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from trueup.cli.main import main
from trueup.errors import BadInputError
from trueup.store import tokens
from trueup.store.engine import open_engine, reading, writing
from trueup.store.schema import upgrade

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/store.db")
    upgrade(engine)
    yield engine
    engine.dispose()


def make(store: Engine, *scopes: str, ends: datetime | None = None) -> tuple[tokens.Token, str]:
    with writing(store) as connection:
        return tokens.create(
            connection, name="bob", scopes=scopes, created_by="me", now=NOW, expires_at=ends
        )


def verify(store: Engine, text: str, now: datetime = NOW) -> tokens.Token | None:
    with reading(store) as connection:
        return tokens.verify(connection, text, now=now)


def test_a_token_is_made_and_known(store: Engine, tmp_path: Path) -> None:
    made, text = make(store, "read", "predict")
    assert text.startswith(f"trueup_{made.id}_")
    assert len(text.rsplit("_", 1)[1]) == 64  # 256 bits in hex
    assert verify(store, text) == made
    with reading(store) as connection:
        assert tokens.list_tokens(connection) == [made]
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made.id.encode() in kept
    assert text.rsplit("_", 1)[1].encode() not in kept


def test_no_two_are_alike(store: Engine) -> None:
    made = [make(store, "read") for _ in range(20)]
    assert len({token.id for token, _ in made} | {text for _, text in made}) == 40


def test_what_is_no_token_is_not_known(store: Engine) -> None:
    made, text = make(store, "admin")
    other = make(store, "admin")[1]
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    swapped = f"trueup_{made.id}_{other.rsplit('_', 1)[1]}"
    hashed = f"trueup_{made.id}_{made.secret_sha256}"
    texts = [wrong, swapped, hashed, text[:-1], text + "0", text.upper(), "", "trueup__", made.id]
    assert [verify(store, each) for each in texts] == [None] * len(texts)


def test_a_token_ends_when_it_expires_or_is_revoked(store: Engine) -> None:
    made, text = make(store, "read", ends=NOW + HOUR)
    assert verify(store, text, NOW + HOUR / 2) == made
    assert verify(store, text, NOW + HOUR) is None
    other, other_text = make(store, "read")
    for later in (NOW + HOUR, NOW + 2 * HOUR):
        with writing(store) as connection:
            assert tokens.revoke(connection, other.id, now=later).revoked_at == NOW + HOUR
    assert verify(store, other_text) is None


def test_scopes() -> None:
    def token(*scopes: str) -> tokens.Token:
        return tokens.Token("id", "bob", frozenset(scopes), "", NOW, "me")

    assert token("predict").may(["predict"])
    assert token("predict").may(("read", "predict"))
    assert not token("predict", "read").may(["ingest"])
    assert all(token("admin").may([scope]) for scope in tokens.SCOPES)
    assert not token("predict", "read", "ingest").may(["admin"])


@pytest.mark.parametrize(
    ("name", "scopes", "ends", "said"),
    [
        ("", ["read"], None, "is no name"),
        ("a\nb", ["read"], None, "is no name"),
        ("x" * 201, ["read"], None, "is no name"),
        ("bob", [], None, "needs a scope"),
        ("bob", ["read", "write"], None, "no scope 'write'"),
        ("bob", ["read"], NOW, "has expired"),
    ],
)
def test_what_makes_no_token_is_refused(
    store: Engine, name: str, scopes: list[str], ends: datetime | None, said: str
) -> None:
    with pytest.raises(BadInputError, match=said), writing(store) as connection:
        tokens.create(
            connection, name=name, scopes=scopes, created_by="me", now=NOW, expires_at=ends
        )
    with reading(store) as connection:
        assert tokens.list_tokens(connection) == []


class Run(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Run]


@pytest.fixture
def token_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs ``trueup token`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Run:
        capsys.readouterr()
        return Run(main(["token", *arguments]), *capsys.readouterr())

    return run


def test_the_command_prints_a_token_once(token_here: Command) -> None:
    made = token_here("create", "--name", "web shop", "--scope", "predict", "--expires", "90d")
    assert made.code == 0
    text = made.out.strip()
    token_id = text.split("_")[1]
    assert f"token {token_id} for web shop (predict), until" in made.err
    listed = token_here("list")
    assert token_id in listed.out
    assert text not in listed.out
    found = json.loads(token_here("list", "--json").out)["tokens"]
    assert [(each["id"], each["state"], each["scopes"]) for each in found] == [
        (token_id, "usable", ["predict"])
    ]
    assert datetime.fromisoformat(found[0]["expires_at"]) > datetime.now(timezone.utc)
    assert token_here("revoke", token_id) == (0, f"Token {token_id} for web shop is revoked.\n", "")
    assert json.loads(token_here("list", "--json").out)["tokens"][0]["state"] == "revoked"


def test_the_command_speaks_json(token_here: Command) -> None:
    scopes = ["--scope", "read", "--scope", "ingest"]
    made = json.loads(token_here("create", "--name", "x", *scopes, "--json").out)
    assert made["token"].startswith(f"trueup_{made['id']}_")
    assert made["scopes"] == ["ingest", "read"]
    assert made["expires_at"] is None
    assert json.loads(token_here("revoke", made["id"], "--json").out)["state"] == "revoked"


def test_what_the_command_cannot_do_is_said(token_here: Command) -> None:
    assert "no token yet" in token_here("list").out
    bad = [
        token_here("create", "--name", "x", "--scope", "all"),
        token_here("create", "--name", "x", "--scope", "read", "--expires", "soon"),
        token_here("create", "--name", "x", "--scope", "read", "--expires", "9999999w"),
        token_here("create", "--name", "x", "--scope", "read", "--expires", "0d"),
        token_here("revoke", "abc"),
    ]
    for run in bad:
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith("trueup: ")
        assert run.err.count("\n") == 1
        assert "; " in run.err
        assert "defect" not in run.err
    whole = token_here("create", "--name", "x", "--scope", "read").out.strip()
    by_mistake = token_here("revoke", whole)
    assert by_mistake.code == 2
    assert whole.rsplit("_", 1)[1] not in by_mistake.err
