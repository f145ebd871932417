"""The smallest change that this many rows can show: "a change below … cannot be seen"."""

from __future__ import annotations

import math
from types import MappingProxyType

from scipy import special

from trueup.monitor.evidence import log_variance_error, pooled_kurtosis
from trueup.monitor.measured import FeaturePair, Limits
from trueup.monitor.quantities.moments import counted, scale_of
from trueup.monitor.windows import Designs
from trueup.records.input_spec import Kind
from trueup.records.report import Quantity

POWER = 0.8
"""Probability with which a change of the stated size is found (Cohen 1988's convention)."""


def minimum_detectable(
    pair: FeaturePair,
    limits: Limits,
    alpha: float,
    tests: int,
    designs: Designs = MappingProxyType({}),
) -> dict[str, float]:
    """Effects that are found with probability 0.8 even if every other quantity is unchanged.

    ``(z(1 - α/2K) + z(0.8)) · error``, where K is the number of quantities of the report: the
    first step of Benjamini-Hochberg. Empty where a side is too small.

    :param designs: design effects of windows; without them rows count as independent.
    :return: by name: ``"mean (sd)"``, ``"mean"`` (in the feature's unit), ``"variance (%)"``,
        ``"missing (points)"``.
    """
    factor = float(special.ndtri(1 - alpha / (2 * max(tests, 1))) + special.ndtri(POWER))
    largest = max((d for (name, _), d in designs.items() if name == pair.name), default=1.0)

    def widened(error: float, quantity: Quantity) -> float:
        return factor * error * math.sqrt(designs.get((pair.name, quantity), largest))

    before, after = pair.training, pair.serving
    result: dict[str, float] = {}
    if min(before.rows, after.rows) < limits.min_rows:
        return result
    rate = max(before.missing / before.rows, 0.5 / before.rows)
    rate_error = math.sqrt(rate * (1 - rate) * (1 / before.rows + 1 / after.rows))
    result["missing (points)"] = 100 * min(1.0, widened(rate_error, Quantity.MISSING))
    if before.numeric is None or after.numeric is None or pair.variable.kind is Kind.TIME:
        return result
    old, new = counted(before.numeric, after.numeric)
    if min(old.n, new.n) < limits.min_rows or old.m2 <= 0.0:
        return result
    in_sd = widened(math.sqrt(1 / old.n + 1 / new.n), Quantity.MEAN)
    kurtosis = float(pooled_kurtosis(new.n, new.m2, new.m4, old.n, old.m2, old.m4))
    result["mean (sd)"] = in_sd
    result["mean"] = in_sd * scale_of(old, new)
    error = widened(float(log_variance_error(new.n, old.n, kurtosis)), Quantity.VARIANCE)
    if error < math.log(100.0):  # beyond a hundredfold the number says nothing
        result["variance (%)"] = 100 * math.expm1(error)
    return result
