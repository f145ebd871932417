"""What a model makes of its inputs: permutation importances and partial dependence, of any model
that scores record batches.

Permutation importance (Breiman, Machine Learning 45, 2001; Fisher, Rudin and Dominici, JMLR 20,
2019): how much worse the loss gets when the values of a feature are dealt anew among the rows. They
are dealt among all rows: within a short block of time a feature such as the temperature hardly
varies, and would look as if it did not matter. Rows of one block of time depend on each other,
though, so the standard error is taken over blocks.

Partial dependence (Friedman, Annals of Statistics 29, 2001): the mean answer when all rows have
one value of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trueup.errors import DataError
from trueup.records.input_spec import Kind, Record, Variable

Scorer = Callable[[pa.RecordBatch], np.ndarray]
"""Answers of a batch, shape ``(rows,)`` or ``(rows, outputs)``."""

Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Loss of each row, shape ``(rows,)``, from answers and targets."""

MOST_ROWS = 10_000
REPEATS = 3
GRID = 20
"""Points of a curve at most."""

BATCH_ROWS = 4096


class Importance(Record):
    """:param increase: mean rise of the loss. :param standard_error: of it, over blocks."""

    feature: str
    increase: float
    standard_error: float
    rows: int


class PartialDependence(Record):
    """A curve.

    :param values: of the feature, ``None`` for missing; :param answers: the mean answer at each,
        one per output of the model.
    """

    feature: str
    values: tuple[float | str | bool | None, ...]
    answers: tuple[tuple[float, ...], ...]
    rows: int


@dataclass(frozen=True)
class Sample:
    """Rows that importances are taken of.

    :param rows: columns as the scorer takes them. :param targets: shape ``(rows,)``.
    :param blocks: which block of time each row is in, any integers, shape ``(rows,)``; each row is
        its own where they are absent.
    """

    rows: pa.Table
    targets: np.ndarray
    blocks: np.ndarray | None = None

    def bounded(self, most_rows: int, seed: int) -> Sample:
        """At most so many of the rows, drawn at random, in their order."""
        count = self.rows.num_rows
        if count <= most_rows:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(count, most_rows, replace=False))
        blocks = None if self.blocks is None else self.blocks[chosen]
        return Sample(self.rows.take(pa.array(chosen)), self.targets[chosen], blocks)


def permutation_importances(
    sample: Sample,
    score: Scorer,
    loss: Loss,
    features: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    repeats: int = REPEATS,
    most_rows: int = MOST_ROWS,
    batch_rows: int = BATCH_ROWS,
    seed: int = 1,
) -> tuple[Importance, ...]:
    """Importances of ``features``, in their order.

    :param features: variables; or groups of them by name, which are dealt together, row by row:
        what depends on each other (a station and its weather) hides each other's importance.
    :raises DataError: there are no rows, or a variable is not in them.
    """
    sample = _ready(sample.bounded(most_rows, seed))
    groups = (
        {name: tuple(members) for name, members in features.items()}
        if isinstance(features, Mapping)
        else {name: (name,) for name in features}
    )
    before = loss(_answers(sample.rows, score, batch_rows), sample.targets)
    random = np.random.default_rng(seed)
    orders = [random.permutation(sample.rows.num_rows) for _ in range(repeats)]
    found = []
    for name, members in groups.items():
        rises = np.zeros(sample.rows.num_rows)
        for order in orders:
            dealt = _dealt(sample.rows, members, order)
            rises += loss(_answers(dealt, score, batch_rows), sample.targets) - before
        rises /= repeats
        found.append(
            Importance(
                feature=name,
                increase=float(rises.mean()),
                standard_error=clustered_error(rises, sample.blocks),
                rows=len(rises),
            )
        )
    return tuple(found)


def partial_dependence(
    sample: Sample,
    score: Scorer,
    variables: Sequence[Variable],
    *,
    grid: int = GRID,
    most_rows: int = MOST_ROWS,
    batch_rows: int = BATCH_ROWS,
    seed: int = 1,
) -> tuple[PartialDependence, ...]:
    """A curve for each of ``variables`` that has single values: at quantiles of numbers, at the
    most frequent values of others, and at missing where rows are.

    :raises DataError: there are no rows, or a variable is not in them.
    """
    sample = _ready(sample.bounded(most_rows, seed))
    return tuple(
        _curve(sample.rows, score, variable, grid, batch_rows)
        for variable in variables
        if not variable.multi_valued
    )


def clustered_error(values: np.ndarray, blocks: np.ndarray | None) -> float:
    """Standard error of the mean of ``values`` when those of one block depend on each other:
    ``sqrt(B / (B - 1) * sum_b (sum_{i in b} (x_i - mean))**2) / n`` (Liang and Zeger, Biometrika
    73, 1986); NaN with fewer than two blocks.

    >>> round(clustered_error(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])), 6)
    1.0
    """
    residuals = values - values.mean()
    if blocks is None:
        sums = residuals
    else:
        _, place = np.unique(blocks, return_inverse=True)
        sums = np.bincount(place.reshape(-1), residuals)
    if len(sums) < 2:
        return float("nan")
    correction = len(sums) / (len(sums) - 1)
    return float(np.sqrt(correction * (sums @ sums)) / len(values))


def _curve(
    rows: pa.Table, score: Scorer, variable: Variable, grid: int, batch_rows: int
) -> PartialDependence:
    column = _column(rows, variable.name)
    points = _points(column, variable, grid)
    answers = []
    place = rows.column_names.index(variable.name)
    for point in points:
        same = pa.nulls(rows.num_rows, column.type)
        if point.is_valid:
            same = same.fill_null(point)
        changed = rows.set_column(place, variable.name, same)
        found = _answers(changed, score, batch_rows)
        mean = found.reshape(len(found), -1).mean(axis=0, dtype=np.float64)
        answers.append(tuple(mean.tolist()))
    return PartialDependence(
        feature=variable.name,
        values=tuple(_plain(point) for point in points),
        answers=tuple(answers),
        rows=rows.num_rows,
    )


def _points(column: pa.Array, variable: Variable, grid: int) -> list[pa.Scalar]:
    """Values of ``column`` itself, so that they are of its type and such as occur."""
    present = column.drop_null()
    points: list[pa.Scalar] = []
    if len(present):
        if variable.kind is Kind.NUMERIC:
            ordered = present.take(pc.sort_indices(present))
            places = np.unique(np.rint(np.linspace(0.025, 0.975, grid) * (len(ordered) - 1)))
            distinct = ordered.take(pa.array(places.astype(np.int64))).unique()
            points = [distinct[i] for i in range(len(distinct))]
        else:
            counted = pc.value_counts(present)
            order = np.argsort(-counted.field("counts").to_numpy(), kind="stable")[:grid]
            points = [counted.field("values")[int(i)] for i in order]
    if column.null_count:
        points.append(pa.scalar(None, column.type))
    return points


def _plain(point: pa.Scalar) -> float | str | bool | None:
    value = point.as_py()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, bool | str | int | float | None) else str(value)


def _answers(rows: pa.Table, score: Scorer, batch_rows: int) -> np.ndarray:
    return np.concatenate([score(batch) for batch in _batches(rows, batch_rows)])


def _batches(rows: pa.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows.num_rows, batch_rows):
        yield from rows.slice(start, batch_rows).combine_chunks().to_batches()


def _dealt(rows: pa.Table, members: Sequence[str], order: np.ndarray) -> pa.Table:
    places = pa.array(order)
    for name in members:
        dealt = _column(rows, name).take(places)
        rows = rows.set_column(rows.column_names.index(name), name, dealt)
    return rows


def _column(rows: pa.Table, name: str) -> pa.Array:
    if name not in rows.column_names:
        raise DataError(f"there is no variable {name!r} in the rows", remedy="check the name")
    column = rows.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _ready(sample: Sample) -> Sample:
    if not sample.rows.num_rows:
        raise DataError(
            "there are no rows to take importances of",
            remedy="raise tune_share, or bring more rows",
        )
    return Sample(sample.rows.combine_chunks(), sample.targets, sample.blocks)
