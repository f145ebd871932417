"""All diagnoses of one feature, the surest first."""

from __future__ import annotations

from collections.abc import Collection

from trueup.monitor.causes.default_fill import default_fill
from trueup.monitor.causes.diagnosis import Diagnosis
from trueup.monitor.causes.missing_jump import missing_jump
from trueup.monitor.causes.schema import type_changed
from trueup.monitor.causes.spelling import letter_case, truncation
from trueup.monitor.causes.stuck import stuck
from trueup.monitor.causes.time_shift import time_shift
from trueup.monitor.causes.unit import unit
from trueup.monitor.measured import FeaturePair
from trueup.records.report import Quantity

DIAGNOSES = (
    type_changed, stuck, default_fill, unit, time_shift, letter_case, truncation, missing_jump,
)  # fmt: skip


def diagnose(pair: FeaturePair, alerts: Collection[Quantity]) -> dict[Quantity, Diagnosis]:
    """The cause of each alert of a feature that has one: the first that explains it.

    :param alerts: the quantities whose effect is past its threshold. Nothing is diagnosed that
        is not an alert.
    """
    found: dict[Quantity, Diagnosis] = {}
    if not alerts:
        return found
    for diagnosis in DIAGNOSES:
        open_alerts = set(alerts) - set(found)
        if not open_alerts:
            break
        result = diagnosis(pair)
        if result is not None:
            found.update(dict.fromkeys(open_alerts & result.explains, result))
    return found
