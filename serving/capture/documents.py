"""Bodies of predict requests as one object per row, where they cannot be kept as they were sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from trueup.datasets.column_policies import is_b64
from trueup.serving.json_parts import LARGE, parse_in_parts

_DEPTH = 500

Rows = list[dict[str, Any]]


def read_json(body: bytes) -> Any:
    """``body`` parsed; ``NaN`` and the infinities are numbers, as TensorFlow Serving has them.

    :raises ValueError: when it is no JSON, or nested beyond reason.
    """
    if len(body) > LARGE:  # in a thread that does not want to hold up the others
        return parse_in_parts(body, _read, max_depth=_DEPTH)
    return _read(body)


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        try:
            return json.loads(body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def write_json(document: Any) -> bytes:
    """The bytes of ``document``, also with what strict JSON has no form for (infinities, integers
    beyond 64 bits, lone surrogates)."""
    # orjson writes null for them, which would be another value: it is asked first whether it can.
    try:
        if _is_strict(document):
            return orjson.dumps(document)
    except (TypeError, RecursionError):
        pass
    return json.dumps(document, separators=(",", ":")).encode()


def _is_strict(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_strict, value.values()))
    if isinstance(value, list):
        return all(map(_is_strict, value))
    return not isinstance(value, float) or value - value == 0.0


def rows_of(document: Any, inputs: Sequence[str], rows: int) -> Rows | None:
    """The rows of a predict request; ``None`` where it has none that can be told apart.

    :param inputs: names of the signature's inputs: a bare value is of the only one.
    :param rows: how many there are, where that is known, else 0.
    """
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        return None
    if "inputs" in document:
        return _rows_of_columns(document["inputs"], inputs, rows)
    instances = document["instances"]
    if not isinstance(instances, list):
        return None
    found: Rows = []
    for instance in instances:
        if isinstance(instance, dict) and not is_b64(instance):
            found.append(instance)
        elif len(inputs) == 1:
            found.append({inputs[0]: instance})
        else:
            return None
    return found or None


def _rows_of_columns(columns: Any, inputs: Sequence[str], rows: int) -> Rows | None:
    if not isinstance(columns, dict) or is_b64(columns):
        if len(inputs) != 1:
            return None
        columns = {inputs[0]: columns}
    lengths = {len(column) for column in columns.values() if isinstance(column, list)}
    if len(lengths) > 1 or (rows and lengths and lengths != {rows}):
        return None  # an input without a batch dimension: nobody can say whose value that is
    count = lengths.pop() if lengths else max(rows, 1)
    if not columns or not count:
        return None
    return [
        {
            name: column[row] if isinstance(column, list) else column
            for name, column in columns.items()
        }
        for row in range(count)
    ]
