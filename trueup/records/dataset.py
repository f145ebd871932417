"""What a data set looks like to a profile: typed columns, read in parts of bounded memory.

``trueup.datasets`` implements these protocols for frames and files; ``trueup.profile`` reads
them. Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Partition(Protocol):
    """A picklable unit of work for a process pool."""

    @property
    def weight(self) -> int:
        """Bytes or rows, whichever the data set counts in; for progress and balance."""
        ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Record batches of at most about 64 thousand rows and 32 MB.

        Every batch has exactly the fields of :attr:`Dataset.schema`, or of ``columns`` in their
        order; each array is a scalar Arrow array, or ``list<scalar>`` of a multi-valued variable.
        A column that this part of the data does not have is all null.
        """
        ...


class Dataset(Protocol):
    """Rows of typed columns, from memory or from files that may be larger than memory."""

    @property
    def name(self) -> str:
        """The path as given, or what kind of frame it is; for messages."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Leaf columns after flattening: a nested structure becomes ``a.b``.

        Types are null, bool, integers, float32/float64, string, binary, ``timestamp[us, UTC]``,
        and lists of these.
        """
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what reading had to decide (types unified, bytes escaped, ...)."""
        ...

    def partitions(self, target: int) -> Sequence[Partition]:
        """All rows, in at most about ``target`` parts of similar weight, in order."""
        ...
