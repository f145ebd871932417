"""The rows of one split as a data set of their own, so that a profile is of these alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trueup.records.dataset import Dataset, Partition
from trueup.records.input_spec import InputSpec
from trueup.records.training import Split
from trueup.trainer.data.declared import declared
from trueup.trainer.data.splits import SPLITS, SplitRule


@dataclass(frozen=True)
class SplitDataset:
    """The rows of ``dataset`` that ``rule`` puts into ``splits``, as they came; implements
    :class:`trueup.records.dataset.Dataset`."""

    dataset: Dataset
    spec: InputSpec
    rule: SplitRule
    splits: tuple[Split, ...] = (Split.TRAIN,)

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def schema(self) -> pa.Schema:
        return self.dataset.schema

    @property
    def notes(self) -> tuple[str, ...]:
        return self.dataset.notes

    def partitions(self, target: int) -> Sequence[Partition]:
        codes = tuple(SPLITS.index(split) for split in self.splits)
        return [
            _Part(part, self.spec, self.rule, codes) for part in self.dataset.partitions(target)
        ]


@dataclass(frozen=True)
class _Part:
    part: Partition
    spec: InputSpec
    rule: SplitRule
    codes: tuple[int, ...]

    @property
    def weight(self) -> int:
        return self.part.weight

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All columns are read, whichever are asked for: the side of a row may depend on them."""
        for batch in self.part.batches():
            codes, _ = self.rule.assign(declared(batch, self.spec).columns)
            inside = np.isin(codes, self.codes)
            if not inside.any():
                continue
            chosen = batch if inside.all() else batch.filter(pa.array(inside))
            yield chosen if columns is None else chosen.select(list(columns))
