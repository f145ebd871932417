"""A loaded version with all that answers its requests: signatures, lane, recorder, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trueup.records.input_spec import FLOAT_DTYPES, INTEGER_DTYPES, InputSpec, Variable
from trueup.serving.lane import Lane, LaneCounts
from trueup.serving.metrics import ModelCounts

if TYPE_CHECKING:
    from trueup.serving.attempt import Attempt
    from trueup.serving.recorder import Recorder
    from trueup.serving.saved_model import LoadedModel
    from trueup.serving.signature import Signature


class VersionLane:
    """What the application sees of one version.

    :param spec: says which variables are optional; ``None`` makes all of them required.
    """

    def __init__(
        self,
        model: str,
        version: int,
        loaded: LoadedModel,
        lane: Lane,
        recorder: Recorder,
        model_counts: ModelCounts,
        spec: InputSpec | None,
    ) -> None:
        self.model = model
        self.version = version
        self.recorder = recorder
        self.model_counts = model_counts
        self.signatures: Mapping[str, Signature] = loaded.signatures
        self.optional = optional_variables(spec)
        self._lane = lane

    def submit(self, attempt: Attempt) -> bool:
        return self._lane.submit(attempt)

    def expired(self, now_s: float) -> list[Attempt]:
        return self._lane.expired(now_s)

    def close(self, timeout_s: float) -> bool:
        """Answer what waits and end the lane; whether it ended in time."""
        return self._lane.close(timeout_s)

    @property
    def counts(self) -> LaneCounts:
        return self._lane.counts

    @property
    def waiting_rows(self) -> int:
        return self._lane.waiting_rows

    def values(self) -> dict[str, Any]:
        """For ``/metrics``."""
        return {
            "model": self.model,
            "version": self.version,
            "queue_rows": self._lane.waiting_rows,
            "batches": self._lane.counts.batches,
            "cancelled": self._lane.counts.cancelled,
            **self.model_counts.values(),
        }


def optional_variables(spec: InputSpec | None) -> dict[str, Any]:
    """What the graph receives where an optional variable is null or absent, by name.

    Floats get NaN and strings ``""`` unless the spec says otherwise; an integer or a boolean is
    optional only with a value of its own in ``missing.graph``.
    """
    if spec is None:
        return {}
    found = {}
    for variable in spec.variables:
        if variable.optional:
            value = _missing_value(variable)
            if value is not None:
                found[variable.name] = value
    return found


def _missing_value(variable: Variable) -> Any:
    given = variable.missing.graph
    if given is not None:
        # From a configuration a number may come as a float; what fits the tensor is of its type.
        if variable.dtype == "bool" and not isinstance(given, str):
            return bool(given)
        if variable.dtype in INTEGER_DTYPES and not isinstance(given, str):
            return int(given) if float(given).is_integer() else None
        return given
    if variable.dtype in FLOAT_DTYPES:
        return float("nan")
    return "" if variable.dtype in ("string", "bytes") else None
