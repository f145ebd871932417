"""The sources of a model's training rows, opened: files, a SQL query and the labelled capture.

It alone knows both the capture and the trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from trueup.captured_rows import CaptureWish, captured_rows
from trueup.config.settings import Settings
from trueup.config.training import DataSettings
from trueup.datasets.columns import TIME
from trueup.datasets.infer import infer_spec
from trueup.datasets.parts import UnitDataset
from trueup.errors import ConfigError, StoreError
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Role
from trueup.store.blobs import BlobRoot
from trueup.trainer.data.disk import why
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.sources import Source, files_source, query_source, refuse_absent, together
from trueup.trainer.data.splits import Quarantine, SplitRule, broken_intervals
from trueup.trainer.data.survey import newest_usable

_CLOCKS_APART = timedelta(minutes=5)
"""How far in the future an event time is still believed, as in the capture."""


@dataclass(frozen=True)
class Opened:
    """All sources of a model, and what is said of their rows.

    :param sources: of one schema. :param rule: without cuts.
    """

    dataset: UnitDataset
    sources: tuple[Source, ...]
    spec: InputSpec
    rule: SplitRule
    notes: tuple[str, ...]


def open_sources(
    settings: Settings,
    model: str,
    engine: Engine,
    blobs: BlobRoot,
    folder: Path,
    now: datetime,
    quarantined: Sequence[Quarantine],
) -> Opened | tuple[str, ...]:
    """All sources of ``model``; where there are none, notes that say why.

    :param folder: made here; holds what is copied out of the database and the capture, as long as
        the result is used.
    :param quarantined: intervals of event time in which features were broken.
    :raises BadInputError: naming the source, column or key of the configuration that is wrong.
    """
    mine = settings.model(model).training
    if not mine.label:
        raise ConfigError(
            f"[models.{model}.training] does not say what is to be predicted",
            remedy='set label = "VARIABLE" there',
        )
    with _sentences(model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        given = list(_given(settings, mine.data, folder))
        fresh, notes = _fresh(settings, model, engine, blobs, given, folder, now, quarantined)
    sources = [*given, *fresh]
    if not sources:
        return notes
    dataset, whole = together(sources, f"the training data of {model}")
    spec = _spec(dataset, settings, model)
    refuse_absent(sources, spec, model)
    rule = _rule(mine.data, mine.label, spec, now, quarantined)
    return Opened(dataset, whole, spec, rule, (*dataset.notes, *notes))


def _given(settings: Settings, data: DataSettings, folder: Path) -> Iterator[Source]:
    """Files and query of the configuration."""
    if data.sources:
        yield files_source(data.sources)
    if data.query is not None:
        url = data.query_url or settings.store.url.get_secret_value()
        kept = folder / "query"
        kept.mkdir()
        yield query_source(url, data.query, kept)


def _fresh(
    settings: Settings,
    model: str,
    engine: Engine,
    blobs: BlobRoot,
    given: Sequence[Source],
    folder: Path,
    now: datetime,
    quarantined: Sequence[Quarantine],
) -> tuple[list[Source], tuple[str, ...]]:
    """Captured rows since the newest one of ``given``, and why there are none."""
    mine = settings.model(model).training
    if not mine.data.capture:
        return [], ()
    wish = CaptureWish(model, mine.label, mine.data.time)
    changed = _changed_by_policies(settings, model)
    if given:
        dataset, whole = together(given, f"the training data of {model}")
        spec = _spec(dataset, settings, model)
        roles = {name for name in changed if name in spec.by_name and not spec[name].compared}
        changed -= roles - set(mine.data.keys)
        rule = _rule(mine.data, mine.label, spec, now, quarantined)
        newest = newest_usable(whole, spec, rule)
        time = mine.data.time
        wish = CaptureWish(
            model, mine.label, time,
            TIME if time is None else dataset.schema.field(time).type,
            "" if time is None else spec[time].unit,
            None if newest is None else newest + timedelta(microseconds=1),
            frozenset(dataset.schema.names),
        )  # fmt: skip
    if changed:
        names = ", ".join(sorted(changed))
        return [], (
            f"captured rows are left out, for the capture holds {names} of {model} under column "
            "policies, and the model is to learn from values as clients send them",
        )
    kept = folder / "capture"
    kept.mkdir()
    found = captured_rows(settings, engine, blobs, wish, kept, now)
    return [found.source] if found.source is not None else [], found.notes


def _changed_by_policies(settings: Settings, model: str) -> set[str]:
    """Variables that the capture does not hold as they came, and that are not ignored anyway."""
    mine = settings.model(model)
    return {
        name
        for name, policy in mine.capture.columns.items()
        if policy.policy != "keep"
        and mine.overrides().get(name, {}).get("role") not in (Role.IGNORED, "ignored")
    }


def _spec(dataset: Dataset, settings: Settings, model: str) -> InputSpec:
    mine = settings.model(model)
    data = mine.training.data
    # What the configuration says of variables that these data do not have is not about them.
    said = {n: table for n, table in mine.overrides().items() if n in dataset.schema.names}
    return infer_spec(
        dataset, overrides=said, time=data.time, label=mine.training.label, keys=data.keys
    )


def _rule(
    data: DataSettings,
    label: str,
    spec: InputSpec,
    now: datetime,
    quarantined: Sequence[Quarantine],
) -> SplitRule:
    return SplitRule(
        label=label,
        time=data.time,
        keys=data.keys,
        gate_share=data.gate_share,
        tune_share=data.tune_share,
        now=microseconds(now + _CLOCKS_APART),
        since=None if data.since is None else microseconds(data.since),
        until=None if data.until is None else microseconds(data.until),
        broken=broken_intervals(quarantined, spec),
    )


@contextmanager
def _sentences(model: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"rows of {model} cannot be copied to {folder}: {why(error)}",
            remedy="free space on that disk",
            retry=True,
        ) from error
