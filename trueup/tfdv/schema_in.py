"""A schema proto of TFX as an InputSpec."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from trueup.errors import DataError
from trueup.records.input_spec import (
    CategoricalDomain,
    Dtype,
    InputSpec,
    Kind,
    Missing,
    NumericDomain,
    Role,
    Variable,
)
from trueup.tfdv.files import read_schema
from trueup.tfdv.protos import protos
from trueup.tfdv.schema import SERVING, read_tags

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Feature, Schema

#: Stages that TFDV does not validate (schema_util.cc).
UNUSED_STAGES = ("PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED")


def from_schema(schema: Schema) -> InputSpec:
    """The InputSpec that ``schema`` describes, with features of structs as ``a.b``.

    Without our tags floats are float32 and integers int64, as in tf.Example; a feature that is not
    in the environment SERVING is a label; one of a stage that TFDV does not validate is ignored.
    Lost are comparators, distribution constraints, sparse and weighted features and the
    environments other than SERVING.

    :raises DataError: when a feature has no type, or contradicts itself.
    """
    return InputSpec(
        variables=tuple(
            _variable(schema, name, feature) for name, feature in leaves(schema.feature)
        )
    )


def open_schema(path: str | Path) -> InputSpec:
    """The InputSpec of the schema in ``path`` (text or binary)."""
    try:
        return from_schema(read_schema(path))
    except DataError as error:
        raise DataError(f"{path}: {error.message}", remedy=error.remedy) from error


def leaves(
    features: Iterable[Feature], parents: tuple[str, ...] = ()
) -> Iterator[tuple[str, Feature]]:
    """Features with their names, those of structs with the path joined by dots."""
    for feature in features:
        path = (*parents, feature.name)
        if feature.HasField("struct_domain"):
            yield from leaves(feature.struct_domain.feature, path)
        else:
            yield ".".join(path), feature


def _variable(schema: Schema, name: str, feature: Feature) -> Variable:
    tags = read_tags(feature)
    dtype, kind = _dtype_and_kind(schema, name, feature)
    role, reason = _role(feature)
    fields: dict[str, Any] = {
        "name": name,
        "dtype": tags.get("dtype", dtype),
        "kind": tags.get("kind", kind.value),
        "shape": tuple(json.loads(tags["shape"])) if "shape" in tags else _shape(feature),
        "role": tags.get("role", role.value),
        "reason": tags.get("reason", "" if tags else reason),
        "optional": feature.presence.min_fraction < 1.0,
        "unit": tags.get("unit", ""),
    }
    if "missing" in tags:
        fields["missing"] = Missing.model_validate_json(tags["missing"])
    try:
        fields["domain"] = (
            json.loads(tags["domain"]) if "domain" in tags else _domain(schema, feature)
        )
        return Variable.model_validate(fields)
    except ValidationError as error:
        reasons = "; ".join(problem["msg"] for problem in error.errors())
        raise DataError(f"feature {name!r} of the schema cannot be used: {reasons}") from error


def _dtype_and_kind(schema: Schema, name: str, feature: Feature) -> tuple[Dtype, Kind]:
    type_name = protos().schema.FeatureType.Name(feature.type)
    domain = feature.WhichOneof("domain_info")
    if domain == "time_domain":
        return ("timestamp", Kind.TIME) if type_name == "INT" else ("string", Kind.TIME)
    if type_name == "BYTES":
        text = domain in ("natural_language_domain", "url_domain", "image_domain")
        dtype: Dtype = "bytes" if domain == "image_domain" else "string"
        return dtype, Kind.TEXT if text else Kind.CATEGORICAL
    if type_name == "INT" and domain == "bool_domain":
        return "bool", Kind.CATEGORICAL
    if type_name == "INT":
        return "int64", Kind.CATEGORICAL if feature.int_domain.is_categorical else Kind.NUMERIC
    if type_name == "FLOAT":
        categories = feature.float_domain.is_categorical
        return "float32", Kind.CATEGORICAL if categories else Kind.NUMERIC
    raise DataError(
        f"feature {name!r} of the schema has no type that can be profiled ({type_name})",
        remedy="give it type INT, FLOAT or BYTES",
    )


def _shape(feature: Feature) -> tuple[int, ...]:
    """``()`` for one value per example, else the fixed shape, else ``(-1,)``."""
    if feature.HasField("shape"):
        sizes = tuple(dimension.size for dimension in feature.shape.dim)
        return () if sizes in ((), (1,)) else sizes
    if feature.HasField("value_count"):
        counts = feature.value_count
        if counts.max == 1:
            return ()
        return (counts.max,) if counts.min == counts.max and counts.max > 1 else (-1,)
    return (-1,) if feature.HasField("value_counts") else ()


def _role(feature: Feature) -> tuple[Role, str]:
    stage = protos().schema.LifecycleStage.Name(feature.lifecycle_stage)
    if feature.deprecated or stage in UNUSED_STAGES:
        return Role.IGNORED, f"its stage in the schema is {stage}"
    if SERVING in feature.not_in_environment:
        return Role.LABEL, f"the schema does not expect it in {SERVING}"
    return Role.FEATURE, ""


def _domain(schema: Schema, feature: Feature) -> NumericDomain | CategoricalDomain | None:
    kind = feature.WhichOneof("domain_info")
    if kind == "domain":
        named = {domain.name: tuple(domain.value) for domain in schema.string_domain}
        values = named.get(feature.domain)
        return None if values is None else CategoricalDomain(values=values)
    if kind == "string_domain" and feature.string_domain.value:
        return CategoricalDomain(values=tuple(feature.string_domain.value))
    if kind in ("int_domain", "float_domain"):
        bounds = getattr(feature, kind)
        number = _as_written if kind == "float_domain" else float
        low = number(bounds.min) if bounds.HasField("min") else None
        high = number(bounds.max) if bounds.HasField("max") else None
        if low is not None or high is not None:
            return NumericDomain(low=low, high=high)
    return None


def _as_written(bound: float) -> float:
    """The shortest decimal of a 32-bit number: 0.9, where the proto keeps 0.8999999761581421 and
    every 0.9 in the data would lie outside."""
    return float(str(np.float32(bound)))
