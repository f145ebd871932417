"""What is written down of a variable: ``keep``, ``hash``, ``drop``, ``truncate``.

The same rules change a served row (here) and a column of training data
(:mod:`trueup.datasets.column_policies_arrow`), so that a hashed variable of the capture can be
compared with its baseline. Values are brought into one form first, by the variable's dtype: ``5``
in JSON and ``5.0`` in a Parquet column of doubles are the same value.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hmac
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from trueup.config.serving import ColumnPolicy
from trueup.datasets.iso_time import parse_time_us
from trueup.errors import ConfigError
from trueup.records.input_spec import (
    FLOAT_DTYPES,
    INTEGER_DTYPES,
    InputSpec,
    Kind,
    Missing,
    Variable,
)

Change = Callable[[Any], Any]
_TEXTS = ("string", "bytes")


class ColumnPolicies:
    """The policies of one model.

    :param policies: by variable; variables without one are kept.
    :param spec: the model's variables. Where a policy is at work, what a client sends beside them
        is left out: nobody has said what it is. ``None`` where they are not known.
    :param key: of the hash, 32 random bytes that stay in the store.
    :raises ConfigError: when a policy does not fit: a misspelt name would write down in plain what
        should not be.
    """

    def __init__(
        self, policies: Mapping[str, ColumnPolicy], spec: InputSpec | None, key: bytes
    ) -> None:
        self.spec = spec
        self.policies = {
            name: policy for name, policy in policies.items() if policy.policy != "keep"
        }
        self.changes: dict[str, Change | None] = {}
        variables = {} if spec is None else spec.by_name
        for name, policy in self.policies.items():
            if spec is not None and name not in variables:
                raise ConfigError(
                    f"capture.columns.{name} names no variable of the model",
                    remedy=f"its variables are {', '.join(variables)}",
                )
            self.changes[name] = _change(name, policy, variables.get(name), key)
        self._known = None if spec is None else frozenset(variables)

    @property
    def active(self) -> bool:
        """Whether any variable is not kept as it is."""
        return bool(self.changes)

    def row(self, instance: Mapping[str, Any]) -> dict[str, Any]:
        """``instance`` (values as JSON gives them) as it may be written down."""
        if not self.changes:
            return dict(instance)
        kept = {}
        for name, value in instance.items():
            if name not in self.changes:
                if self._known is None or name in self._known:
                    kept[name] = value
            elif (change := self.changes[name]) is not None:
                kept[name] = change(value)
        return kept

    def withheld(self, instance: Mapping[str, Any]) -> list[Any]:
        """The values of ``instance`` that :meth:`row` leaves out or changes."""
        return [
            value
            for name, value in instance.items()
            if name in self.changes or not (self._known is None or name in self._known)
        ]

    def captured_spec(self) -> InputSpec:
        """The variables as the capture has them: dropped ones gone, hashed ones categories."""
        if self.spec is None:
            raise ValueError("the model's variables are not known")
        kept = []
        for variable in self.spec.variables:
            policy = self.policies.get(variable.name)
            if policy is None or policy.policy == "truncate":
                kept.append(variable)
            elif policy.policy == "hash":
                hashed = {"dtype": "string", "kind": Kind.CATEGORICAL, "domain": None, "unit": ""}
                kept.append(variable.model_copy(update={**hashed, "missing": Missing()}))
        return InputSpec(variables=tuple(kept))


def _change(
    name: str, policy: ColumnPolicy, variable: Variable | None, key: bytes
) -> Change | None:
    """What is to be done with each value; ``None``: leave it out."""
    if policy.policy == "drop":
        return None
    if policy.policy == "hash":
        return leaves(hash_value(name, variable, key))
    dtype = None if variable is None else variable.dtype
    if dtype in ("timestamp", "bool"):
        raise ConfigError(
            f"capture.columns.{name}: truncate is for texts and numbers, and it is a {dtype}",
            remedy="choose hash or drop",
        )
    if dtype in INTEGER_DTYPES and policy.multiple % 1:
        raise ConfigError(
            f"capture.columns.{name}: {policy.multiple} is no multiple for integers",
            remedy="give a whole number",
        )
    return leaves(_truncate(policy, dtype))


def leaves(change: Change) -> Change:
    """``change`` applied to a value, or to each element of nested lists."""

    def apply(value: Any) -> Any:
        return [apply(element) for element in value] if isinstance(value, list) else change(value)

    return apply


def hash_value(name: str, variable: Variable | None, key: bytes) -> Change:
    """HMAC-SHA-256 (RFC 2104) of the variable's name, a zero byte and the value, in hex.

    The name is in it so that equal values of two variables do not show as such. What means missing
    stays missing (``None``).
    """
    dtype = None if variable is None else variable.dtype
    missing = Missing() if variable is None else variable.missing
    sentinels = {_canonical(value, dtype) for value in missing.sentinels}
    if missing.empty_string:
        sentinels.add(b"")
    prefix = name.encode("utf-8", "surrogatepass") + b"\0"

    def apply(value: Any) -> str | None:
        canonical = _canonical(value, dtype)
        if canonical is None or canonical in sentinels:
            return None
        return hmac.digest(key, prefix + canonical, "sha256").hex()

    return apply


def _canonical(value: Any, dtype: str | None) -> bytes | None:
    """One form of a value whatever brought it here; ``None`` for null and NaN."""
    if value is None:
        return None
    if isinstance(value, dict):
        decoded = from_b64(value)
        if decoded is not None:
            return decoded
        return json.dumps(value, sort_keys=True).encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        if dtype == "timestamp" and (moment := parse_time_us(value)) is not None:
            return str(moment).encode()
        if dtype in INTEGER_DTYPES or dtype in FLOAT_DTYPES:
            return _canonical_number_text(value, dtype)
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bool) or (dtype == "bool" and value in (0, 1)):
        return b"true" if value else b"false"
    return _canonical_number(value, dtype)


def _canonical_number_text(text: str, dtype: str | None) -> bytes | None:
    """Keys of labels come as texts, too: ``"5"`` of a number is 5."""
    try:
        return (
            str(int(text)).encode()
            if dtype in INTEGER_DTYPES
            else _canonical_number(float(text), dtype)
        )
    except ValueError:
        return text.encode("utf-8", "surrogatepass")


def _canonical_number(value: int | float, dtype: str | None) -> bytes | None:
    if isinstance(value, int) and dtype not in FLOAT_DTYPES:
        return str(value).encode()
    number = as_stored(value, dtype)
    if math.isnan(number):
        return None
    if number.is_integer() and dtype not in FLOAT_DTYPES:
        return str(int(number)).encode()
    return repr(number + 0.0).encode()  # of the two zeros the positive one


def as_stored(value: int | float, dtype: str | None) -> float:
    """``value`` as a variable of ``dtype`` holds it."""
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    if dtype == "float32":
        return ctypes.c_float(number).value
    if dtype == "float16":
        import numpy as np

        with np.errstate(over="ignore"):
            return float(np.float16(number))
    return number


def is_b64(value: Any) -> bool:
    """Whether ``value`` has the form ``{"b64": "…"}``, in which JSON carries bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def from_b64(value: Mapping[str, Any]) -> bytes | None:
    """The bytes of ``{"b64": "…"}``, padded or not; ``None`` where it holds no base64, and for any
    other object."""
    if not is_b64(value):
        return None
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _truncate(policy: ColumnPolicy, dtype: str | None) -> Change:
    """Of a value that is of another type than the variable, nothing is kept."""
    length, multiple = policy.length, policy.multiple
    text, number = truncated_kinds(policy, dtype)

    def apply(value: Any) -> Any:
        if isinstance(value, str):
            return value[:length] if text else None
        if isinstance(value, dict):
            decoded = from_b64(value)
            if decoded is None or not text:
                return None
            return {"b64": base64.b64encode(cut_bytes(decoded, length)).decode()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return floor_to(value, multiple, dtype) if number else None
        return None

    return apply


def truncated_kinds(policy: ColumnPolicy, dtype: str | None) -> tuple[bool, bool]:
    """Whether ``truncate`` is for texts here, and whether for numbers: by the variable's dtype, or
    by which of ``length`` and ``multiple`` was given where that is not known."""
    if dtype is not None:
        return dtype in _TEXTS, dtype not in _TEXTS
    given = policy.model_fields_set & {"length", "multiple"}
    return given != {"multiple"}, given != {"length"}


def cut_bytes(value: bytes, length: int) -> bytes:
    """The first ``length`` characters of UTF-8, or bytes of what is none."""
    try:
        return value.decode()[:length].encode()
    except UnicodeDecodeError:
        return value[:length]


def floor_to(value: int | float, multiple: float, dtype: str | None) -> int | float:
    """``value`` rounded down to a multiple of ``multiple``; infinities and NaN stay."""
    if isinstance(value, float) and dtype in INTEGER_DTYPES and value.is_integer():
        value = int(value)
    if isinstance(value, int) and dtype not in FLOAT_DTYPES and not multiple % 1:
        whole = int(multiple)
        return value // whole * whole
    number = as_stored(value, dtype)
    quotient = number / multiple
    return math.floor(quotient) * multiple if math.isfinite(quotient) else number
