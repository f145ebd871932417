"""Rows with every kind of variable, as a table, as examples and as tensors."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from trueup.config.training import TrainingSettings
from trueup.profile.build import profile_batches
from trueup.profile.first_pass import edges_of
from trueup.profile.states import Profile
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.trainer.features import PlannedFeatures, find_target, plan_features
from trueup.trainer.graph.variables import MISSING_INTEGER

Rows = dict[str, list[Any]]

CITIES = ("Oslo", "Zürich", "São Paulo", "Ōsaka", "Lyon")
WORDS = ("late", "storm", "Gate", "crew", "fuel", "ICE", "calm", "clear")

SPEC = InputSpec(
    variables=(
        Variable(name="temp", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="fare", dtype="float32", kind=Kind.NUMERIC),
        Variable(name="seats", dtype="int64", kind=Kind.NUMERIC),
        Variable(name="month", dtype="int32", kind=Kind.NUMERIC),
        Variable(name="carrier", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="tail", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="code", dtype="int64", kind=Kind.CATEGORICAL),
        Variable(name="night", dtype="bool", kind=Kind.CATEGORICAL),
        Variable(name="remark", dtype="string", kind=Kind.TEXT),
        Variable(name="tags", dtype="string", kind=Kind.CATEGORICAL, shape=(-1,)),
        Variable(name="delays", dtype="float32", kind=Kind.NUMERIC, shape=(-1,)),
        Variable(name="stops", dtype="int64", kind=Kind.NUMERIC, shape=(-1,)),
        Variable(name="wind", dtype="float32", kind=Kind.NUMERIC, shape=(3,)),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
        Variable(name="label", dtype="float64", kind=Kind.NUMERIC, role=Role.LABEL),
    )
)


def make_rows(count: int, seed: int = 1, missing: float = 0.1) -> Rows:
    """Rows; a share ``missing`` of the values is ``None``, but of ``seats``, ``night``, ``at``."""
    chance = np.random.default_rng(seed)

    def gaps(values: Sequence[Any]) -> list[Any]:
        gone = chance.random(count) < missing
        return [None if g else v for g, v in zip(gone, values, strict=True)]

    def some(pick: Sequence[Any], most: int) -> list[list[Any]]:
        sizes = chance.integers(0, most + 1, count)
        return [[pick[i] for i in chance.integers(0, len(pick), size)] for size in sizes]

    temp = chance.normal(50, 15, count).round(1)
    fare = chance.lognormal(4, 1.2, count)
    carrier = chance.choice(CITIES, count)
    signal = (temp - 50) / 15 + np.where(carrier == "Oslo", 1.5, -0.5)
    numbers = [float(n) for n in chance.normal(5, 3, 40)]
    return {
        "temp": gaps(temp.tolist()),
        "fare": gaps([float(np.float32(f)) for f in fare]),
        "seats": chance.integers(20, 400, count).tolist(),
        "month": gaps(chance.integers(1, 13, count).tolist()),
        "carrier": gaps(carrier.tolist()),
        "tail": gaps([f"N{n:05d}" for n in chance.integers(0, 1500, count)]),
        "code": gaps((10 ** chance.integers(3, 12, count)).tolist()),
        "night": (chance.random(count) < 0.3).tolist(),
        "remark": gaps([", ".join(words) for words in some(WORDS, 6)]),
        "tags": gaps(some(CITIES, 4)),
        "delays": gaps(some(numbers, 5)),
        "stops": gaps(some(range(8), 4)),
        "wind": gaps(chance.normal(0, 4, (count, 3)).astype(np.float32).tolist()),
        "at": [f"2024-01-{day:02d}T00:00:00Z" for day in chance.integers(1, 29, count)],
        "label": (2.0 * signal + 5.0 + 0.1 * chance.normal(size=count)).tolist(),
    }


TYPES: dict[str, pa.DataType] = {
    "float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "int32": pa.int32(),
    "string": pa.string(), "bool": pa.bool_(), "timestamp": pa.string(), "bytes": pa.binary(),
}  # fmt: skip


def table_of(rows: Rows, spec: InputSpec = SPEC) -> pa.RecordBatch:
    arrays = {}
    for variable in spec.variables:
        kind = TYPES[variable.dtype]
        values = rows[variable.name]
        arrays[variable.name] = pa.array(values, pa.list_(kind) if variable.shape else kind)
    return pa.RecordBatch.from_pydict(arrays)


def profile_of(rows: Rows, spec: InputSpec = SPEC) -> Profile:
    batch = table_of(rows, spec)
    return profile_batches([batch], edges_of([batch], spec))


def planned(rows: Rows, settings: TrainingSettings, spec: InputSpec = SPEC) -> PlannedFeatures:
    profile = profile_of(rows, spec)
    return plan_features(profile, spec, settings, find_target(profile, spec, settings))


def settings_of(**given: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"label": "label", **given})


def example(row: Mapping[str, Any]) -> bytes:
    """A ``tf.train.Example`` from its wire format: floats, integers and booleans, strings."""
    entries = b""
    for name, value in row.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        key = _field(1, name.encode())
        entries += _field(1, key + _field(2, _feature(values)))
    return _field(1, entries)


def _feature(values: list[Any]) -> bytes:
    if not values:
        return b""
    first = values[0]
    if isinstance(first, (str, bytes)):
        texts = [v.encode() if isinstance(v, str) else v for v in values]
        return _field(1, b"".join(_field(1, text) for text in texts))
    if isinstance(first, float):
        return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
    return _field(3, _field(1, b"".join(_varint(int(v) % 2**64) for v in values)))


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def examples(rows: Rows) -> list[bytes]:
    names = list(rows)
    return [
        example(dict(zip(names, values, strict=True)))
        for values in zip(*rows.values(), strict=True)
    ]


def as_served(rows: Rows, variable: Variable) -> np.ndarray:
    """A column as the server's tensors have it, missing values encoded as the InputSpec says."""
    missing: Any = variable.missing.graph
    numbers = variable.dtype not in ("string", "bytes", "timestamp")
    if missing is None:
        missing = float("nan") if "float" in variable.dtype else MISSING_INTEGER if numbers else ""
    column = rows[variable.name]
    if variable.shape == (-1,):
        width = max((len(v) for v in column if v is not None), default=0)
        column = [[*(v or []), *[missing] * (width - len(v or []))] for v in column]
    elif variable.shape:
        size = int(np.prod(variable.shape))
        column = [[missing] * size if v is None else v for v in column]
    else:
        column = [missing if v is None else v for v in column]
    if not numbers:
        found = np.empty(np.shape(column) if column else (0,), object)
        found[...] = np.array(column, object).reshape(found.shape)
        return found
    return np.array(column, variable.dtype)
