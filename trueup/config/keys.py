"""Which keys the configuration knows: found by walking the records that define it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr


def inner_type(annotation: Any) -> Any:
    """``annotation`` without ``Annotated`` and ``| None``."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            rest = [each for each in get_args(annotation) if each is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def type_at(root: type[BaseModel], path: Sequence[str]) -> Any:
    """The type of the setting at ``path``; ``None`` when there is no such setting."""
    here: Any = root
    for key in path:
        if is_section(here):
            field = here.model_fields.get(key)
            here = None if field is None else inner_type(field.annotation)
        elif get_origin(here) is dict:
            here = inner_type(get_args(here)[1])
        else:
            return None
    return here


def known_keys(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys of the table at ``path``; none where any name is allowed."""
    here = type_at(root, path)
    return list(here.model_fields) if is_section(here) else []


def nearest(key: str, known: Sequence[str]) -> str | None:
    """The one of ``known`` that ``key`` is a slip of the pen for, if any."""
    found = get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return found[0] if found else None


def is_secret(root: type[BaseModel], path: Sequence[str]) -> bool:
    return type_at(root, path) is SecretStr


def dotted(path: Sequence[object]) -> str:
    """A key as TOML writes it.

    >>> dotted(["models", "flights", "variables", "dep time"])
    'models.flights.variables."dep time"'
    """
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in map(str, path)
    )
