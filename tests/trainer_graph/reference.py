"""What the graph must give, value by value in Python and NumPy, without TensorFlow."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import farmhash
import numpy as np

from trueup.records.features import (
    Bucketed,
    Cross,
    Feature,
    FeaturePlan,
    Hashed,
    MissingFlag,
    Scaled,
    Vocabulary,
    Words,
)
from trueup.records.input_spec import Variable

Row = Mapping[str, Any]


def value_of(variable: Variable, row: Row) -> Any:
    """A value as the graph sees it, ``None`` where it is missing; of lists, what is present."""
    value = row[variable.name]
    if variable.shape:
        found = [_one(variable, item) for item in value or []]
        if any(size < 0 for size in variable.shape):
            return [item for item in found if item is not None]
        return found or [None] * int(np.prod(variable.shape))
    return _one(variable, value)


def _one(variable: Variable, value: Any) -> Any:
    if value is None:
        return None
    if "float" in variable.dtype:
        value = float(np.float32(value))
        return None if math.isnan(value) or value in variable.missing.sentinels else value
    if variable.dtype in ("string", "bytes", "timestamp"):
        return None if value == "" or value in variable.missing.sentinels else value
    return None if value in variable.missing.sentinels and value is not False else value


def dense(plan: FeaturePlan, row: Row) -> dict[str, float]:
    """Numbers by name."""
    inputs = {variable.name: variable for variable in plan.inputs}
    found = {}
    for feature in plan.features:
        if not isinstance(feature, (Scaled, MissingFlag)):
            continue
        variable = inputs[feature.variable]
        value = value_of(variable, row)
        if isinstance(feature, MissingFlag):
            empty = all(item is None for item in value) if variable.shape else value is None
            found[f"{variable.name} missing"] = float(empty)
        elif variable.shape == (-1,):
            parts = [_scaled(feature, item) for item in value]
            found[f"{variable.name}[0]"] = sum(parts) / len(parts) if parts else 0.0
        elif variable.shape:
            for place, item in enumerate(np.ravel(np.array(value, object))):
                found[f"{variable.name}[{place}]"] = _scaled(feature, item)
        else:
            found[variable.name] = _scaled(feature, value)
    return found


def _scaled(feature: Scaled, value: Any) -> float:
    if value is None:
        return 0.0
    clipped = min(max(float(value), feature.low), feature.high)
    if feature.log:
        clipped = math.copysign(math.log1p(abs(clipped)), clipped)
    return (clipped - feature.mean) / feature.sd


def places(plan: FeaturePlan, feature: Feature | Cross, row: Row) -> list[int]:
    """Places of a row in a category: one, or those of a bag."""
    inputs = {variable.name: variable for variable in plan.inputs}
    if isinstance(feature, Cross):
        parts = [_crossed(plan, inputs[name], row) for name in feature.variables]
        return [_hash("\x1f".join(parts), feature.buckets)]
    variable = inputs[feature.variable]
    value = value_of(variable, row)
    if isinstance(feature, Words):
        texts = [value] if not variable.shape else value
        return [
            _hash(word, feature.buckets) for text in texts if text is not None
            for word in words(text)
        ]  # fmt: skip
    if variable.shape:
        return [_place(feature, item) for item in value]
    return [_place(feature, value)]


def _place(feature: Feature, value: Any) -> int:
    if isinstance(feature, Bucketed):
        n = len(feature.boundaries)
        return n + 1 if value is None else bisect_right(feature.boundaries, float(value))
    if isinstance(feature, Vocabulary):
        n = len(feature.values)
        if value is None:
            return n + 1
        known = feature.values
        if isinstance(value, float):
            known_numbers = [float(np.float32(text)) for text in known]
            return known_numbers.index(value) if value in known_numbers else n
        return known.index(decimal(value)) if decimal(value) in known else n
    assert isinstance(feature, Hashed)
    return feature.buckets if value is None else _hash(_hashable(value), feature.buckets)


def decimal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _hashable(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else decimal(value)


def _crossed(plan: FeaturePlan, variable: Variable, row: Row) -> str:
    value = value_of(variable, row)
    for feature in plan.features:
        if isinstance(feature, Bucketed) and feature.variable == variable.name:
            return str(_place(feature, value))
    return "\x1e" if value is None else _hashable(value)


def words(text: str) -> list[str]:
    spaced = "".join(
        " " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in text.lower()
    )
    return spaced.split()


def _hash(text: str, buckets: int) -> int:
    return int(farmhash.fingerprint64(text) % (2**63 - 1) % buckets)
