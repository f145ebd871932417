"""An InputSpec as tensorflow-metadata's schema proto.

What the proto has fields for (type, presence, valency, domains, environments) is written there, so
that TFDV, TFX and TensorFlow Transform understand it. The rest (width of the type, kind, role,
unit, missing encodings) goes into annotation tags ``trueup.NAME=VALUE``, which they pass over and
``trueup.tfdv.schema_in`` reads back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trueup.records.input_spec import (
    FLOAT_DTYPES,
    CategoricalDomain,
    InputSpec,
    Kind,
    Missing,
    NumericDomain,
    Role,
    Variable,
)
from trueup.tfdv.files import write_message
from trueup.tfdv.protos import protos

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Feature, Schema

TAG_PREFIX = "trueup."

TRAINING, SERVING = "TRAINING", "SERVING"
"""Environments; labels are not expected in SERVING (TFDV's guide, "Schema environments")."""

_INT64 = np.iinfo(np.int64)


def to_schema(spec: InputSpec) -> Schema:
    """The schema of ``spec``.

    A variable that is not optional must be present in every example, an optional one in some.
    Ids and ignored variables get the stage DEBUG_ONLY, which TFDV does not validate. Bounds of
    floats are 32-bit in the proto and are widened to the next such number outside.
    """
    schema = protos().schema.Schema()
    if spec.with_role(Role.LABEL):
        schema.default_environment.extend([TRAINING, SERVING])
    for variable in spec.variables:
        feature = schema.feature.add(name=variable.name)
        feature.type = _type(variable)
        _presence(feature, variable)
        _domain(feature, variable)
        if variable.role is Role.LABEL:
            feature.not_in_environment.append(SERVING)
        if variable.role in (Role.ID, Role.IGNORED):
            feature.lifecycle_stage = protos().schema.DEBUG_ONLY
        feature.annotation.tag.extend(
            f"{TAG_PREFIX}{name}={value}" for name, value in _tags(variable).items()
        )
    return schema


def write_schema(spec: InputSpec, path: str | Path) -> None:
    """Writes :func:`to_schema`: text for the suffix .pbtxt, otherwise binary."""
    write_message(to_schema(spec), path)


def _type(variable: Variable) -> int:
    types = protos().schema.FeatureType
    if variable.dtype in FLOAT_DTYPES:
        return int(types.Value("FLOAT"))
    return int(types.Value("BYTES" if variable.dtype in ("string", "bytes") else "INT"))


def _presence(feature: Feature, variable: Variable) -> None:
    feature.presence.min_count = 1
    if not variable.optional:
        feature.presence.min_fraction = 1.0
    fixed = all(size >= 0 for size in variable.shape)
    if fixed and not variable.optional:
        for size in variable.shape or (1,):
            feature.shape.dim.add(size=size)
    elif fixed:
        count = int(np.prod(variable.shape, dtype=np.int64))
        feature.value_count.min = feature.value_count.max = count
    else:
        feature.value_count.min = 0


def _domain(feature: Feature, variable: Variable) -> None:
    domain = variable.domain
    if variable.dtype == "bool":
        feature.bool_domain.SetInParent()
    elif variable.dtype == "timestamp":
        feature.time_domain.integer_format = protos().schema.TimeDomain.UNIX_SECONDS
    elif variable.dtype in ("string", "bytes"):
        if isinstance(domain, CategoricalDomain):
            feature.string_domain.name = variable.name
            feature.string_domain.value.extend(domain.values)
    elif isinstance(domain, NumericDomain):
        _bounds(feature, variable, domain)
    if variable.kind is Kind.CATEGORICAL and variable.dtype not in ("bool", "string", "bytes"):
        numbers = feature.float_domain if variable.dtype in FLOAT_DTYPES else feature.int_domain
        numbers.is_categorical = True


def _bounds(feature: Feature, variable: Variable, domain: NumericDomain) -> None:
    if variable.dtype in FLOAT_DTYPES:
        if domain.low is not None:
            feature.float_domain.min = _float32(domain.low, -np.inf)
        if domain.high is not None:
            feature.float_domain.max = _float32(domain.high, np.inf)
        return
    if domain.low is not None:
        feature.int_domain.min = _whole(np.ceil(domain.low))
    if domain.high is not None:
        feature.int_domain.max = _whole(np.floor(domain.high))


def _float32(bound: float, outside: float) -> float:
    """``bound``, or the 32-bit number next to it in the direction of ``outside``."""
    with np.errstate(over="ignore"):
        near = np.float32(bound)
    inside = float(near) > bound if outside < 0 else float(near) < bound
    return float(np.nextafter(near, np.float32(outside)) if inside else near)


def _whole(bound: float) -> int:
    """``bound``, a whole number or infinite, as an int64."""
    return int(_INT64.min if bound < _INT64.min else _INT64.max if bound >= 2.0**63 else bound)


def _tags(variable: Variable) -> dict[str, str]:
    tags = {"dtype": variable.dtype, "kind": variable.kind.value}
    if variable.role is not Role.FEATURE:
        tags["role"] = variable.role.value
    for name in ("reason", "unit"):
        if value := getattr(variable, name):
            tags[name] = value
    if len(variable.shape) > 1 or any(size > 0 for size in variable.shape):
        tags["shape"] = json.dumps(variable.shape)
    if variable.missing != Missing():
        tags["missing"] = variable.missing.model_dump_json(exclude_defaults=True)
    if isinstance(variable.domain, CategoricalDomain) and variable.dtype not in (
        "string",
        "bytes",
    ):
        tags["domain"] = variable.domain.model_dump_json()
    if isinstance(variable.domain, NumericDomain) and variable.dtype in FLOAT_DTYPES:
        tags["domain"] = variable.domain.model_dump_json()  # the proto's bounds are 32-bit
    return tags


def read_tags(feature: Feature) -> dict[str, Any]:
    """The annotation tags that :func:`to_schema` wrote, by name."""
    tags = (
        tag.removeprefix(TAG_PREFIX).partition("=")
        for tag in feature.annotation.tag
        if tag.startswith(TAG_PREFIX)
    )
    return {name: value for name, _, value in tags}
