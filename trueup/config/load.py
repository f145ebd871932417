"""Reading the configuration: file, then environment, then validation; errors name their place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from trueup.config.environment import from_environment
from trueup.config.keys import dotted, is_secret, known_keys, nearest
from trueup.config.lines import lines_of_keys
from trueup.config.settings import Settings
from trueup.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path("trueup.toml")


def load(path: Path | None = None, *, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of ``path``, overridden by ``TRUEUP_…`` variables.

    :param path: ``./trueup.toml`` when absent; where that does not exist, the defaults.
    :param environment: ``os.environ`` when absent.
    :returns: settings with absolute paths; relative ones begin at the folder of the file.
    :raises ConfigError: one sentence that names file, key, line (or variable) and remedy.
    """
    source = DEFAULT_FILE if path is None and DEFAULT_FILE.exists() else path
    places = _Places(source)
    data: dict[str, Any] = {}
    if source is not None:
        places.text, data = _read(source)
    overrides = from_environment(Settings, os.environ if environment is None else environment)
    for key, (name, value) in overrides.items():
        _put(data, key, value, name)
        places.variables[key] = name
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise _problem(error, places) from None  # its own text would show secrets
    folder = source.resolve().parent if source is not None else Path.cwd()
    return _anchored(settings, folder)


@dataclass
class _Places:
    """Where values came from, to be named in errors."""

    file: Path | None
    text: str = ""
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name(self, key: tuple[str, ...]) -> str:
        for variable, name in self.variables.items():
            if key[: len(variable)] == variable:
                return f"environment variable {name}"
        lines = lines_of_keys(self.text)
        for depth in range(len(key), 0, -1):
            if key[:depth] in lines:
                return f"{self.file} line {lines[key[:depth]]}"
        return str(self.file or "the configuration")


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"configuration file {path} cannot be read: {error.strerror}",
            remedy="give another by --config, or write one with trueup init",
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} line {line} is not UTF-8", remedy="save the file as UTF-8"
        ) from error
    text = text.replace("\r\n", "\n")
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} {_where(text, str(error))}") from error


def _where(text: str, problem: str) -> str:
    """``line 3, column 5: what is wrong`` out of the parser's ``what is wrong (at …)``."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", problem, re.DOTALL)
    if match:
        return f"line {match[2]}, column {match[3]} is no TOML: {match[1]}"
    lines = text.splitlines() or [""]
    what = problem.removesuffix(" (at end of document)")
    return f"line {len(lines)}, column {len(lines[-1]) + 1} is no TOML: {what}"


def _put(data: dict[str, Any], key: Sequence[str], value: Any, name: str) -> None:
    for part in key[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(
                f"environment variable {name} sets a key inside {part}, which is no table in the "
                "configuration file"
            )
    data[key[-1]] = value


def _problem(error: ValidationError, places: _Places) -> ConfigError:
    """The first problem in words; the number of further ones."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    key = tuple(str(part) for part in first["loc"] if part != "[key]")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = places.name(key)
    if first["type"] == "extra_forbidden":
        known = known_keys(Settings, key[:-1])
        near = nearest(key[-1], known)
        table = f" in [{dotted(key[:-1])}]" if key[:-1] else ""
        remedy = (
            f"did you mean {dotted((*key[:-1], near))}?"
            if near
            else f"known keys{table} are {', '.join(known)}"
        )
        return ConfigError(f"{place}: {dotted(key)} is no setting{more}", remedy=remedy)
    what = str(first["msg"]).removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    given = "" if is_secret(Settings, key) or _holds_secret(key) else f" = {_short(first['input'])}"
    return ConfigError(f"{place}: {dotted(key)}{given} is wrong: {what}{more}")


def _holds_secret(key: tuple[str, ...]) -> bool:
    return any(is_secret(Settings, (*key, name)) for name in known_keys(Settings, key))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Relative paths made absolute, so that no later change of folder moves the state."""
    blob_root = settings.blob_root
    if "://" not in blob_root:
        blob_root = str(folder / Path(blob_root).expanduser())
    url = settings.store.url.get_secret_value()
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:?][^?]*)(\?.*)?", url)
    if match:
        url = f"{match[1]}{folder / Path(match[2]).expanduser()}{match[3] or ''}"
    store = settings.store.model_copy(update={"url": SecretStr(url)})
    files = {
        name: folder / path.expanduser()
        for name in ("tls_certificate", "tls_key")
        if (path := getattr(settings.serving, name)) is not None
    }
    return settings.model_copy(
        update={
            "blob_root": blob_root,
            "spool_dir": folder / settings.spool_dir.expanduser(),
            "store": store,
            "serving": settings.serving.model_copy(update=files),
        }
    )
