"""``trueup token``: who may ask the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from datetime import datetime

    from trueup.store.tokens import Token

token = typer.Typer(
    help="Make, list and revoke the tokens by which clients are let in.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@token.command("create")
def create(
    name: Annotated[str, typer.Option("--name", help="Who shall use it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="What it may be used for: predict, ingest (labels and capture), read (status, "
            "metadata, metrics) or admin (all of it); repeatable.",
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="Until when, such as 90d; else for ever."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token. It is printed this once, on standard output; the store keeps a hash of it."""
    from trueup.store.engine import writing
    from trueup.store.tokens import create as create_token

    now = _now()
    expires_at = None if expires is None else _end(now, expires)
    with writing(_store(config)) as connection:
        made, text = create_token(
            connection,
            name=name,
            scopes=scope,
            created_by=_who(),
            now=now,
            expires_at=expires_at,
        )
    if as_json:
        _print_json({"token": text, **_as_json(made, now)})
        return
    until = "for ever" if expires_at is None else f"until {_shown(expires_at)}"
    typer.echo(text)
    typer.echo(
        f"This is token {made.id} for {made.name} ({_scopes(made)}), {until}. "
        "It is not shown again: keep it safe.",
        err=True,
    )


@token.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all tokens, without their secrets."""
    from trueup.store.engine import reading
    from trueup.store.tokens import list_tokens

    now = _now()
    with reading(_store(config)) as connection:
        found = list_tokens(connection)
    if as_json:
        _print_json({"tokens": [_as_json(each, now) for each in found]})
    elif found:
        _print_table(found, now)
    else:
        typer.echo("There is no token yet; trueup token create makes one.")


@token.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As trueup token list shows it.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token useless; servers know within a few seconds."""
    from trueup.store.engine import writing
    from trueup.store.tokens import revoke as revoke_token

    now = _now()
    with writing(_store(config)) as connection:
        revoked = revoke_token(connection, token_id, now=now)
    if as_json:
        _print_json(_as_json(revoked, now))
    else:
        typer.echo(f"Token {revoked.id} for {revoked.name} is revoked.")


def _store(config: Any) -> Any:
    from trueup.config.load import load
    from trueup.store.schema import open_store

    return open_store(load(config).store)


def _now() -> datetime:
    from datetime import datetime, timezone

    return datetime.now(timezone.utc)


def _end(now: datetime, length: str) -> datetime:
    from trueup.config.duration import parse_duration
    from trueup.errors import BadInputError

    try:
        return now + parse_duration(length)
    except (ValueError, OverflowError) as error:
        raise BadInputError(
            f"--expires {length} is no length of time", remedy="write a number and h, d or w: 90d"
        ) from error


def _who() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return "unknown"


def _scopes(token: Token) -> str:
    from trueup.store.tokens import SCOPES

    return ", ".join(scope for scope in SCOPES if scope in token.scopes)


def _shown(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def _as_json(token: Token, now: datetime) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": _scopes(token).split(", "),
        "state": token.state(now),
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
        "expires_at": token.expires_at and token.expires_at.isoformat(),
        "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
    }


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(found: list[Token], now: datetime) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scopes", "state", "created", "expires"):
        table.add_column(heading, overflow="fold")
    for each in found:
        table.add_row(
            each.id,
            escape(each.name),
            _scopes(each),
            each.state(now),
            _shown(each.created_at),
            _shown(each.expires_at),
        )
    Console().print(table)
