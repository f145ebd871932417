"""Calibration: whether of the rows given 30 % some 30 % are positive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trueup.records.gate import Limits
from trueup.trainer.gate.blocks import Blocks
from trueup.trainer.gate.bootstrap import Drawings

Array = NDArray[Any]

BINS = 15
"""Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (ICML 2017)."""


def bin_places(confidences: Array, bins: int = BINS) -> Array:
    """Bin of each row ``(n,)``: bins of equally many rows, equal confidences in one bin."""
    edges = np.unique(np.quantile(confidences, np.arange(1, bins) / bins))
    return np.searchsorted(edges, confidences, side="right")


def calibration_gaps(labels: Array, predictions: Array) -> tuple[Array, Array]:
    """Per row: how sure the model was, and whether it was right; of binary models the probability
    of class 1 and the label, of multiclass the likeliest class's probability and whether it is the
    label."""
    if predictions.ndim == 1:
        return predictions, np.asarray(labels, dtype=np.float64)
    top = predictions.argmax(axis=1)
    return predictions.max(axis=1), (top == labels).astype(np.float64)


def expected_calibration_error(labels: Array, predictions: Array) -> float:
    """``ECE = Σ_b n_b/n |mean(confidence) - mean(right)|`` over 15 bins of equally many rows; in
    ``[0, 1]``, 0 without rows.

    >>> expected_calibration_error(np.array([0.0, 1.0] * 50), np.full(100, 0.7)).__round__(3)
    0.2
    """
    if not len(labels):
        return 0.0
    sure, right = calibration_gaps(labels, predictions)
    return float(np.abs(np.bincount(bin_places(sure), sure - right)).sum() / len(labels))


def calibration_limits(
    labels: Array, predictions: Array, blocks: Blocks, drawings: Drawings, confidence: float
) -> tuple[float, Limits]:
    """The ECE net of its bias, with limits.

    Even a calibrated model has an ECE above 0 on finite data. The bias is estimated by the
    bootstrap (Efron, Tibshirani 1993, section 10.2): ``2 ECE - mean(ECE*)``, at least 0; limits by
    Student's t with the standard deviation of the drawings. At least 2 blocks.
    """
    sure, right = calibration_gaps(labels, predictions)
    places = bin_places(sure)
    gaps = np.zeros((blocks.count, int(places.max()) + 1))
    np.add.at(gaps, (blocks.ids, places), sure - right)
    sizes = np.bincount(blocks.ids, minlength=blocks.count).astype(np.float64)
    value = float(np.abs(gaps.sum(axis=0)).sum() / sizes.sum())
    drawn = np.abs(drawings.counts @ gaps).sum(axis=1) / (drawings.counts @ sizes)
    net = max(0.0, 2 * value - float(drawn.mean()))
    half = float(special.stdtrit(blocks.count - 1, confidence)) * float(drawn.std(ddof=1))
    return net, Limits(
        low=max(0.0, net - half),
        high=min(1.0, net + half),
        low_confidence=confidence,
        high_confidence=confidence,
    )
