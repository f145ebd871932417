"""Labels and answers of a model as the arrays that metrics take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trueup.errors import BadInputError, DataError
from trueup.profile.arrow import encoded
from trueup.profile.canonical import spelled
from trueup.records.training import Target

Array = NDArray[Any]

_PROBABILITY_SLACK = 1e-3
"""How far 32-bit probabilities may be outside [0, 1], and their sum from 1."""


def encode_labels(column: Any, target: Target) -> Array:
    """Labels ``(n,)`` float64: numbers, 0 or 1, or the class's place; NaN where there is none or
    where it is none of the target's classes.

    :param column: a pyarrow array as the rows have it.
    :raises DataError: texts where numbers are expected.

    >>> target = Target(label="late", task="binary", positive_above=15.0)
    >>> encode_labels(pa.array([10.0, None, 20.0]), target)
    array([ 0., nan,  1.])
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if target.task == "regression" or target.positive_above is not None:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        try:
            numbers = column.cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"label {target.label} of the gate's rows is {column.type}, and a number is needed",
                remedy="convert it, or choose another task",
            ) from error
        values = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)
        if target.positive_above is None:
            return np.where(np.isfinite(values), values, np.nan)
        return np.where(np.isnan(values), np.nan, (values > target.positive_above).astype(float))
    values, codes = encoded(column)
    if not len(values):
        return np.full(len(column), np.nan)
    known = pc.index_in(spelled(values), value_set=pa.array(target.classes, pa.string()))
    places = known.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return np.where(codes >= 0, places[np.maximum(codes, 0)], np.nan)


def as_predictions(answers: Array, target: Target, whose: str) -> Array:
    """Answers of a model as metrics take them: ``(n,)`` numbers or probabilities of class 1,
    ``(n, classes)`` probabilities. NaN stays.

    :param answers: ``(n,)`` or ``(n, k)``; two columns of a binary model are both classes'.
    :param whose: such as ``"the candidate"``, for messages.
    :raises BadInputError: another shape, or no probabilities.
    """
    answers = np.asarray(answers, dtype=np.float64)
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if target.task == "binary" and answers.ndim == 2 and answers.shape[1] == 2:
        _check_sums(answers, target, whose)
        answers = answers[:, 1]
    wanted = (len(target.classes),) if target.task == "multiclass" else ()
    if answers.shape[1:] != wanted:
        raise BadInputError(
            f"{whose} gives {answers.shape[1:] or 'one number'} a row, and a {target.task} model "
            f"of {target.label} gives {wanted or 'one number'}",
            remedy="name the right output of the signature",
        )
    if target.task == "regression":
        return answers
    with np.errstate(invalid="ignore"):
        outside = (answers < -_PROBABILITY_SLACK) | (answers > 1 + _PROBABILITY_SLACK)
    if outside.any():
        worst = answers[outside][0]
        raise BadInputError(
            f"{whose} answers {worst:.6g}, which is no probability",
            remedy="let the model end in a sigmoid or softmax",
        )
    if target.task == "multiclass":
        _check_sums(answers, target, whose)
    return np.clip(answers, 0.0, 1.0)


def _check_sums(answers: Array, target: Target, whose: str) -> None:
    sums = answers.sum(axis=1)
    with np.errstate(invalid="ignore"):
        wrong = np.abs(sums - 1.0) > _PROBABILITY_SLACK
    if wrong.any():
        raise BadInputError(
            f"{whose} answers probabilities that add up to {sums[wrong][0]:.6g}, and not to 1",
            remedy=f"let the model of {target.label} end in a softmax",
        )
