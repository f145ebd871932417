"""What is looked at to infer an InputSpec: some rows of every part of a data set, and facts about
each column of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.times import looks_like_times, parse_times
from trueup.records.dataset import Dataset

SAMPLE_ROWS = 200_000
SAMPLE_BYTES = 256 << 20
SAMPLE_PARTS = 32
_MIN_ROWS = 2_000
_GUESSED_CELL_BYTES = 16

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_CODE = r"^0\d"
"""A leading zero that a number would lose: postal codes, phone numbers."""


def sample(dataset: Dataset, rows: int = SAMPLE_ROWS) -> pa.Table:
    """At most about ``rows`` rows, from the beginning of each of up to 32 parts, in order; fewer
    when there are so many columns, or their values are so long, that they would not fit into
    256 MB."""
    affordable = SAMPLE_BYTES // (_GUESSED_CELL_BYTES * max(len(dataset.schema), 1))
    rows = min(rows, max(_MIN_ROWS, affordable))
    parts = dataset.partitions(SAMPLE_PARTS)
    per_part, bytes_per_part = (-(-most // max(len(parts), 1)) for most in (rows, SAMPLE_BYTES))
    batches: list[pa.RecordBatch] = []
    for part in parts:
        left, bytes_left = per_part, bytes_per_part
        for batch in part.batches():
            bytes_per_row = max(batch.nbytes // max(batch.num_rows, 1), 1)
            taken = min(batch.num_rows, left, -(-bytes_left // bytes_per_row))
            batches.append(_beginning(batch, taken))
            left -= taken
            bytes_left -= taken * bytes_per_row
            if left <= 0 or bytes_left <= 0:
                break
    return pa.Table.from_batches(batches, schema=dataset.schema)


def _beginning(batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """The first ``rows`` rows; copied where they are few, so that the rest can be freed."""
    if 2 * rows > batch.num_rows:
        return batch.slice(0, rows)
    first = pa.array(np.arange(rows))
    arrays = [column.take(first) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


@dataclass
class ColumnFacts:
    """Facts about one column of the sample, computed when asked for.

    :param whole: whether the sample is all of the data.
    """

    name: str
    column: pa.ChunkedArray
    whole: bool = True

    @property
    def type(self) -> pa.DataType:
        return self.column.type

    @property
    def element_type(self) -> pa.DataType:
        kind = self.type
        return kind.value_type if pa.types.is_list(kind) else kind

    @property
    def multi_valued(self) -> bool:
        return bool(pa.types.is_list(self.type))

    @property
    def is_integer(self) -> bool:
        return bool(pa.types.is_integer(self.type))

    @property
    def is_string(self) -> bool:
        return bool(pa.types.is_string(self.type))

    @cached_property
    def values(self) -> pa.Array:
        """Values that are there; of a multi-valued column, all elements."""
        array = self.column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # arrow 10 keeps it chunked when it is empty
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], self.type)
        array = array.drop_null()
        return array.flatten().drop_null() if self.multi_valued else array

    @cached_property
    def has_nulls(self) -> bool:
        if self.column.null_count:
            return True
        floating = pa.types.is_floating(self.type)
        return bool(floating and pc.any(pc.is_nan(self.column)).as_py())

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def null_share(self) -> float:
        """Share of rows without a value; 0 when there are no rows."""
        return float(self.column.null_count) / max(len(self.column), 1)

    @cached_property
    def distinct(self) -> int:
        return int(pc.count_distinct(self.values).as_py()) if self.n else 0

    @property
    def all_distinct(self) -> bool:
        return self.n > 0 and self.distinct == self.n

    @cached_property
    def span(self) -> tuple[float, float]:
        """Least and greatest number; (0, 0) when there are none."""
        if not self.n:
            return 0.0, 0.0
        both = pc.min_max(self.values).as_py()
        return float(both["min"]), float(both["max"])

    @cached_property
    def counts_up(self) -> bool:
        """Whether integers grow by one from row to row, but for gaps between parts."""
        steps = np.diff(self.values.to_numpy(zero_copy_only=False))
        return bool(steps.size and (steps == 1).mean() >= 0.99)

    @cached_property
    def number_share(self) -> float:
        """Share of strings that are decimal numbers."""
        return self._share(pc.match_substring_regex(self.values, _NUMBER))

    @cached_property
    def code_share(self) -> float:
        """Share of strings that begin with a zero and another digit."""
        return self._share(pc.match_substring_regex(self.values, _CODE))

    @cached_property
    def time_share(self) -> float:
        """Share of strings that are ISO 8601 times; 0 without parsing when the first is none."""
        if not looks_like_times(self.values):
            return 0.0
        return 1.0 - parse_times(self.values)[1] / self.n

    @cached_property
    def spaced_share(self) -> float:
        """Share of strings of several words."""
        return self._share(pc.match_substring_regex(self.values, r"\S\s+\S"))

    @cached_property
    def mean_length(self) -> float:
        """Mean number of characters of strings, or of bytes."""
        length = pc.utf8_length if pa.types.is_string(self.element_type) else pc.binary_length
        return float(pc.mean(length(self.values)).as_py()) if self.n else 0.0

    def _share(self, mask: pa.Array) -> float:
        return float(pc.mean(mask.cast(pa.uint8())).as_py()) if self.n else 0.0


def facts_of(dataset: Dataset, table: pa.Table) -> dict[str, ColumnFacts]:
    """Facts by column name."""
    whole = getattr(dataset, "rows", -1) == table.num_rows
    return {name: ColumnFacts(name, table.column(name), whole) for name in table.schema.names}
