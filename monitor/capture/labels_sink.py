"""Frames of labels on their way from a segment into files of labels that wait for their row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from sqlalchemy import Engine

from trueup.config.settings import Settings
from trueup.monitor.capture.labels_files import write_waiting
from trueup.monitor.capture.labels_items import (
    DEFAULT_NAME,
    LabelRefused,
    RefusedLabels,
    waiting_row,
    waiting_table,
)
from trueup.monitor.capture.model_facts import FactsBook
from trueup.monitor.capture.parquet_file import NewFile
from trueup.records.capture import CaptureFrame
from trueup.records.input_spec import InputSpec, Role
from trueup.store.blobs import BlobRoot

MOST_LABELS = 1 << 18
"""Labels of one model that are gathered before a file is written."""


def label_name(spec: InputSpec | None) -> str:
    """What a label that is a bare value is called: as the model's label variable, if it has one."""
    named = spec.with_role(Role.LABEL) if spec is not None else ()
    return named[0].name if len(named) == 1 else DEFAULT_NAME


class WaitingSink:
    """Takes the labels of one source, and writes those of each model into files of their own.

    :param source: the segment (or file) that they come from.
    :param spec_of: the InputSpec of a model, as far as one is known.
    """

    def __init__(
        self, source: str, blobs: BlobRoot, spec_of: Callable[[str], InputSpec | None]
    ) -> None:
        self.source = source
        self._blobs, self._spec_of = blobs, spec_of
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._names: dict[str, str] = {}
        self.written: list[NewFile] = []
        self.refused = RefusedLabels()
        self.accepted = 0

    def add(self, frame: CaptureFrame, number: int) -> None:
        """The labels of a frame, which is the one of index ``number`` in its segment."""
        try:
            items = orjson.loads(frame.request)
        except orjson.JSONDecodeError:
            items = None
        if not isinstance(items, list):
            self.refused.add("a frame of labels cannot be read", f"{self.source}-{number}")
            return
        for place, item in enumerate(items):
            self.add_item(frame.model, item, f"{self.source}-{number}-{place}", frame.arrival_us)

    def add_item(self, model: str, item: object, label_id: str, arrived_us: int) -> bool:
        """One label; whether it can be used."""
        name = self._names.get(model)
        if name is None:
            name = self._names[model] = label_name(self._spec_of(model))
        try:
            row = waiting_row(item, label_id=label_id, arrived_us=arrived_us, name=name)
        except LabelRefused as error:
            self.refused.add(str(error), label_id)
            return False
        except (ValueError, TypeError, OverflowError, RecursionError):
            self.refused.add("a value in it cannot be kept", label_id)
            return False
        rows = self._rows.setdefault(model, [])
        rows.append(row)
        self.accepted += 1
        if len(rows) >= MOST_LABELS:
            self._write(model)
        return True

    def files(self) -> list[NewFile]:
        """Write what is left; all files: durable, and not yet in the manifest."""
        for model in self._rows:
            self._write(model)
        return self.written

    def _write(self, model: str) -> None:
        rows, self._rows[model] = self._rows[model], []
        if rows:
            table = waiting_table(rows)
            self.written.append(write_waiting(self._blobs, model, table, tried=False))


def label_sinks(
    settings: Settings, engine: Engine, blobs: BlobRoot
) -> Callable[[str], WaitingSink]:
    """What compaction gives the frames of labels of each segment to."""
    book = FactsBook(engine, settings)
    return lambda segment: WaitingSink(segment, blobs, lambda model: book.of(model).spec)
