"""What TFDV found, as frozen records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trueup.tfdv.protos import protos

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies, AnomalyInfo
    from tensorflow_metadata.proto.v0.path_pb2 import Path


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One reason why statistics do not fit a schema.

    :param feature: its path joined by dots; empty for the data set as a whole.
    :param severity: ``"ERROR"``, ``"WARNING"`` or ``"UNKNOWN"``.
    :param reason: TFDV's type, such as ``"ENUM_TYPE_UNEXPECTED_STRING_VALUES"`` (anomalies.proto
        of tensorflow-metadata lists about 80).
    :param short: a few words; ``description``: a sentence with numbers.
    """

    feature: str
    severity: str
    reason: str
    short: str
    description: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A distance that a comparator of the schema asked for, with its threshold.

    :param comparison: ``"drift"`` (against previous) or ``"skew"`` (against serving statistics).
    :param distance: ``"L_INFTY"``, ``"JENSEN_SHANNON_DIVERGENCE"`` or
        ``"NORMALIZED_ABSOLUTE_DIFFERENCE"``.
    """

    feature: str
    comparison: str
    distance: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The outcome of one validation.

    :param data_missing: the statistics are of no examples at all, and nothing was checked.
    """

    anomalies: tuple[Anomaly, ...]
    measurements: tuple[Measurement, ...]
    data_missing: bool

    @classmethod
    def of(cls, message: Anomalies) -> Validation:
        """From TFDV's proto; anomalies in the order of features, those of the data set last."""
        found: list[Anomaly] = []
        for name in sorted(message.anomaly_info):
            found += _anomalies(name, message.anomaly_info[name])
        if message.HasField("dataset_anomaly_info"):
            found += _anomalies("", message.dataset_anomaly_info)
        return cls(tuple(found), tuple(_measurements(message)), message.data_missing)


def dotted(path: Path) -> str:
    """The name that a path has in an InputSpec: its steps joined by dots."""
    return ".".join(path.step)


def _anomalies(name: str, info: AnomalyInfo) -> Iterator[Anomaly]:
    types = protos().anomalies.AnomalyInfo
    feature = dotted(info.path) or name
    severity = types.Severity.Name(info.severity)
    for reason in info.reason:
        yield Anomaly(
            feature,
            severity,
            types.Type.Name(reason.type),
            reason.short_description,
            reason.description,
        )
    if not info.reason:
        yield Anomaly(feature, severity, "UNKNOWN_TYPE", info.short_description, info.description)


def _measurements(message: Anomalies) -> Iterator[Measurement]:
    types = protos().anomalies.DriftSkewInfo.Measurement.Type
    for info in message.drift_skew_info:
        for comparison in ("drift", "skew"):
            for measured in getattr(info, f"{comparison}_measurements"):
                yield Measurement(
                    dotted(info.path),
                    comparison,
                    types.Name(measured.type),
                    measured.value,
                    measured.threshold,
                )
