"""Metrics of predictions, and what a block bootstrap needs of each: columns that are summed.

Every metric is a smooth function of sums over rows, and the function is homogeneous of degree 0
(doubling the data changes nothing). So a block of rows is known by its sums alone, and drawing
blocks anew is a product of matrices.

Labels: ``(n,)``, 0 or 1 for binary, the class's place for multiclass, numbers for regression.
Predictions: ``(n,)`` probabilities of class 1 or numbers; ``(n, classes)`` for multiclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trueup.errors import BadInputError

Array = NDArray[Any]
Task = Literal["regression", "binary", "multiclass"]

PROBABILITY_FLOOR = 1e-7
"""Probabilities below count as this in the log-loss: about the spacing of float32 at 1, below which
a model of 32 bits cannot say how sure it is. Bounds a row's loss by 16.1 nats."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "regression": ("mae", "rmse"),
    "binary": ("log_loss", "brier", "auc", "accuracy"),
    "multiclass": ("log_loss", "brier", "accuracy"),
}
HIGHER_IS_BETTER = frozenset({"auc", "accuracy"})
UNITS = {"log_loss": "nats"}


def resolve(metric: str, task: Task) -> str:
    """The metric that ``metric`` means; ``auto`` is ``log_loss`` for classes, ``mae`` for numbers.

    :raises BadInputError: it is none for the task.
    """
    if metric == "auto":
        return ALLOWED[task][0]
    if metric not in ALLOWED[task]:
        raise BadInputError(
            f"gate.metric = {metric!r} is no metric of a {task} model",
            remedy=f"use one of {', '.join(ALLOWED[task])}",
        )
    return metric


def row_losses(metric: str, labels: Array, predictions: Array) -> Array:
    """What each row contributes to a metric that is a mean over rows; ``(n,)`` float64.

    ======== ==================================================== ===========
    log_loss ``-ln p(label)``, p floored at 1e-7                  ``[0, 16.1]``
    brier    binary ``(p - y)²``; multiclass ``Σ_c (p_c - y_c)²`` ``[0, 1]``; ``[0, 2]``
    accuracy 1 where the likeliest class is the label             ``{0, 1}``
    mae      ``|p - y|``                                          ``[0, ∞)``
    rmse     ``(p - y)²``, the root of whose mean is the metric   ``[0, ∞)``
    ======== ==================================================== ===========

    Empty input gives an empty array.

    >>> row_losses("brier", np.array([1.0, 0.0]), np.array([0.5, 0.1])).round(2).tolist()
    [0.25, 0.01]
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    if metric in ("mae", "rmse"):
        error = predictions - labels
        return np.abs(error) if metric == "mae" else error * error
    if predictions.ndim == 1:
        if metric == "log_loss":
            of_label = np.where(labels > 0.5, predictions, 1.0 - predictions)
            return -np.log(np.clip(of_label, PROBABILITY_FLOOR, 1.0))
        if metric == "brier":
            return np.square(predictions - labels)
        return ((predictions >= 0.5) == (labels > 0.5)).astype(np.float64)
    places = np.asarray(labels, dtype=np.int64)
    of_label = predictions[np.arange(len(places)), places]
    if metric == "log_loss":
        return -np.log(np.clip(of_label, PROBABILITY_FLOOR, 1.0))
    if metric == "brier":
        return np.square(predictions).sum(axis=1) - 2.0 * of_label + 1.0
    return (predictions.argmax(axis=1) == places).astype(np.float64)


def placements(labels: Array, scores: Array) -> tuple[float, Array]:
    """AUC with the part that each row has in it (DeLong, DeLong, Clarke-Pearson 1988).

    The AUC is a U-statistic over pairs of a positive and a negative row: the share of pairs in
    which the positive one has the higher score, ties by half. A row's placement is the share of its
    own pairs that are right. ``O(n log n)`` by ranks.

    :return: the AUC in ``[0, 1]`` (NaN without both classes) and placements ``(n,)``.

    >>> placements(np.array([0.0, 0.0, 1.0]), np.array([0.1, 0.6, 0.4]))
    (0.5, array([1. , 0. , 0.5]))
    """
    positive = np.asarray(labels) > 0.5
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    result = np.full(len(scores), np.nan)
    if not len(above) or not len(below):
        return float("nan"), result
    wins = np.searchsorted(below, scores[positive], "left")
    ties = np.searchsorted(below, scores[positive], "right") - wins
    result[positive] = (wins + 0.5 * ties) / len(below)
    losses = len(above) - np.searchsorted(above, scores[~positive], "right")
    ties = len(above) - losses - np.searchsorted(above, scores[~positive], "left")
    result[~positive] = (losses + 0.5 * ties) / len(above)
    return float(result[positive].mean()), result


@dataclass(frozen=True, eq=False)
class Statistic:
    """A metric, or the improvement in one, as a function of summed columns.

    :param columns: ``(n, k)``: what is summed over the rows.
    :param value: sums ``(…, k)`` to values ``(…)``; NaN or infinite where it is not defined.
    :param gradient: sums ``(…, k)`` to derivatives ``(…, k)``.
    """

    columns: Array
    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]


def metric_value(metric: str, labels: Array, predictions: Array) -> float:
    """The metric over all rows; NaN without rows, and of the AUC without both classes."""
    if not len(labels):
        return float("nan")
    if metric == "auc":
        return placements(labels, predictions)[0]
    mean = float(row_losses(metric, labels, predictions).mean())
    return float(np.sqrt(mean)) if metric == "rmse" else mean


def single(metric: str, labels: Array, predictions: Array) -> Statistic:
    """The metric of one version."""
    if metric == "auc":
        area, parts = placements(labels, predictions)
        return _pairs(labels, parts - area, area)
    losses = row_losses(metric, labels, predictions)
    return _root_mean(losses) if metric == "rmse" else mean_of(losses)


def improvement(metric: str, labels: Array, candidate: Array, other: Array) -> Statistic:
    """How much better the candidate is: above 0 it is, whichever way the metric points.

    The AUC enters by its Hájek projection: with placements V of the positive and W of the negative
    rows, ``AUC - θ ≈ mean(V - θ) + mean(W - θ)``, whose remainder has a variance of order
    1/(positives · negatives). It is a sum over rows, so that blocks can be drawn as for any mean.
    """
    if metric == "auc":
        new_area, new = placements(labels, candidate)
        area, old = placements(labels, other)
        return _pairs(labels, (new - new_area) - (old - area), new_area - area)
    new, old = (row_losses(metric, labels, scores) for scores in (candidate, other))
    if metric == "rmse":
        return _root_mean_difference(old, new)
    return mean_of(new - old if metric in HIGHER_IS_BETTER else old - new)


def mean_of(values: Array) -> Statistic:
    """``Σx / n``."""

    def value(sums: Array) -> Array:
        return np.divide(sums[..., 0], sums[..., 1])

    def gradient(sums: Array) -> Array:
        n = sums[..., 1]
        return np.stack([1.0 / n, -sums[..., 0] / n**2], axis=-1)

    return Statistic(np.column_stack([values, np.ones(len(values))]), value, gradient)


def _root_mean(squares: Array) -> Statistic:
    """``√(Σx / n)``."""

    def value(sums: Array) -> Array:
        return np.sqrt(sums[..., 0] / sums[..., 1])

    def gradient(sums: Array) -> Array:
        n, root = sums[..., 1], value(sums)
        by_sum = _half_over(root) / n
        return np.stack([by_sum, -by_sum * sums[..., 0] / n], axis=-1)

    return Statistic(np.column_stack([squares, np.ones(len(squares))]), value, gradient)


def _root_mean_difference(old: Array, new: Array) -> Statistic:
    """``√(Σold / n) - √(Σnew / n)``."""

    def value(sums: Array) -> Array:
        return np.sqrt(sums[..., 0] / sums[..., 2]) - np.sqrt(sums[..., 1] / sums[..., 2])

    def gradient(sums: Array) -> Array:
        n = sums[..., 2]
        by_old = _half_over(np.sqrt(sums[..., 0] / n)) / n
        by_new = -_half_over(np.sqrt(sums[..., 1] / n)) / n
        by_n = -(by_old * sums[..., 0] + by_new * sums[..., 1]) / n
        return np.stack([by_old, by_new, by_n], axis=-1)

    return Statistic(np.column_stack([old, new, np.ones(len(old))]), value, gradient)


def _half_over(root: Array) -> Array:
    """``1 / (2 root)``, 0 where the root is: a version without any error has no spread."""
    return np.divide(0.5, root, out=np.zeros_like(root), where=root > 0)


def _pairs(labels: Array, parts: Array, area: float) -> Statistic:
    """``area + Σ⁺x / n⁺ + Σ⁻x / n⁻``."""
    positive = (np.asarray(labels) > 0.5).astype(np.float64)
    columns = np.column_stack(
        [parts * positive, positive, parts * (1.0 - positive), 1.0 - positive]
    )

    def value(sums: Array) -> Array:
        return area + sums[..., 0] / sums[..., 1] + sums[..., 2] / sums[..., 3]

    def gradient(sums: Array) -> Array:
        return np.stack(
            [
                1.0 / sums[..., 1],
                -sums[..., 0] / sums[..., 1] ** 2,
                1.0 / sums[..., 3],
                -sums[..., 2] / sums[..., 3] ** 2,
            ],
            axis=-1,
        )

    return Statistic(columns, value, gradient)
