"""A schema proto as corrections of an inferred InputSpec: ``--spec schema.pbtxt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.datasets.infer import closest
from trueup.datasets.spec_toml import SpecOverrides
from trueup.errors import DataError
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.tfdv.schema import read_tags
from trueup.tfdv.schema_in import from_schema, leaves

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema

SCHEMA_SUFFIXES = (".pb", ".pbtxt", ".textproto")


def is_schema_path(path: str | Path) -> bool:
    """Whether the name is that of a schema proto, not of a TOML file."""
    return Path(path).suffix in SCHEMA_SUFFIXES


def corrections(schema: Schema, inferred: InputSpec, source: str) -> SpecOverrides:
    """What ``schema`` changes in ``inferred``, the InputSpec of the data themselves.

    A schema that we wrote changes all that it says. One of TFX changes what the data cannot
    tell: which numbers are categories, which strings numbers or text, which features are labels or
    no longer used, and domains; types and shapes stay those of the data (a proto knows three
    types). Columns that the schema does not name stay as they are.

    :param source: the schema's file, for messages.
    :raises DataError: when a required feature is no column of the data.
    """
    tagged = {name for name, feature in leaves(schema.feature) if read_tags(feature)}
    columns = inferred.by_name
    tables: dict[str, dict[str, Any]] = {}
    for variable in from_schema(schema).variables:
        name = variable.name
        if name not in columns:
            if variable.role is Role.FEATURE and not variable.optional:
                raise DataError(
                    f"{source} requires feature {name!r}, which is no column of the data",
                    remedy=closest(name, columns),
                )
        elif name in tagged:
            tables[name] = variable.model_dump(mode="json", exclude={"name", "shape"})
        elif table := _changes(variable, columns[name]):
            tables[name] = table
    return SpecOverrides(source, tables)


def _changes(declared: Variable, inferred: Variable) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if declared.role is not Role.FEATURE:
        table |= {"role": declared.role.value, "reason": declared.reason}
    if declared.domain is not None:
        table["domain"] = declared.domain.model_dump()
    if declared.kind is Kind.TIME or inferred.kind is Kind.TIME:
        return table
    words = ("string", "bytes")
    if declared.kind is Kind.NUMERIC and inferred.dtype in words:
        return table | {"dtype": "float64", "kind": Kind.NUMERIC.value}
    codes = declared.dtype in words and inferred.dtype not in words  # such as postal codes
    categories = declared.dtype not in words and declared.kind is Kind.CATEGORICAL
    if codes or categories:
        table["kind"] = Kind.CATEGORICAL.value
    elif declared.kind is Kind.TEXT or declared.domain is not None:
        table["kind"] = declared.kind.value
    return table
