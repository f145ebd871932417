"""Schemas both ways, and what TFDV makes of ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.protobuf import text_format

from trueup.errors import DataError
from trueup.profile.states import Profile
from trueup.records.input_spec import (
    CategoricalDomain,
    InputSpec,
    Kind,
    Missing,
    NumericDomain,
    Role,
    Variable,
)
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos
from trueup.tfdv.schema import to_schema, write_schema
from trueup.tfdv.schema_in import from_schema, open_schema
from trueup.tfdv.statistics import to_statistics

N, C, T = Kind.NUMERIC, Kind.CATEGORICAL, Kind.TEXT
SPEC = InputSpec(
    variables=(
        Variable(name="temp", dtype="float32", kind=N, unit="°F", optional=True),
        Variable(name="share", dtype="float64", kind=N, domain=NumericDomain(low=0.1, high=0.9)),
        Variable(name="age", dtype="int16", kind=N, domain=NumericDomain(low=0)),
        Variable(name="code", dtype="int64", kind=C, domain=CategoricalDomain(values=("1", "7"))),
        Variable(name="carrier", dtype="string", kind=C, domain=CategoricalDomain(values=("UA",))),
        Variable(name="remark", dtype="string", kind=T, missing=Missing(empty_string=True)),
        Variable(name="raw", dtype="bytes", kind=C, optional=True),
        Variable(name="late", dtype="bool", kind=C),
        Variable(name="when", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
        Variable(name="tags", dtype="string", kind=C, shape=(-1,), optional=True),
        Variable(name="pixels", dtype="uint8", kind=N, shape=(2, 3)),
        Variable(name="pair", dtype="float64", kind=N, shape=(2,), optional=True),
        Variable(name="row", dtype="int64", kind=N, role=Role.ID, reason="counts up = an id"),
        Variable(name="old", dtype="int64", kind=N, role=Role.IGNORED, reason="not used"),
        Variable(
            name="tip", dtype="float64", kind=N, role=Role.LABEL, missing=Missing(sentinels=(-1,))
        ),
    )
)


@pytest.mark.parametrize("name", ["schema.pbtxt", "schema.pb"])
def test_a_spec_goes_out_and_comes_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_schema(SPEC, path)
    assert open_schema(path) == SPEC


def test_a_schema_says_what_tfdv_understands() -> None:
    schema = to_schema(SPEC)
    features = {feature.name: feature for feature in schema.feature}
    assert features["temp"].presence.min_fraction == 0.0
    assert features["temp"].value_count.max == 1
    assert features["share"].presence.min_fraction == 1.0
    assert features["share"].float_domain.min <= 0.1 < features["share"].float_domain.max
    assert features["share"].float_domain.max >= 0.9
    assert [dim.size for dim in features["pixels"].shape.dim] == [2, 3]
    assert features["age"].int_domain.min == 0
    assert not features["age"].int_domain.HasField("max")
    assert list(features["carrier"].string_domain.value) == ["UA"]
    assert features["code"].int_domain.is_categorical
    assert list(features["tip"].not_in_environment) == ["SERVING"]
    assert list(schema.default_environment) == ["TRAINING", "SERVING"]


FOREIGN = """
feature { name: "fare" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } float_domain { min: 0 } skew_comparator {
          jensen_shannon_divergence { threshold: 0.1 } } }
feature { name: "company" type: BYTES domain: "companies" presence { min_count: 1 }
          value_count { min: 1 max: 1 } }
feature { name: "zone" type: INT int_domain { min: 1 max: 265 is_categorical: true } }
feature { name: "flag" type: INT bool_domain {} }
feature { name: "start" type: INT time_domain { integer_format: UNIX_SECONDS } }
feature { name: "note" type: BYTES natural_language_domain {} value_count { min: 1 } }
feature { name: "old" type: INT lifecycle_stage: DEPRECATED }
feature { name: "tips" type: FLOAT not_in_environment: "SERVING" }
feature { name: "trip" type: STRUCT struct_domain { feature { name: "miles" type: FLOAT
          shape { dim { size: 1 } } } } }
string_domain { name: "companies" value: "Flash" value: "Yellow" }
default_environment: "TRAINING" default_environment: "SERVING"
"""


def test_a_schema_of_tfx_becomes_a_spec() -> None:
    spec = from_schema(text_format.Parse(FOREIGN, protos().schema.Schema()))
    found = {v.name: (v.dtype, v.kind, v.shape, v.role, v.optional) for v in spec.variables}
    feature = Role.FEATURE
    assert found == {
        "fare": ("float32", N, (), feature, False),
        "company": ("string", C, (), feature, True),
        "zone": ("int64", C, (), feature, True),
        "flag": ("bool", C, (), feature, True),
        "start": ("timestamp", Kind.TIME, (), feature, True),
        "note": ("string", T, (-1,), feature, True),
        "old": ("int64", N, (), Role.IGNORED, True),
        "tips": ("float32", N, (), Role.LABEL, True),
        "trip.miles": ("float32", N, (), feature, True),
    }
    assert spec["fare"].domain == NumericDomain(low=0.0)
    assert spec["company"].domain == CategoricalDomain(values=("Flash", "Yellow"))
    assert "DEPRECATED" in spec["old"].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('feature { name: "x" }', "'x' of the schema has no type"),
        ('feature { name: "x" type: FLOAT float_domain { min: 2 max: 1 } }', "above high"),
    ],
)
def test_a_schema_that_cannot_be_used_names_the_feature(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_schema(text_format.Parse(text, protos().schema.Schema()))


def test_a_file_that_is_no_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "schema.pbtxt"
    path.write_text("carrier: UA")
    with pytest.raises(DataError, match=r"schema\.pbtxt"):
        open_schema(path)


@pytest.mark.heavy
def test_tfdv_finds_no_fault_in_our_schema_with_our_statistics(
    tfdv: TfdvProcess,
    flights: pd.DataFrame,
    lists: pd.DataFrame,
    profile_of: Callable[..., Profile],
) -> None:
    for frame in (flights, lists):
        profile = profile_of(frame)
        schema = to_schema(profile.edges.spec)
        for categorical in (False, True):
            statistics = to_statistics(profile, categorical_numbers=categorical)
            assert tfdv.validate(statistics, schema).anomalies == ()


@pytest.mark.heavy
def test_anomalies_of_our_schema_are_found_by_tfdv(
    tfdv: TfdvProcess, flights: pd.DataFrame, profile_of: Callable[..., Profile]
) -> None:
    profile = profile_of(flights)
    variables: list[Any] = []
    for variable in profile.edges.spec.variables:
        update: dict[str, Any] = {}
        if variable.name == "distance":
            update = {"domain": NumericDomain(low=100, high=3000)}
        if variable.name == "dep_delay":
            update = {"optional": False}
        if variable.name == "carrier":
            update = {"role": Role.LABEL, "domain": CategoricalDomain(values=("UA", "AA"))}
        variables.append(variable.model_copy(update=update))
    schema = to_schema(InputSpec(variables=tuple(variables)))
    statistics = to_statistics(profile)
    anomalies = tfdv.validate(statistics, schema, environment="TRAINING").anomalies
    assert {(a.feature, a.reason) for a in anomalies} == {
        ("distance", "INT_TYPE_BIG_INT"),
        ("distance", "INT_TYPE_SMALL_INT"),
        ("dep_delay", "FEATURE_TYPE_LOW_FRACTION_PRESENT"),
        ("dep_delay", "INVALID_FEATURE_SHAPE"),
        ("carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"),
    }
    assert all(a.severity == "ERROR" and a.description and a.short for a in anomalies)
    serving = tfdv.validate(statistics, schema, environment="SERVING").anomalies
    assert ("carrier", "SCHEMA_NEW_COLUMN") in {(a.feature, a.reason) for a in serving}
