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
    stuck,
    default_fill,
    unit,
    time_shift,
    letter_case,
    truncation,
    type_changed,
    missing_jump,
)
EXACT = frozenset({default_fill, letter_case, truncation, type_changed})
"""Diagnoses that rest on values that agree one by one; they hold below the threshold, too."""


def diagnose(
    pair: FeaturePair, alerts: Collection[Quantity], watched: Collection[Quantity] = ()
) -> dict[Quantity, Diagnosis]:
    """The cause of each finding of a feature that has one: the first that explains it.

    :param alerts: the quantities whose effect is surely past its threshold.
    :param watched: those that moved, but by less; only exact diagnoses are tried on them.
    """
    found: dict[Quantity, Diagnosis] = {}
    for diagnosis in DIAGNOSES:
        candidates = {*alerts, *watched} if diagnosis in EXACT else set(alerts)
        candidates -= set(found)
        if not candidates:
            continue
        result = diagnosis(pair)
        if result is not None:
            found.update(dict.fromkeys(candidates & result.explains, result))
    return found
