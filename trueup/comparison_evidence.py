"""What ``--time`` and ``--key`` add to a comparison: errors by windows, and joined rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from trueup.config.compare import CompareSettings
from trueup.datasets.infer import closest
from trueup.errors import DataError
from trueup.monitor.row_skew import RowSkew, row_skew
from trueup.monitor.windows import Designs, design_effects
from trueup.profile.join import JoinedRows, KeyJoin
from trueup.profile.mapreduce import Progress, series_dataset
from trueup.profile.states import NumericState, Profile
from trueup.profile.window_length import ENOUGH, chosen_length, window_seconds
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Role, Variable


@dataclass(frozen=True)
class WindowEvidence:
    """Design effects of windows, and what to say of them; no effects where rows must do."""

    notes: tuple[str, ...]
    designs: Designs = field(default_factory=dict)


def window_evidence(
    training: Dataset,
    profiles: tuple[Profile, Profile],
    time: str,
    *,
    window: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> WindowEvidence:
    """How much training's windows vary, and so what the comparison's errors are.

    :param profiles: of training and of serving. :param window: such as ``1d``; chosen if absent.
    """
    before, after = (_times(profile, time) for profile in profiles)
    if before is None:
        return WindowEvidence((f"rows count as independent: training has no times in {time}",))
    length = window or chosen_length(before.raw.minimum, before.raw.maximum)
    seconds = window_seconds(length)
    series = series_dataset(
        training, profiles[0].edges, time, seconds, workers=workers, progress=progress
    )
    if len(series) < ENOUGH:
        return WindowEvidence(
            (
                f"rows count as independent: {len(series)} windows of {length} in training are too "
                f"few to tell how much windows vary (at least {ENOUGH}; a shorter --window gives "
                "more)",
            )
        )
    windows = 1 if after is None else _windows(after, seconds)
    designs = design_effects(profiles[0], series, profiles[1], windows)
    notes = [
        f"windows of {length} by {time} are the unit of evidence: {len(series)} of training, "
        f"{windows} of serving"
    ]
    if after is None:
        notes.append(f"serving has no times in {time}: it counts as one window")
    return WindowEvidence(tuple(notes), designs)


def _times(profile: Profile, time: str) -> NumericState | None:
    state = profile.features[time].numeric
    return state if state is not None and state.n else None


def _windows(times: NumericState, seconds: float) -> int:
    return int(times.raw.maximum // seconds) - int(times.raw.minimum // seconds) + 1


@dataclass(frozen=True)
class KeyEvidence:
    """Value against value of joined rows, and how the keys met."""

    notes: tuple[str, ...]
    row_skew: tuple[RowSkew, ...]


def key_evidence(
    training: Dataset,
    serving: Dataset,
    spec: InputSpec,
    keys: Sequence[str],
    settings: CompareSettings,
) -> KeyEvidence:
    """Join both sides by ``keys`` and count the differences of every variable that both have.

    :raises DataError: when a key is no column of a side, or no key of training is in serving.
    """
    _check(training, serving, spec, keys)
    time = next((v.name for v in spec.with_role(Role.TIME) if v.name in keys), None)
    join = KeyJoin(training, serving, keys, time)
    counts = join.counts()
    by = ", ".join(keys)
    if not counts.joined:
        raise DataError(
            f"no {by} occurs exactly once in {training.name} and in {serving.name}",
            remedy="name with --key the columns that tell rows apart, the same on both sides",
        )
    variables = [
        v
        for v in spec.variables
        if (v.compared or v.role is Role.TIME)
        and v.name not in keys
        and v.name in training.schema.names
        and v.name in serving.schema.names
    ]
    found: dict[str, RowSkew] = {}
    for rows in join.batches([v.name for v in variables]):
        for variable in variables:
            one = _row_skew(variable, rows, settings)
            known = found.get(variable.name)
            found[variable.name] = one if known is None else known.merge(one)
    return KeyEvidence(counts.notes(keys), tuple(found[v.name] for v in variables))


def _row_skew(variable: Variable, rows: JoinedRows, settings: CompareSettings) -> RowSkew:
    training, serving, previous = (
        None if side is None else side.column(variable.name).combine_chunks()
        for side in (rows.training, rows.serving, rows.previous)
    )
    assert training is not None and serving is not None
    threshold = settings.thresholds(variable.name).rate_points
    assert threshold is not None and math.isfinite(threshold)
    return row_skew(variable, training, serving, previous, threshold)


def _check(training: Dataset, serving: Dataset, spec: InputSpec, keys: Sequence[str]) -> None:
    for side in (training, serving):
        for key in keys:
            if key not in side.schema.names:
                raise DataError(
                    f"the key column {key!r} is not in {side.name}",
                    remedy=closest(key, list(side.schema.names)),
                )
    if len(set(keys)) < len(keys):
        raise DataError(f"the key columns {', '.join(keys)} name one twice")
