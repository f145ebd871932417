"""Settings from the environment: ``TRUEUP_STORE__URL`` is ``store.url``.

pydantic-settings would do it, but it lower-cases the names of models and features and passes over
a misspelt variable in silence, which is how a production store gets configured by its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic import BaseModel

from trueup.config.keys import inner_type, is_section, known_keys, nearest, type_at
from trueup.errors import ConfigError

PREFIX = "TRUEUP_"
SEPARATOR = "__"
#: Read elsewhere, and no settings.
NOT_SETTINGS = frozenset({"TRUEUP_DEBUG"})


def from_environment(
    root: type[BaseModel], environment: Mapping[str, str]
) -> dict[tuple[str, ...], tuple[str, Any]]:
    """Key path → (variable's name, value) of all settings in ``environment``.

    Names of settings are in any case, names of models, features and variables as they are. Texts
    are taken as they stand, anything else is read as JSON. Empty variables are passed over.

    :raises ConfigError: for a variable that begins with ``TRUEUP_`` and is no setting.
    """
    found = {}
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and text:
            path = _path(root, name)
            found[path] = (name, _value(type_at(root, path), text))
    return found


def _path(root: type[BaseModel], name: str) -> tuple[str, ...]:
    path: list[str] = []
    for part in name[len(PREFIX) :].split(SEPARATOR):
        here = type_at(root, path)
        if is_section(here):
            known = known_keys(root, path)
            if part.lower() not in known:
                raise _unknown(name, path, nearest(part, known))
            path.append(part.lower())
        elif get_origin(here) is dict and part:
            path.append(part)
        else:
            raise _unknown(name, path, None)
    return tuple(path)


def _unknown(name: str, path: list[str], near: str | None) -> ConfigError:
    remedy = "unset it, or correct its name"
    if near is not None:
        good = SEPARATOR.join([*(each.upper() if i == 0 else each for i, each in enumerate(path)),
                               near.upper()])  # fmt: skip
        remedy = f"did you mean {PREFIX}{good}?"
    return ConfigError(f"environment variable {name} is no setting", remedy=remedy)


def _value(kind: Any, text: str) -> Any:
    if not (is_section(kind) or get_origin(inner_type(kind)) in (dict, tuple)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # validation then says what was expected
