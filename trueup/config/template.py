"""The commented ``trueup.toml`` that ``trueup init`` writes, generated from the settings, so that
it cannot miss one. Prose is ``# text``; a setting is ``#key = value``, to be uncommented."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, PlainSerializer, SecretStr
from pydantic.fields import FieldInfo

from trueup.config.keys import dotted, inner_type, is_section
from trueup.config.settings import Settings

_HEAD = """\
# Configuration of Trueup. A line that begins with "#" and a key shows a default (or, where there
# is none, an example): take the "#" away to change it. Every setting can also be given by the
# environment: TRUEUP_STORE__URL is url of [store]. Relative paths begin at this file's folder.
"""
#: A key uncommented without its table's head would land in the table before.
_WITH_HEAD = '  # an example: take the "#" from this line as well'


def template() -> str:
    """The text of a ``trueup.toml`` in which nothing differs from the defaults."""
    return _HEAD + "\n".join(_table(Settings, (), commented=False))


def _table(section: type[BaseModel], path: tuple[str, ...], *, commented: bool) -> Iterator[str]:
    """The lines of one table: its own settings first, since TOML wants them before sub-tables."""
    tables: list[tuple[str, FieldInfo]] = []
    for name, field in section.model_fields.items():
        kind = inner_type(field.annotation)
        if is_section(kind) or get_origin(kind) is dict:
            tables.append((name, field))
        else:
            yield from _setting(name, field)
    for name, field in tables:
        kind = inner_type(field.annotation)
        here, hidden = (*path, name), commented
        if get_origin(kind) is dict:
            here, kind, hidden = (*here, str(_example(field))), get_args(kind)[1], True
        yield ""
        yield from _prose(field)
        yield f"#[{dotted(here)}]{_WITH_HEAD}" if hidden else f"[{dotted(here)}]"
        yield from _table(kind, here, commented=hidden)


def _setting(name: str, field: FieldInfo) -> Iterator[str]:
    value = field.get_default(call_default_factory=True)
    if value is None:
        value = _example(field)
    if value is None:
        yield from _prose(field)
        yield f"# {name} = [...]"
        return
    for written in field.metadata:
        if isinstance(written, PlainSerializer):  # durations and sizes, as people write them
            value = written.func(value)  # type: ignore[call-arg]
    yield from _prose(field)
    yield f"#{name} = {_toml(value)}"


def _prose(field: FieldInfo) -> Iterator[str]:
    for line in textwrap.wrap(field.description or "", width=96):
        yield f"# {line}"


def _example(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else None


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return json.dumps(value, ensure_ascii=False)
