"""Raw variables to what the model learns from: constants and operations, no state, so that it is
the same in trainer and server whatever the strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueup.records.features import (
    Bucketed,
    Cross,
    FeaturePlan,
    Hashed,
    MissingFlag,
    Scaled,
    Vocabulary,
    Words,
)
from trueup.records.input_spec import Variable
from trueup.trainer.graph.keys import KEYS, Lookup, Lookups, decimal
from trueup.trainer.graph.layout import Column, columns_of
from trueup.trainer.graph.scalars import ScalarBatch, Scalars, missing_of
from trueup.trainer.graph.variables import graph_dtype, list_size

NO_WORD = r"[\pP\pS\pZ\pC]+"
"""What parts words: punctuation, signs, white space, control characters (RE2)."""

_BETWEEN = "\x1f"
_MISSING = "\x1e"


@dataclass(frozen=True)
class Bag:
    """Places of a column of which a row has any number.

    :param places: int64, shape ``(t,)``; ``rows``: int64, shape ``(t,)``, ascending.
    """

    column: Column
    places: Any
    rows: Any


@dataclass(frozen=True)
class Encoded:
    """A batch, ready for the model.

    :param rows: number of rows, a scalar tensor.
    :param dense: float32, shape ``(rows, width)``; ``None`` where the plan has no numbers.
    :param places: int64, shape ``(rows, columns)``, each within its column; ``None`` likewise.
    """

    rows: Any
    dense: Any
    places: Any
    bags: tuple[Bag, ...]


class Preprocessing:
    """The plan as a function of raw variables.

    :ivar columns: of ``Encoded.places``, in order.
    :ivar bags: columns of ``Encoded.bags``.
    :ivar dense_names: what the columns of ``Encoded.dense`` are, such as ``temp``, ``temp missing``
        and ``wind[2]``.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._inputs = {variable.name: variable for variable in plan.inputs}
        self._names = [variable.name for variable in plan.inputs]
        features = plan.features
        scaled = [f for f in features if isinstance(f, Scaled)]
        flags = [f.variable for f in features if isinstance(f, MissingFlag)]
        columns = columns_of(plan)
        single = [column for column in columns if not column.bag]
        self.bags = tuple(column for column in columns if column.bag)
        bucketed = [c for c in single if isinstance(c.feature, Bucketed)]
        known = [c for c in single if isinstance(c.feature, Vocabulary)]
        hashed = [c for c in single if isinstance(c.feature, (Hashed, Cross))]
        self.columns = (*bucketed, *known, *hashed)
        self._scalars = Scalars([v for v in plan.inputs if not v.shape])
        self._numbers = _Numbers([f for f in scaled if self._scalar(f.variable)], self._scalars)
        self._wide_numbers = [f for f in scaled if not self._scalar(f.variable)]
        self._flags = [self._scalars.row[name] for name in flags if self._scalar(name)]
        self._list_flags = [name for name in flags if not self._scalar(name)]
        self._buckets = _Buckets([c.feature for c in bucketed], self._scalars)
        self._vocabularies = _Vocabularies([c.feature for c in known], plan.inputs, self._scalars)
        self._hashes = _Hashes([c.feature for c in hashed], self._scalars, self._buckets)
        self._list_lookups = {
            id(column): Lookup(graph_dtype(self._inputs[column.feature.variable]),
                               column.feature.values)
            for column in self.bags
            if isinstance(column.feature, Vocabulary)
        }  # fmt: skip
        self.dense_names = (
            *(f.variable for f in scaled if self._scalar(f.variable)),
            *(f"{name} missing" for name in flags if self._scalar(name)),
            *(
                f"{f.variable}[{place}]"
                for f in self._wide_numbers
                for place in range(list_size(self._inputs[f.variable]) or 1)
            ),
            *(f"{name} missing" for name in self._list_flags),
        )

    def _scalar(self, name: str) -> bool:
        return not self._inputs[name].shape

    def __call__(self, raw: Mapping[str, Any]) -> Encoded:
        """Encode a batch.

        :param raw: by variable, shape ``(batch, …)``, of its type in the graph.
        """
        import tensorflow as tf

        rows = tf.shape(raw[self._names[0]])[0]
        batch = self._scalars.read(raw)
        dense = self._numbers(batch)
        if self._flags:
            dense.append(tf.cast(tf.gather(batch.missing, self._flags), tf.float32))
        dense = [tf.transpose(part) for part in dense]
        dense += [self._several(f, raw[f.variable]) for f in self._wide_numbers]
        dense += [self._empty(name, raw[name]) for name in self._list_flags]
        buckets = self._buckets(batch)
        places = [*buckets, *self._vocabularies(batch), *self._hashes(batch, buckets)]
        return Encoded(
            rows,
            tf.concat(dense, 1) if dense else None,
            tf.transpose(tf.concat(places, 0)) if places else None,
            tuple(self._bag(column, raw) for column in self.bags),
        )

    def _present(self, name: str, values: Any) -> tuple[Any, Any]:
        """Values as ``(rows, n)``, and where they are not missing."""
        import tensorflow as tf

        size = list_size(self._inputs[name])
        flat = values if size is None else tf.reshape(values, [-1, size])
        return flat, ~missing_of([self._inputs[name]], flat)

    def _several(self, feature: Scaled, values: Any) -> Any:
        """Numbers of a fixed shape one by one, those of any number by their mean."""
        import tensorflow as tf

        flat, present = self._present(feature.variable, values)
        scaled = scale(tf.cast(flat, tf.float64), feature.low, feature.high, feature.mean,
                       feature.sd, feature.log)  # fmt: skip
        scaled = tf.where(present, scaled, tf.zeros((), tf.float64))
        size = list_size(self._inputs[feature.variable])
        if size is not None:
            return tf.cast(scaled, tf.float32)
        count = tf.reduce_sum(tf.cast(present, tf.float64), 1, keepdims=True)
        total = tf.reduce_sum(scaled, 1, keepdims=True)
        return tf.cast(total / tf.maximum(count, 1.0), tf.float32)

    def _empty(self, name: str, values: Any) -> Any:
        import tensorflow as tf

        _, present = self._present(name, values)
        return tf.cast(~tf.reduce_any(present, 1, keepdims=True), tf.float32)

    def _bag(self, column: Column, raw: Mapping[str, Any]) -> Bag:
        import tensorflow as tf

        feature = column.feature
        assert not isinstance(feature, Cross)
        flat, present = self._present(feature.variable, raw[feature.variable])
        where = tf.where(present)[:, 0]
        values = tf.boolean_mask(flat, present)
        dtype = graph_dtype(self._inputs[feature.variable])
        if isinstance(feature, Vocabulary):
            return Bag(column, self._list_lookups[id(column)].places(values), where)
        if isinstance(feature, Words):
            words = tf.strings.split(
                tf.strings.regex_replace(tf.strings.lower(values, "utf-8"), NO_WORD, " ")
            )
            where = tf.gather(where, words.value_rowids())
            values, dtype = words.values, "string"
        assert isinstance(feature, (Hashed, Words))
        return Bag(column, hashed_places(decimal(dtype, values), feature.buckets), where)


def scale(values: Any, low: Any, high: Any, mean: Any, sd: Any, log: Any) -> Any:
    """Scaled float64 ``values``; ``log`` is a boolean, or a boolean tensor."""
    import tensorflow as tf

    clipped = tf.clip_by_value(values, low, high)
    if log is not False:
        logarithm = tf.sign(clipped) * tf.math.log1p(tf.abs(clipped))
        clipped = logarithm if log is True else tf.where(log, logarithm, clipped)
    return (clipped - mean) / sd


def hashed_places(texts: Any, buckets: Any) -> Any:
    """Hash buckets of strings; ``buckets`` is a number, or int64 that broadcasts."""
    import tensorflow as tf

    return tf.strings.to_hash_bucket_fast(texts, KEYS) % buckets


def _column(values: Sequence[Any], dtype: Any) -> np.ndarray:
    return np.array(values, dtype)[:, np.newaxis]


class _Numbers:
    """Scaled scalars, together."""

    def __init__(self, features: Sequence[Scaled], scalars: Scalars) -> None:
        self.rows = [scalars.row[f.variable] for f in features]
        self._low, self._high, self._mean, self._sd = (
            _column([getattr(f, name) for f in features], np.float64)
            for name in ("low", "high", "mean", "sd")
        )
        logs = [f.log for f in features]
        self._log: Any = _column(logs, bool) if any(logs) else False

    def __call__(self, batch: ScalarBatch) -> list[Any]:
        import tensorflow as tf

        if not self.rows:
            return []
        values = batch.numbers(self.rows)
        scaled = scale(values, self._low, self._high, self._mean, self._sd, self._log)
        missing = tf.gather(batch.missing, self.rows)
        return [tf.cast(tf.where(missing, tf.zeros((), tf.float64), scaled), tf.float32)]


class _Buckets:
    """Scalars in buckets, together."""

    def __init__(self, features: Sequence[Any], scalars: Scalars) -> None:
        self.rows = [scalars.row[f.variable] for f in features]
        self.names = [f.variable for f in features]
        width = max((len(f.boundaries) for f in features), default=0) + 1
        self._boundaries = np.full((len(features), width), np.inf)
        for row, feature in enumerate(features):
            self._boundaries[row, : len(feature.boundaries)] = feature.boundaries
        sizes = [len(f.boundaries) for f in features]
        self._last, self._missing = _column(sizes, np.int64), _column(sizes, np.int64) + 1

    def __call__(self, batch: ScalarBatch) -> list[Any]:
        import tensorflow as tf

        if not self.rows:
            return []
        found = tf.raw_ops.UpperBound(
            sorted_inputs=tf.constant(self._boundaries),
            values=batch.numbers(self.rows),
            out_type=tf.int64,
        )
        found = tf.minimum(found, self._last)  # infinity is not below the padding
        return [tf.where(tf.gather(batch.missing, self.rows), self._missing, found)]


class _Vocabularies:
    """Scalars that are looked up, together."""

    def __init__(
        self, features: Sequence[Any], inputs: Sequence[Variable], scalars: Scalars
    ) -> None:
        dtypes = {variable.name: graph_dtype(variable) for variable in inputs}
        self._rows = [scalars.row[f.variable] for f in features]
        self._lookups = Lookups([(dtypes[f.variable], f.values) for f in features])
        self._missing = self._lookups.sizes[:, np.newaxis] + 1

    def __call__(self, batch: ScalarBatch) -> list[Any]:
        import tensorflow as tf

        if not self._rows:
            return []
        places = self._lookups.places(batch.keys(self._rows))
        return [tf.where(tf.gather(batch.missing, self._rows), self._missing, places)]


class _Hashes:
    """Hashed scalars and crosses, together."""

    def __init__(self, features: Sequence[Any], scalars: Scalars, buckets: _Buckets) -> None:
        self._scalars = scalars
        self._plain = [scalars.row[f.variable] for f in features if isinstance(f, Hashed)]
        self._crosses = [f for f in features if isinstance(f, Cross)]
        self._bucket = {name: row for row, name in enumerate(buckets.names)}
        crossed = sorted({name for cross in self._crosses for name in cross.variables})
        self._crossed_buckets = [name for name in crossed if name in self._bucket]
        self._crossed_texts = [name for name in crossed if name not in self._bucket]
        self._buckets = _column([f.buckets for f in features], np.int64)
        self._missing = _column([f.buckets for f in features if isinstance(f, Hashed)], np.int64)

    def __call__(self, batch: ScalarBatch, buckets: list[Any]) -> list[Any]:
        import tensorflow as tf

        if not self._plain and not self._crosses:
            return []
        parts = [batch.texts(self._plain)] if self._plain else []
        if self._crosses:
            parts += self._joined(batch, buckets)
        places = hashed_places(tf.concat(parts, 0), self._buckets)
        if not self._plain:
            return [places]
        n = len(self._plain)
        missing = tf.gather(batch.missing, self._plain)
        return [tf.where(missing, self._missing, places[:n]), places[n:]]

    def _joined(self, batch: ScalarBatch, buckets: list[Any]) -> list[Any]:
        """The crossed values as one string each, shape ``(1, batch)`` per cross."""
        import tensorflow as tf

        texts = {}
        if self._crossed_texts:
            rows = [self._scalars.row[name] for name in self._crossed_texts]
            found = tf.where(tf.gather(batch.missing, rows), _MISSING, batch.texts(rows))
            texts.update(zip(self._crossed_texts, tf.unstack(found), strict=True))
        if self._crossed_buckets:
            rows = [self._bucket[name] for name in self._crossed_buckets]
            found = tf.strings.as_string(tf.gather(buckets[0], rows))
            texts.update(zip(self._crossed_buckets, tf.unstack(found), strict=True))
        return [
            tf.strings.join([texts[name] for name in cross.variables], _BETWEEN)[tf.newaxis, :]
            for cross in self._crosses
        ]
