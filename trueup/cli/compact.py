"""``trueup compact``: captured requests become rows in Parquet and profiles of windows, now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trueup.cli.options import ConfigOption, JsonOption

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from trueup.cli.progress import Update
    from trueup.config.settings import Settings
    from trueup.monitor.capture.compact import CompactionReport
    from trueup.store.blobs import BlobRoot


def compact(
    config: ConfigOption = None,
    json: JsonOption = False,
    follow: Annotated[
        bool,
        typer.Option("--follow/--once", help="Go on, each time segments are sealed, until Ctrl-C."),
    ] = False,
    clean: Annotated[
        bool,
        typer.Option(
            "--clean/--no-clean",
            help="Also drop what is older than its model's retention time, and orphaned files.",
        ),
    ] = True,
) -> None:
    """Turn what servers wrote to the spool of this machine into Parquet files and profiles.

    Running it at any time, several times at once, or again after it was killed is safe.
    """
    from trueup.config.load import load
    from trueup.store.blobs import BlobRoot
    from trueup.store.schema import open_store

    settings = load(config)
    engine, blobs = open_store(settings.store), BlobRoot(settings.blob_root)
    try:
        failed = _pass(settings, engine, blobs, json=json, clean=clean)
        while follow:
            _wait(settings)
            failed = _pass(settings, engine, blobs, json=json, clean=clean, quiet=True)
    finally:
        engine.dispose()
    if failed:
        raise typer.Exit(1)


def _wait(settings: Settings) -> None:
    import time

    time.sleep(min(settings.capture.segment_age.total_seconds() / 2, 10.0))


def _pass(
    settings: Settings,
    engine: Engine,
    blobs: BlobRoot,
    *,
    json: bool,
    clean: bool,
    quiet: bool = False,
) -> bool:
    """One run; whether something could not be compacted.

    :param quiet: say nothing of a run in which nothing was to do.
    """
    from dataclasses import asdict
    from datetime import datetime, timezone

    import orjson

    from trueup.cli.progress import progress_on_stderr
    from trueup.monitor.capture.compact import compact_once
    from trueup.monitor.capture.labels_sink import label_sinks

    now = datetime.now(timezone.utc)
    sinks = label_sinks(settings, engine, blobs)
    with progress_on_stderr("compacting", quiet=json) as progress:
        report = compact_once(settings, engine, blobs, now, labels=sinks, progress=progress)
        labelled = _join_labels(settings, engine, blobs, now)
        profiled = _profile_missing(settings, engine, blobs, now, progress)
        merged = _consolidate(settings, engine, blobs, now)
        cleaned = _clean(settings, engine, blobs, now) if clean else {}
    if quiet and not (report.compacted or report.failed or report.recovered):
        return False
    if json:
        found = {
            **asdict(report), "labelled": labelled, "profiled": profiled,
            "put_together": merged, **cleaned,
        }  # fmt: skip
        typer.echo(orjson.dumps(found).decode())
    else:
        for line in [*_lines(report, labelled, profiled, cleaned), *_merged_lines(merged)]:
            typer.echo(line)
    return bool(report.failed)


def _join_labels(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> dict[str, int]:
    """Rows that found their labels, by model."""
    from trueup.monitor.capture.labels_join import join_all_labels

    found = join_all_labels(settings, engine, blobs, now)
    return {name: report.labelled for name, report in found.items() if report.labelled}


def _profile_missing(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime, progress: Update | None
) -> dict[str, int]:
    """Rows that were profiled because their model has a (new) baseline now, by model."""
    from sqlalchemy import select

    from trueup.monitor.capture.backfill import profile_missing
    from trueup.store.engine import reading
    from trueup.store.tables import baselines

    with reading(engine) as connection:
        names = connection.scalars(select(baselines.c.model).distinct()).all()
    found = {
        name: profile_missing(settings, engine, blobs, name, now, progress=progress)
        for name in sorted(names)
    }
    return {name: report.rows for name, report in found.items() if report.sources}


def _consolidate(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> dict[str, dict[str, int]]:
    """Small files that were put together, and into how many, by model."""
    from trueup.monitor.capture.consolidate import consolidate_all

    found = consolidate_all(settings, engine, blobs, now)
    return {
        name: {
            "files": report.replaced, "into": report.files, "unreadable": len(report.unreadable)
        }
        for name, report in found.items()
        if report.replaced or report.unreadable
    }  # fmt: skip


def _merged_lines(merged: dict[str, dict[str, int]]) -> list[str]:
    lines = [
        f"{name}: {_many(count['files'], 'small file')} put together into {count['into']:,}."
        for name, count in merged.items()
        if count["files"]
    ]
    return lines + [
        f"{name}: {_many(count['unreadable'], 'file')} of its capture cannot be read."
        for name, count in merged.items()
        if count["unreadable"]
    ]


def _clean(
    settings: Settings, engine: Engine, blobs: BlobRoot, now: datetime
) -> dict[str, dict[str, int]]:
    from dataclasses import asdict

    from trueup.monitor.capture.consolidate import drop_retired
    from trueup.monitor.capture.orphans import collect_orphans
    from trueup.monitor.capture.retention import retention
    from trueup.store.unfinished_imports import give_up_unfinished

    drop_retired(engine, blobs, now)
    dropped = retention(settings, engine, blobs, now)
    orphans = collect_orphans(engine, blobs, now)
    given_up = give_up_unfinished(engine, blobs, now)
    return {
        "retention": asdict(dropped), "orphans": {"deleted": len(orphans.deleted)},
        "imports": {f"{each.model} version {each.version}": each.files for each in given_up},
    }  # fmt: skip


def _lines(
    report: CompactionReport,
    labelled: dict[str, int],
    profiled: dict[str, int],
    cleaned: dict[str, dict[str, int]],
) -> list[str]:
    """The summary, in sentences."""
    counts = report.counts
    lines = [_first(report)]
    said = {
        "refused": counts.refused,
        "of shadows": counts.shadow,
        "behind the watermark": counts.late,
        "with an event time that was not believed": counts.retimed,
        "that could not be read": counts.unreadable,
    }
    notable = [f"{count:,} {what}" for what, count in said.items() if count]
    if notable:
        lines.append(f"Among them: {', '.join(notable)}.")
    if counts.type_errors:
        lines.append(f"{counts.type_errors:,} values were not of their variable's type.")
    if report.label_frames:
        lines.append(f"{report.label_frames:,} batches of labels were taken in.")
    if report.lost_bytes:
        lines.append(f"Damage: {report.lost_bytes:,} bytes were no frames and are lost.")
    lines += _set_aside(report)
    if report.busy:
        lines.append(f"{_many(report.busy, 'segment')} left to other processes.")
    lines += [f"{name}: {rows:,} rows found their labels." for name, rows in labelled.items()]
    lines += [f"{name}: {rows:,} earlier rows profiled." for name, rows in profiled.items()]
    dropped: dict[str, Any] = cleaned.get("retention", {})
    if dropped.get("files"):
        lines.append(
            f"Past retention: {_many(dropped['files'], 'file')} with {dropped['rows']:,} rows "
            "dropped."
        )
    orphans = cleaned.get("orphans", {}).get("deleted", 0)
    if orphans:
        lines.append(f"{_many(orphans, 'orphaned file')} deleted.")
    lines += [
        f"{name}: its import came to nothing; {_many(files, 'file')} deleted."
        for name, files in cleaned.get("imports", {}).items()
    ]
    lines += report.problems
    lines += [f"Not compacted, {name}: {why}" for name, why in report.failed.items()]
    return lines


def _set_aside(report: CompactionReport) -> list[str]:
    if not report.set_aside:
        return []
    why = "; ".join(f"{reason} ({n:,})" for reason, n in report.set_aside_reasons.items())
    frames = _many(report.set_aside, "frame")
    return [f"Set aside, for they could not be read: {frames}, kept as they are. Why: {why}"]


def _first(report: CompactionReport) -> str:
    if not report.compacted:
        return "Nothing was compacted." if report.failed else "There was nothing to compact."
    rows = max(report.counts.rows, 1)
    return (
        f"{_many(report.compacted, 'segment')} compacted: {report.counts.rows:,} rows in "
        f"{_many(report.files, 'file')}, {report.bytes_written / rows:.0f} bytes per row "
        f"({report.bytes_read / rows:.0f} in the spool)."
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
