"""A data set as the capture would hold it: each batch goes through the model's column policies.

Otherwise a hashed column of the traffic would look wholly unseen beside plain training data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from trueup.config.serving import ModelCaptureSettings
from trueup.datasets.column_policies import ColumnPolicies
from trueup.datasets.column_policies_arrow import apply_to_batch
from trueup.records.dataset import Dataset, Partition
from trueup.store.capture_key import capture_key

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class PolicedDataset:
    """``dataset`` behind ``policies``; implements :class:`trueup.records.dataset.Dataset`."""

    dataset: Dataset
    policies: ColumnPolicies

    @classmethod
    def of(
        cls, dataset: Dataset, model: str, capture: ModelCaptureSettings, engine: Engine
    ) -> PolicedDataset:
        key = capture_key(engine, model)
        return cls(dataset, ColumnPolicies(capture.columns, None, key))

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def schema(self) -> pa.Schema:
        schema: pa.Schema = apply_to_batch(self.policies, self.dataset.schema.empty_table()).schema
        return schema

    @property
    def notes(self) -> tuple[str, ...]:
        names = ", ".join(sorted(self.policies.changes))
        return (*self.dataset.notes, f"as the capture holds them, under column policies: {names}")

    def partitions(self, target: int) -> Sequence[Partition]:
        return [_Part(part, self.policies) for part in self.dataset.partitions(target)]


@dataclass(frozen=True)
class _Part:
    part: Partition
    policies: ColumnPolicies

    @property
    def weight(self) -> int:
        return self.part.weight

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for batch in self.part.batches():
            changed = apply_to_batch(self.policies, batch)
            yield changed if columns is None else changed.select(list(columns))
