"""The shape of an input, by its first values and by its signature."""

from __future__ import annotations

from typing import Any

from trueup.serving.signature import TensorSpec
from trueup.serving.tensors import (
    HIGHEST_RANK,
    REQUIRED,
    Dims,
    Misfit,
    array_of,
    shape_of,
    shape_text,
)

Expected = tuple[int | None, ...] | None


def dims_of(value: Any, expected: Expected, missing: Any) -> Dims:
    """The shape of a value; what nulls and empty lists leave open is taken from ``expected``.

    :param missing: what ``null`` stands for, or ``REQUIRED``.
    """
    dims: list[int] = []
    while type(value) is list:
        dims.append(len(value))
        if not value:
            return completed_dims(tuple(dims), expected)
        value = value[0]
    if value is None and missing is not REQUIRED:
        return completed_dims(tuple(dims), expected)
    return tuple(dims)


def completed_dims(dims: Dims, expected: Expected) -> Dims:
    """``dims`` and the further ones of ``expected``; of those that it leaves open, 0."""
    if expected is None or len(dims) >= len(expected):
        return dims
    return (*dims, *[dim or 0 for dim in expected[len(dims) :]])


def shape_misfit(spec: TensorSpec, value: Any, dims: Dims, expected: Expected) -> str:
    """Why a value of shape ``dims`` is none of ``expected``; empty where it is."""
    if len(dims) > HIGHEST_RANK:
        return f"Expecting at most {HIGHEST_RANK} levels of lists but got: {len(dims)}"
    if expected is None:
        return ""
    if len(dims) == len(expected) and all(
        want is None or want == got for want, got in zip(expected, dims, strict=True)
    ):
        return ""
    try:  # a wrong type says more than a wrong shape
        array_of(spec, [value], shape_of(value))
    except Misfit as misfit:
        return misfit.reason
    return f"Expecting shape {shape_text(expected)} but got: {shape_text(dims)}"
