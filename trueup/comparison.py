"""``trueup.compare``: two data sets in, a report out. Composes reading, profiling and deciding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trueup.comparison_evidence import (
    KeyEvidence,
    WindowEvidence,
    key_evidence,
    window_evidence,
)
from trueup.config.compare import CompareSettings
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import SpecOverrides, load_spec_overrides
from trueup.errors import BadInputError
from trueup.monitor.compare import decide
from trueup.profile.mapreduce import Progress, first_pass_dataset, profile_dataset
from trueup.profile.states import Profile
from trueup.profile.window_length import window_seconds
from trueup.records.dataset import Dataset
from trueup.records.input_spec import Role
from trueup.records.report import Report, Side, Verdict

if TYPE_CHECKING:
    import pandas as pd

Spec = SpecOverrides | Mapping[str, Mapping[str, Any]] | str | Path


@dataclass(frozen=True)
class Comparison:
    """A report that displays itself: as text, as a page in Jupyter, as a pandas frame.

    :param report: the whole result, version 1 of the schema.
    """

    report: Report
    settings: CompareSettings = field(default_factory=CompareSettings)

    @property
    def verdict(self) -> Verdict:
        return self.report.verdict

    def to_frame(self) -> pd.DataFrame:
        """One row per finding, in the order of rank."""
        import pandas as pd

        rows = []
        for finding in self.report.findings:
            row = finding.model_dump(
                mode="json", exclude={"evidence", "cause", "interval", "trend", "other_effects"}
            )
            row["p_adjusted"] = finding.evidence.p_adjusted
            row["cause"] = finding.cause.statement if finding.cause else None
            row["low"] = finding.interval.low if finding.interval else None
            row["high"] = finding.interval.high if finding.interval else None
            rows.append(row)
        return pd.DataFrame(rows)

    def to_json(self) -> str:
        """Report v1 (docs/schemas/report-v1.json)."""
        return self.report.model_dump_json()

    def to_html(self) -> str:
        """One self-contained page."""
        from trueup.web.report_html import report_html

        return report_html(self.report, settings=_shown(self.settings))

    def save(self, path: str | Path) -> None:
        """Write the page to ``path``."""
        Path(path).write_text(self.to_html(), encoding="utf-8")

    def _repr_html_(self) -> str:
        from markupsafe import escape

        return (
            '<iframe sandbox="allow-scripts" title="Trueup report" width="100%" height="720" '
            f'style="border:0" srcdoc="{escape(self.to_html())}"></iframe>'
        )

    def __repr__(self) -> str:
        reasons = "; ".join(self.report.reasons)
        return f"<Comparison: {self.verdict.value}: {reasons}>"


def compare(
    training: Any,
    serving: Any,
    *,
    time: str | None = None,
    window: str | None = None,
    key: str | Sequence[str] = (),
    label: str | None = None,
    ignore: Sequence[str] = (),
    spec: Spec | None = None,
    settings: CompareSettings | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare serving data with training data.

    :param training, serving: pandas or polars frames, Arrow tables, or paths, globs, folders and
        fsspec URLs of CSV, Parquet, JSON lines or TFRecord files.
    :param time, label: columns of the training data with that role; else they are recognized.
        With ``time``, windows and not rows are the unit of evidence: errors are as wide as
        training's own windows vary.
    :param window: how long a window is, such as ``1d`` or ``6h``; chosen when not given.
    :param key: columns by which rows of both sides belong together; their values are compared
        one with the other (per-row skew).
    :param ignore: columns that are not compared.
    :param spec: corrections of the inferred InputSpec: a TOML file, or keys by variable name.
    :param progress: called with the weight that is done and the total of the present pass.
    :raises DataError: when a data set cannot be read; the message names file and column.

    >>> import pandas
    >>> frame = pandas.DataFrame({"fare": [float(i % 97) for i in range(2000)]})
    >>> compare(frame, frame * 3).verdict.value
    'drift'
    """
    settings = settings or CompareSettings()
    keys = (key,) if isinstance(key, str) else tuple(key)
    if window is not None:
        if time is None:
            raise BadInputError("a window needs a time", remedy="name the time column too")
        window_seconds(window)
    before = open_dataset(training, name=None if _is_path(training) else "training")
    after = open_dataset(serving, name=None if _is_path(serving) else "serving")
    overrides = load_spec_overrides(Path(spec)) if isinstance(spec, str | Path) else spec
    inferred = infer_spec(before, overrides=overrides, time=time, label=label)
    if ignore:
        inferred = _without(inferred, ignore, before.name)
    edges = first_pass_dataset(before, inferred, workers=workers, progress=progress)
    profiles = (
        profile_dataset(before, edges, workers=workers, progress=progress),
        profile_dataset(after, edges, workers=workers, progress=progress),
    )
    windows, rows = WindowEvidence(()), KeyEvidence((), ())
    if time is not None:
        windows = window_evidence(
            before, profiles, time, window=window, workers=workers, progress=progress
        )
    if keys:
        rows = key_evidence(before, after, inferred, keys, settings)
    read = tuple(f"{d.name}: {note}" for d in (before, after) for note in d.notes)
    report = decide(
        *profiles,
        settings,
        check_id=uuid4().hex,
        now=datetime.now(timezone.utc),
        sides=(_side(before, profiles[0]), _side(after, profiles[1])),
        designs=windows.designs,
        row_skew=rows.row_skew,
        notes=(*windows.notes, *rows.notes, *read),
    )
    return Comparison(report, settings)


def _is_path(source: Any) -> bool:
    import os

    return isinstance(source, str | os.PathLike)


def _without(spec: Any, ignore: Sequence[str], source: str) -> Any:
    from trueup.datasets.infer import closest
    from trueup.errors import DataError

    for name in ignore:
        if name not in spec.by_name:
            raise DataError(
                f"the ignored column {name!r} is not in {source}",
                remedy=closest(name, list(spec.by_name)),
            )
    return type(spec)(
        variables=tuple(
            v.model_copy(update={"role": Role.IGNORED, "reason": "ignored by the user"})
            if v.name in ignore
            else v
            for v in spec.variables
        )
    )


def _side(dataset: Dataset, profile: Profile) -> Side:
    first = last = None
    for variable in profile.edges.spec.with_role(Role.TIME):
        state = profile.features[variable.name].numeric
        if state is not None and state.n:
            first, last = (
                datetime.fromtimestamp(seconds, timezone.utc)
                for seconds in (state.raw.minimum, state.raw.maximum)
            )
    return Side(
        name=dataset.name,
        rows=profile.rows,
        columns=len(dataset.schema),
        first_time=first,
        last_time=last,
    )


def _shown(settings: CompareSettings) -> dict[str, str]:
    return {name: str(getattr(settings, name)) for name in type(settings).model_fields}
