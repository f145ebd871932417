"""What a data set's windows of time looked like: sums per window, all that variation needs.

A full profile per window would cost a hundred times as much and tell little more: how much a
quantity varies from window to window follows from counts, means and squares
(:mod:`trueup.monitor.variation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.profile import cast
from trueup.profile.arrow import encoded, is_list, validity
from trueup.profile.build import profiled
from trueup.profile.canonical import spelled
from trueup.profile.edges import CategoryEdges, Edges, FeatureEdges, NumericEdges
from trueup.profile.lists import as_scalars, list_lengths
from trueup.profile.text import text_lengths
from trueup.records.input_spec import Kind, Role, Variable

CELLS = 20
"""Groups of bins, or most frequent categories with one cell for the rest, counted per window."""

_MERGE_AFTER = 32  # batches that are kept apart; memory goes with windows times this

ROWS, N, Z, ZZ, LENGTH_N, LENGTH_Z, LENGTH_ZZ, FIRST_CELL = range(8)
_COLUMNS = FIRST_CELL + CELLS


@dataclass(frozen=True)
class FeatureSeries:
    """Sums of one variable per window.

    :param sums: float64, shape ``(windows, 27)``: rows; values (or elements) that are present;
        sum and sum of squares of the clipped, standardized values; the same three of lengths; and
        the counts of up to ``CELLS`` cells. Counts are exact.
    """

    sums: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        return self.sums[:, ROWS]

    @property
    def n(self) -> np.ndarray:
        return self.sums[:, N]

    @property
    def cells(self) -> np.ndarray:
        """Counts, shape ``(windows, CELLS)``; cells that the variable does not use are 0."""
        return self.sums[:, FIRST_CELL:]

    def moments(self, first: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number, mean and variance (NaN with fewer than 2) per window, in standardized units.

        :param first: ``N`` of the values, ``LENGTH_N`` of the lengths.
        """
        n, total, squares = self.sums[:, first], self.sums[:, first + 1], self.sums[:, first + 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n
            variance = np.where(n > 1, np.maximum(squares - total * mean, 0.0) / (n - 1), np.nan)
        return n, mean, variance


@dataclass(frozen=True)
class WindowSeries:
    """The windows of a data set, in order of time.

    :param length_s: seconds per window. :param index: int64, shape ``(windows,)``, window k is
        ``[k * length_s, (k + 1) * length_s)`` since 1970 (UTC); only windows with rows are here.
    """

    length_s: float
    index: np.ndarray
    features: Mapping[str, FeatureSeries]

    def __len__(self) -> int:
        return len(self.index)

    def merge(self, other: WindowSeries) -> WindowSeries:
        """The sums of both, window by window."""
        return _sum(self.length_s, [self, other])


class SeriesBuilder:
    """A :class:`WindowSeries` under construction, one record batch after the other.

    :param time: name of the variable that places rows in time; rows without it are left out.
    """

    def __init__(self, edges: Edges, time: str, length_s: float) -> None:
        self._time = edges.spec.by_name[time]
        self._length_s = length_s
        self._counters = {
            variable.name: _Counter(variable, edges.features.get(variable.name, FeatureEdges()))
            for variable in profiled(edges.spec)
            if variable.role is not Role.TIME
        }
        self._parts: list[WindowSeries] = [
            WindowSeries(
                length_s, np.zeros(0, np.int64),
                {name: FeatureSeries(np.zeros((0, _COLUMNS))) for name in self._counters},
            )
        ]  # fmt: skip

    def add(self, batch: pa.RecordBatch) -> None:
        if self._time.name not in batch.schema.names:
            return
        times = cast.numbers(batch.column(batch.schema.names.index(self._time.name)), self._time)
        if times.at is not None:
            batch = batch.filter(pa.array(times.at))
        if not times.values.size:
            return
        windows = np.floor_divide(times.values, self._length_s).astype(np.int64)
        index, place = np.unique(windows, return_inverse=True)
        columns = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        features = {}
        for name, counter in self._counters.items():
            sums = np.zeros((len(index), _COLUMNS))
            sums[:, ROWS] = np.bincount(place, minlength=len(index))
            if name in columns:
                counter.add(columns[name], place, sums)
            features[name] = FeatureSeries(sums)
        self._parts.append(WindowSeries(self._length_s, index, features))
        if len(self._parts) >= _MERGE_AFTER:
            self._parts = [_sum(self._length_s, self._parts)]

    def series(self) -> WindowSeries:
        return _sum(self._length_s, self._parts)


def _sum(length_s: float, parts: list[WindowSeries]) -> WindowSeries:
    index = np.unique(np.concatenate([part.index for part in parts]))
    places = [np.searchsorted(index, part.index) for part in parts]
    features = {}
    for name in parts[0].features:
        sums = np.zeros((len(index), _COLUMNS))
        for place, part in zip(places, parts, strict=True):
            sums[place] += part.features[name].sums  # a part has each window once
        features[name] = FeatureSeries(sums)
    return WindowSeries(length_s, index, features)


class _Counter:
    """Adds one variable's array to the sums of its windows."""

    def __init__(self, variable: Variable, edges: FeatureEdges) -> None:
        self._variable = variable
        self._numeric = None if edges.numeric is None else _NumberCells(edges.numeric)
        self._lengths = None if edges.lengths is None else _NumberCells(edges.lengths)
        self._categories = edges.categories

    def add(self, array: pa.Array, place: np.ndarray, sums: np.ndarray) -> None:
        """:param place: index of each row's window, int, shape ``(len(array),)``."""
        if self._variable.multi_valued:
            array, place = self._flattened(array, place, sums)
        elif is_list(array.type):
            array, _ = as_scalars(array)
        if pa.types.is_null(array.type):
            return
        if self._variable.kind is Kind.CATEGORICAL:
            self._add_labels(array, place, sums)
        elif self._variable.kind is Kind.TEXT:
            self._add_texts(array, place, sums)
        else:
            self._add_numbers(array, place, sums)

    def _flattened(
        self, array: pa.Array, place: np.ndarray, sums: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """Elements, and the window of each."""
        valid = validity(array)
        if not is_list(array.type):
            return array, place
        lengths, elements = list_lengths(array)
        place = place if valid is None else place[valid]
        if self._lengths is not None:
            self._lengths.moments(lengths.astype(np.float64), place, sums, LENGTH_N)
        return elements, np.repeat(place, lengths)

    def _add_numbers(self, array: pa.Array, place: np.ndarray, sums: np.ndarray) -> None:
        found = cast.numbers(array, self._variable)
        if found.at is not None:
            place = place[found.at]
        if self._numeric is None:
            sums[:, N] += np.bincount(place, minlength=len(sums))
            return
        values = found.values.astype(np.float64)
        self._numeric.moments(values, place, sums, N)
        _count_cells(self._numeric.cells(values), place, sums)

    def _add_labels(self, array: pa.Array, place: np.ndarray, sums: np.ndarray) -> None:
        values, codes = encoded(array)
        texts = spelled(values)
        missing = cast.missing_labels(values, texts, self._variable)
        present = codes >= 0
        present[present] = ~missing[codes[present]]
        place, codes = place[present], codes[present]
        sums[:, N] += np.bincount(place, minlength=len(sums))
        if self._categories is not None:
            _count_cells(_category_cells(texts, self._categories)[codes], place, sums)

    def _add_texts(self, array: pa.Array, place: np.ndarray, sums: np.ndarray) -> None:
        valid = validity(array)
        place = place if valid is None else place[valid]
        sums[:, N] += np.bincount(place, minlength=len(sums))
        if self._lengths is None or self._variable.multi_valued:
            return
        found = cast.texts(array, self._variable).values
        if len(found) == len(place):  # else some are missing encodings; their rows are not known
            lengths = text_lengths(found, self._variable).astype(np.float64)
            self._lengths.moments(lengths, place, sums, LENGTH_N)


class _NumberCells:
    """Groups of neighbouring bins, and the scale that values are standardized by."""

    def __init__(self, edges: NumericEdges) -> None:
        self._low, self._high = edges.clip_low, edges.clip_high
        half = edges.clip_high / 2 - edges.clip_low / 2
        self._half = half if half > 0.0 else 1.0
        self._center = edges.clip_low / 2 + edges.clip_high / 2
        inner = edges.edges[1:-1]
        places = np.arange(1, CELLS) * len(inner) // CELLS
        self._borders = np.unique(inner[places]) if len(inner) else inner

    def moments(self, values: np.ndarray, place: np.ndarray, sums: np.ndarray, first: int) -> None:
        """Add to the three columns from ``first`` on: number, sum, sum of squares."""
        z = (np.clip(values, self._low, self._high) - self._center) / self._half
        windows = len(sums)
        sums[:, first] += np.bincount(place, minlength=windows)
        sums[:, first + 1] += np.bincount(place, z, minlength=windows)
        sums[:, first + 2] += np.bincount(place, z * z, minlength=windows)

    def cells(self, values: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._borders, values, side="right")


def _category_cells(texts: pa.Array, edges: CategoryEdges) -> np.ndarray:
    """Cell of each text: its place among the most frequent values, or the last cell."""
    frequent = pa.array(edges.values[: CELLS - 1], pa.string())
    found = pc.fill_null(pc.index_in(texts, value_set=frequent), CELLS - 1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _count_cells(cells: np.ndarray, place: np.ndarray, sums: np.ndarray) -> None:
    flat = np.bincount(place * CELLS + cells, minlength=len(sums) * CELLS)
    sums[:, FIRST_CELL:] += flat.reshape(len(sums), CELLS)
