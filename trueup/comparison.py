"""``trueup.compare``: two data sets in, a report out. Composes reading, profiling and deciding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trueup.baseline import Spec, Wishes, open_baseline, open_rows, side_of
from trueup.comparison_evidence import (
    KeyEvidence,
    WindowEvidence,
    key_evidence,
    window_evidence,
)
from trueup.config.compare import CompareSettings
from trueup.errors import BadInputError
from trueup.monitor.compare import decide
from trueup.profile.mapreduce import Progress, profile_dataset
from trueup.profile.window_length import window_seconds
from trueup.records.report import Report, Verdict

if TYPE_CHECKING:
    import pandas as pd


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
    slice_name: str | None = None,
    settings: CompareSettings | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare serving data with training data.

    :param training, serving: pandas or polars frames, Arrow tables, or paths, globs, folders and
        fsspec URLs of CSV, Parquet, JSON lines or TFRecord files. Of training also a profile of
        ``trueup profile``, or TFDV statistics.
    :param time, label: columns of the training data with that role; else they are recognized.
        With ``time``, windows and not rows are the unit of evidence: errors are as wide as
        training's own windows vary.
    :param window: how long a window is, such as ``1d`` or ``6h``; chosen when not given.
    :param key: columns by which rows of both sides belong together; their values are compared
        one with the other (per-row skew).
    :param ignore: columns that are not compared.
    :param spec: corrections of the inferred InputSpec: a TOML file, a schema proto of TFX (.pb,
        .pbtxt), or keys by variable name.
    :param slice_name: which slice of TFDV statistics; that of all examples when absent.
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
    wishes = Wishes(time, label, keys, tuple(ignore), spec, slice_name)
    before = open_baseline(training, wishes, workers=workers, progress=progress)
    after = open_rows(serving, "serving")
    profiles = (
        before.profile,
        profile_dataset(after, before.profile.edges, workers=workers, progress=progress),
    )
    windows, rows = WindowEvidence(()), KeyEvidence((), ())
    if time is not None and before.dataset is not None:
        windows = window_evidence(
            before.dataset, profiles, time, window=window, workers=workers, progress=progress
        )
    if keys and before.dataset is not None:
        rows = key_evidence(before.dataset, after, profiles[0].edges.spec, keys, settings)
    read = tuple(
        note if note.startswith(side.name) else f"{side.name}: {note}"
        for side in (before, after)
        for note in side.notes
    )
    report = decide(
        *profiles,
        settings,
        check_id=uuid4().hex,
        now=datetime.now(timezone.utc),
        sides=(before.side, side_of(after.name, profiles[1], len(after.schema))),
        designs=windows.designs,
        row_skew=rows.row_skew,
        notes=(*windows.notes, *rows.notes, *read),
    )
    return Comparison(report, settings)


def _shown(settings: CompareSettings) -> dict[str, str]:
    return {name: str(getattr(settings, name)) for name in type(settings).model_fields}
