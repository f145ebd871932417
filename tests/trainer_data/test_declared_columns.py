"""Columns as the InputSpec declares them, whatever type they arrive in."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from trueup.records.input_spec import InputSpec, Missing, Variable
from trueup.trainer.data.declared import declared, declared_array, declared_type

NAN = float("nan")


def variable(dtype: str, **more: Any) -> Variable:
    kind = {"string": "categorical", "bytes": "categorical", "bool": "categorical",
            "timestamp": "time"}.get(dtype, "numeric")  # fmt: skip
    return Variable.model_validate({"name": "v", "dtype": dtype, "kind": kind, **more})


@pytest.mark.parametrize(
    ("array", "dtype", "values", "misfits"),
    [
        (pa.array([1, None, 3], pa.int32()), "int64", [1, None, 3], 0),
        (pa.array([1.0, NAN, None, 2.5]), "int64", [1, None, None, None], 1),
        (pa.array([1e300, -5.0]), "int64", [None, -5], 1),
        (pa.array(["7", " 8 ", "", "x", None]), "int64", [7, 8, None, None, None], 1),
        (pa.array([2**64 - 1, 5], pa.uint64()), "int64", [None, 5], 1),
        (pa.array([2**64 - 1, 5], pa.uint64()), "uint64", [2**64 - 1, 5], 0),
        (pa.array([-1, 5]), "uint64", [None, 5], 1),
        (pa.array([1.5, NAN, None]), "float64", [1.5, None, None], 0),
        (pa.array(["1e3", "NaN", "no"]), "float64", [1000.0, None, None], 1),
        (pa.array([True, None]), "float32", [1.0, None], 0),
        (pa.array(["true", "0", "maybe"]), "bool", [True, False, None], 1),
        (pa.array([0, 1, 2]), "bool", [False, True, None], 1),
        (pa.array([5, 1545]), "string", ["5", "1545"], 0),
        (pa.array([5.0, None, 0.5]), "string", ["5", None, "0.5"], 0),
        (pa.array([b"a", None], pa.binary()), "string", ["a", None], 0),
        (pa.array(["é"]), "bytes", ["é".encode()], 0),
        (pa.nulls(2), "float32", [None, None], 0),
        (pa.array(["AA", "AA"]).dictionary_encode(), "string", ["AA", "AA"], 0),
        (pa.array([["a"], [], None, ["a", "b"]]), "string", ["a", None, None, None], 1),
    ],
)
def test_values_become_what_is_declared(
    array: pa.Array, dtype: str, values: list[Any], misfits: int
) -> None:
    found, failed = declared_array(array, variable(dtype))
    assert found.to_pylist() == values
    assert failed == misfits
    assert found.type == declared_type(variable(dtype))


def test_lists_keep_their_rows() -> None:
    many = variable("int64", shape=(-1,))
    array = pa.array([[1, None, 3], None, [], ["4"][:0], [5]], pa.list_(pa.int64()))
    assert declared_array(array, many)[0].to_pylist() == [[1, 3], None, [], [], [5]]
    assert declared_array(pa.array([1, None]), many)[0].to_pylist() == [[1], None]
    floats = variable("float32", shape=(-1,))
    found = declared_array(pa.array([[1.0, None]]).slice(0), floats)[0].to_pylist()
    assert found[0][0] == 1.0 and found[0][1] != found[0][1]  # NaN keeps its place


def test_nan_stays_where_it_does_not_mean_missing() -> None:
    kept = variable("float64", missing=Missing(nan=False))
    found, _ = declared_array(pa.array([NAN, None]), kept)
    assert found.null_count == 1


def test_sentinels_stay_for_the_graph_knows_them() -> None:
    number = variable("float64", missing=Missing(sentinels=(-999,)))
    assert declared_array(pa.array([-999.0, 1.0]), number)[0].to_pylist() == [-999.0, 1.0]


@pytest.mark.parametrize(
    ("array", "unit"),
    [
        (pa.array(["2013-01-01T10:00:00Z", "2013-01-01 05:00:00-05:00", "soon", None]), ""),
        (pa.array([1_357_034_400, 1_357_034_400, 2**62, None]), "s"),
        (pa.array([1_357_034_400_000, 1_357_034_400_000, 2**63 - 1, None]), "ms"),
    ],
)
def test_times_in_many_forms(array: pa.Array, unit: str) -> None:
    found, failed = declared_array(array, variable("timestamp", unit=unit))
    ten = datetime(2013, 1, 1, 10, tzinfo=timezone.utc)
    assert found.cast(pa.int64()).to_pylist() == [int(ten.timestamp()) * 10**6] * 2 + [None] * 2
    assert failed == 1


def test_a_variable_that_is_not_there_is_missing() -> None:
    spec = InputSpec(variables=(variable("float32"),))
    found = declared(pa.record_batch([pa.array([1, 2])], names=["other"]), spec)
    assert found.columns["v"].to_pylist() == [None, None]
