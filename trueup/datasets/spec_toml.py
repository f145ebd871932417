"""The InputSpec as a commented TOML file that a user corrects, and what it changes.

::

    [variables.temp]
    unit = "°F"
    missing.sentinels = [-999]

    [variables.flight]
    kind = "categorical"
    dtype = "string"

What a variable's table does not say stays as it was inferred.
"""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup.errors import ConfigError
from trueup.records.input_spec import (
    CategoricalDomain,
    InputSpec,
    Kind,
    Missing,
    NumericDomain,
    Role,
    Variable,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = frozenset(Variable.model_fields) - {"name"}
_MISSING_KEYS = frozenset(Missing.model_fields)
_DOMAIN_KEYS = frozenset(NumericDomain.model_fields) | frozenset(CategoricalDomain.model_fields)


@dataclass(frozen=True)
class SpecOverrides:
    """What one file changes: keys by variable name.

    :param source: the file, for messages.
    """

    source: str
    variables: Mapping[str, Mapping[str, Any]]


def load_spec_overrides(path: str | Path) -> SpecOverrides:
    """Read ``path``; keys are checked here, variable names when they are applied.

    :raises ConfigError: naming file, variable and key, with the key that was probably meant.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", remedy="check the path") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    _check_keys(document, {"variables"}, str(path), "")
    variables = document.get("variables", {})
    if not isinstance(variables, Mapping):
        raise ConfigError(
            f"{path}: variables is not a table", remedy="write one [variables.NAME] for each column"
        )
    overrides = SpecOverrides(str(path), variables)
    _check(overrides)
    return overrides


def _check(overrides: SpecOverrides) -> None:
    source = overrides.source
    for name, table in overrides.variables.items():
        where = f"variables.{name}"
        _check_keys(table, _KEYS, source, where)
        for key, known in (("missing", _MISSING_KEYS), ("domain", _DOMAIN_KEYS)):
            if key in table:
                _check_keys(table[key], known, source, f"{where}.{key}")


def _check_keys(table: Any, known: Iterable[str], source: str, where: str) -> None:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{source}: {where} is not a table", remedy=f"write it as [{where}]")
    known = sorted(known)
    for key in table:
        if key not in known:
            full = f"{where}.{key}" if where else key
            raise ConfigError(f"{source}: unknown key {full}", remedy=_meant(key, known))


def _meant(key: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def apply_overrides(
    spec: InputSpec, overrides: SpecOverrides | Mapping[str, Mapping[str, Any]]
) -> InputSpec:
    """``spec`` with what ``overrides`` says of its variables.

    :raises ConfigError: when a variable is unknown, or a value does not fit.
    """
    if not isinstance(overrides, SpecOverrides):
        overrides = SpecOverrides("overrides", overrides)
        _check(overrides)
    by_name = spec.by_name
    for name in overrides.variables:
        if name not in by_name:
            raise ConfigError(
                f"{overrides.source}: variables.{name} is not a column of the data",
                remedy=_meant(name, by_name),
            )
    changed = tuple(
        _corrected(variable, overrides.variables[variable.name], overrides.source)
        if variable.name in overrides.variables
        else variable
        for variable in spec.variables
    )
    return InputSpec(variables=changed)


def _corrected(variable: Variable, table: Mapping[str, Any], source: str) -> Variable:
    values = {**variable.model_dump(), **table}
    if "missing" in table:
        values["missing"] = {**variable.missing.model_dump(), **table["missing"]}
    if table.get("role", variable.role.value) != variable.role.value and "reason" not in table:
        values["reason"] = f"set in {Path(source).name}"
    if "dtype" in table and "kind" not in table:
        values["kind"] = _natural_kind(values["dtype"], variable.kind)
    try:
        return Variable.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(
            part for part in first["loc"] if isinstance(part, str) and part.isidentifier()
        )  # pydantic names the alternatives of a union there, too
        key = f"variables.{variable.name}" + (f".{place}" if place else "")
        raise ConfigError(
            f"{source}: {key}: {first['msg'].removeprefix('Value error, ')}"
        ) from error


def _natural_kind(dtype: Any, before: Kind) -> Kind:
    """The kind that follows from a corrected dtype alone."""
    if dtype == "timestamp":
        return Kind.TIME
    if dtype in ("string", "bytes"):
        return before if before is Kind.TEXT else Kind.CATEGORICAL
    return before if dtype == "bool" else Kind.NUMERIC


def dump_spec(spec: InputSpec) -> str:
    """``spec`` as TOML with comments; :func:`load_spec_overrides` reads it back."""
    roles = ", ".join(role.value for role in Role)
    kinds = ", ".join(kind.value for kind in Kind)
    lines = [
        "# The raw input variables, as inferred from the data. Correct what is wrong and delete",
        "# what is right: whatever a table does not say is inferred anew.",
        f"#   role: {roles} (only features and labels are compared)",
        f"#   kind: {kinds}",
        '#   unit: shown with every number, such as "°F"',
        '#   missing.sentinels: values that mean missing, such as [-999] or ["NA"]',
        '#   domain: { low = 0, high = 1 } or { values = ["a", "b"] }; others are out of range',
    ]
    for variable in spec.variables:
        lines += ["", *_table(variable)]
    return "\n".join(lines) + "\n"


def _table(variable: Variable) -> list[str]:
    lines = [
        f"[variables.{_key(variable.name)}]",
        f"role = {_value(variable.role.value)}",
    ]
    if variable.reason:
        lines.append(f"reason = {_value(variable.reason)}")
    lines += [
        f"dtype = {_value(variable.dtype)}",
        f"kind = {_value(variable.kind.value)}",
        f"optional = {_value(variable.optional)}",
    ]
    if variable.shape:
        lines.append(f"shape = {_value(variable.shape)}  # -1: any number of values")
    lines.append(f"unit = {_value(variable.unit)}" if variable.unit else '# unit = ""')
    if isinstance(variable.domain, NumericDomain):
        bounds = variable.domain.model_dump(exclude_none=True)
        inner = ", ".join(f"{key} = {_value(bound)}" for key, bound in bounds.items())
        lines.append(f"domain = {{ {inner} }}")
    elif variable.domain is not None:
        lines.append(f"domain = {{ values = {_value(variable.domain.values)} }}")
    plain = Missing()
    for key in Missing.model_fields:
        value = getattr(variable.missing, key)
        if value != getattr(plain, key):
            lines.append(f"missing.{key} = {_value(value)}")
    return lines


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if bare else _value(name)


def _value(value: Any) -> str:
    """A TOML value; strings are written as JSON, whose escapes TOML shares."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text.replace("\x7f", "\\u007f")
    return f"[{', '.join(_value(item) for item in value)}]"
