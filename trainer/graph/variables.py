"""How raw variables look in the graph, in examples and in the signature; no TensorFlow in it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, Missing, Variable

MISSING_INTEGER = -(2**63)
"""What the graph receives for a missing integer, unless the variable has a value of its own; lists
of integers are filled up with it."""

GraphDtype = Literal["float32", "int64", "bool", "string"]


def graph_dtype(variable: Variable) -> GraphDtype:
    """The type that parser and signature give to preprocessing and to users' functions: floats are
    float32, as examples hold no others, integers int64; times and bytes are strings."""
    if variable.dtype in FLOAT_DTYPES:
        return "float32"
    if variable.dtype in INTEGER_DTYPES:
        return "int64"
    return "bool" if variable.dtype == "bool" else "string"


def signature_dtype(variable: Variable) -> str:
    """The type by which clients give it."""
    return "string" if graph_dtype(variable) == "string" else variable.dtype


def missing_value(variable: Variable) -> float | int | bool | str:
    """What the graph receives where the variable is missing, of its :func:`graph_dtype`."""
    given = variable.missing.graph
    dtype = graph_dtype(variable)
    if dtype == "float32":
        return float("nan") if given is None or isinstance(given, str) else float(given)
    if dtype == "int64":
        return MISSING_INTEGER if given is None or isinstance(given, str) else int(given)
    if dtype == "bool":
        return False if given is None or isinstance(given, str) else bool(given)
    return "" if given is None else str(given)


def missing_numbers(variable: Variable) -> tuple[float, ...]:
    """Numbers that mean missing besides NaN and :data:`MISSING_INTEGER`."""
    found = [float(value) for value in variable.missing.sentinels if not isinstance(value, str)]
    given = variable.missing.graph
    if isinstance(given, (int, float)) and given == given and given != MISSING_INTEGER:
        found.append(float(given))
    return tuple(found)


def missing_texts(variable: Variable) -> tuple[str, ...]:
    """Texts that mean missing; without a word of its own the empty one does."""
    found = [str(value) for value in variable.missing.sentinels]
    given = variable.missing.graph
    if isinstance(given, str):
        found.append(given)
    if given is None or variable.missing.empty_string:
        found.append("")
    return tuple(dict.fromkeys(found))


def as_input(variable: Variable, seen_missing: bool) -> Variable:
    """The variable as the signature has it: optional where training saw it missing, with what the
    graph receives then. An integer without a sentinel of its own becomes an int64, which has room
    for one."""
    optional = variable.optional or seen_missing
    missing = variable.missing
    dtype = variable.dtype
    kind = graph_dtype(variable)
    if kind == "int64" and (optional or variable.multi_valued):
        if missing.graph is None or isinstance(missing.graph, str):
            dtype = "int64"
        missing = _with_graph(missing, int(missing_value(variable)))
    elif kind == "bool" and optional:
        missing = _with_graph(missing, int(missing_value(variable)))
    return variable.model_copy(update={"optional": optional, "missing": missing, "dtype": dtype})


def _with_graph(missing: Missing, graph: int) -> Missing:
    return missing.model_copy(update={"graph": graph})


def list_size(variable: Variable) -> int | None:
    """Number of values of a row: ``None`` where it varies; 1 of a scalar."""
    if any(size < 0 for size in variable.shape):
        return None
    return int(np.prod(variable.shape, dtype=np.int64))
