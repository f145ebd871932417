"""The columns of a Parquet file of captured rows (docs/capture.md), and the types of its inputs."""

from __future__ import annotations

import pyarrow as pa

from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Variable

TIME = pa.timestamp("us", "UTC")

INPUT, OUTPUT = "in.", "out."

DEEPEST = 16
"""Lists in lists that a column of an undeclared variable has at most; Parquet files with a hundred
can be written and not read. What is deeper is kept as JSON text."""

SOURCES = ("variable", "header", "arrival", "retimed")
"""Where an event time is from, by its code in :mod:`trueup.monitor.capture.event_time`."""

FIXED = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("alias", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("shadow", pa.bool_(), nullable=False),
        pa.field("signature", pa.string()),
        pa.field("status", pa.int64(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("arrival_time", TIME, nullable=False),
        pa.field("event_time", TIME, nullable=False),
        pa.field("event_time_source", pa.string(), nullable=False),
        pa.field("latency_us", pa.int64(), nullable=False),
        pa.field("sample_rate", pa.float64(), nullable=False),
        pa.field("readable", pa.bool_(), nullable=False),
        pa.field("raw_request", pa.string()),
        pa.field("type_errors", pa.list_(pa.string())),
    ]
)
"""What every file has, in this order; then ``in.<variable>`` and ``out.<output>``."""


def leaf_type(variable: Variable) -> pa.DataType:
    """What one value of ``variable`` is stored as. Small integers are stored as wide ones (Parquet
    packs them), so that a value out of their range is seen and not refused."""
    if variable.dtype == "float64":
        return pa.float64()
    if variable.dtype in FLOAT_DTYPES:
        return pa.float32()
    if variable.dtype == "uint64":
        return pa.uint64()
    if variable.dtype in INTEGER_DTYPES:
        return pa.int64()
    return {"bool": pa.bool_(), "bytes": pa.binary(), "timestamp": TIME}.get(
        variable.dtype, pa.string()
    )


def input_type(variable: Variable) -> pa.DataType:
    """What one row of ``variable`` is stored as: a list per dimension of its shape.

    >>> input_type(Variable(name="x", dtype="float32", kind="numeric", shape=(2, -1)))
    ListType(list<item: list<item: float>>)
    """
    return nested(leaf_type(variable), len(variable.shape))


def nested(leaf: pa.DataType, depth: int) -> pa.DataType:
    """``leaf`` in ``depth`` lists."""
    for _ in range(depth):
        leaf = pa.list_(leaf)
    return leaf


def unnested(kind: pa.DataType) -> tuple[pa.DataType, int]:
    """The innermost type of lists, and how many there are around it."""
    depth = 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return kind, depth


_LEAVES = {
    str(kind): kind
    for kind in (
        pa.null(), pa.bool_(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(),
        pa.binary(), TIME,
    )
}  # fmt: skip


def type_name(kind: pa.DataType) -> str:
    """A column's type as the manifest says it: ``[`` per list, then the leaf.

    >>> type_name(pa.list_(pa.float32()))
    '[float'
    """
    leaf, depth = unnested(kind)
    return "[" * depth + str(leaf)


def type_of(name: str) -> pa.DataType:
    """The inverse of :func:`type_name`; a string for what this release does not know."""
    leaf = name.lstrip("[")
    return nested(_LEAVES.get(leaf, pa.string()), len(name) - len(leaf))
