"""Schema inference and anomalies by TFDV itself, one child process per call.

For several calls in a row open one :class:`~trueup.tfdv.process.TfdvProcess`: importing TFDV costs
5 to 15 s each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.tfdv.anomalies import Anomaly
from trueup.tfdv.process import DEFAULT_TIMEOUT_S, TfdvProcess

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList


def infer_schema(
    statistics: DatasetFeatureStatisticsList, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Schema:
    """``tfdv.infer_schema``; errors as of :class:`~trueup.tfdv.process.TfdvProcess`."""
    with TfdvProcess(timeout_s=timeout_s) as tfdv:
        return tfdv.infer_schema(statistics)


def validate(
    statistics: DatasetFeatureStatisticsList,
    schema: Schema,
    *,
    previous: DatasetFeatureStatisticsList | None = None,
    serving: DatasetFeatureStatisticsList | None = None,
    environment: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> list[Anomaly]:
    """``tfdv.validate_statistics``, skew and drift comparators included.

    :param previous: what drift comparators look at; ``serving``: what skew comparators look at.
    """
    with TfdvProcess(timeout_s=timeout_s) as tfdv:
        validation = tfdv.validate(
            statistics, schema, previous=previous, serving=serving, environment=environment
        )
    return list(validation.anomalies)
