"""Values as 64-bit keys, and vocabularies as sorted keys: constants of the graph, no tables.

A lookup table is a resource: it must be made where the strategy wants it, initialized on each
worker, and tracked to be exported. Sorted constants need none of that, and one operation looks a
batch of many variables up (docs/decisions/0007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trueup.trainer.graph.variables import GraphDtype

KEYS = 2**63 - 1
"""Strings are hashed (FarmHash64, by the graph's own operation) to as many keys: two of a million
values have one key with a chance of 1 in 20 million."""


def keys_of(dtype: str, values: Any) -> Any:
    """int64 keys, equal where the values are; of any shape.

    Strings: their hash. Integers and booleans: themselves. Floats: their 32 bits, with -0 as 0.
    """
    import tensorflow as tf

    if dtype == "string":
        return tf.strings.to_hash_bucket_fast(values, KEYS)
    if dtype == "float32":
        return tf.cast(tf.bitcast(tf.cast(values, tf.float32) + 0.0, tf.int32), tf.int64)
    return tf.cast(values, tf.int64)


def decimal(dtype: str, values: Any) -> Any:
    """Strings of values, of any shape: integers in decimal form, floats with as many digits as
    tell them apart, strings as they are."""
    import tensorflow as tf

    if dtype == "string":
        return values
    if dtype == "float32":
        return tf.strings.as_string(values + 0.0, precision=9, shortest=True)
    return tf.strings.as_string(tf.cast(values, tf.int64))


def constant_keys(dtype: str, texts: Sequence[str]) -> np.ndarray:
    """Keys of a vocabulary's texts, int64, shape ``(n,)``."""
    import tensorflow as tf

    if dtype == "float32":
        numbers = np.array([float(text) for text in texts]).astype(np.float32)
        return (numbers + np.float32(0.0)).view(np.int32).astype(np.int64)
    if dtype == "int64":
        return np.array([int(float(text)) if "." in text else int(text) for text in texts])
    if dtype == "bool":
        return np.array([int(text == "true") for text in texts], np.int64)
    with tf.init_scope():
        encoded = tf.constant([text.encode("utf-8", "surrogateescape") for text in texts])
        return np.asarray(tf.strings.to_hash_bucket_fast(encoded, KEYS).numpy())


class Lookups:
    """Vocabularies of several variables, which are looked up together.

    :param vocabularies: type and texts of each.
    """

    def __init__(self, vocabularies: Sequence[tuple[GraphDtype | str, Sequence[str]]]) -> None:
        rows = len(vocabularies)
        width = max((len(texts) for _, texts in vocabularies), default=0) + 1
        self.sizes = np.array([len(texts) for _, texts in vocabularies], np.int64)
        # Behind the end come the largest key, and the place of all others.
        self._keys = np.full((rows, width), np.iinfo(np.int64).max)
        self._places = np.repeat(self.sizes[:, np.newaxis], width, axis=1)
        for row, (dtype, texts) in enumerate(vocabularies):
            keys = constant_keys(dtype, texts)
            order = np.argsort(keys, kind="stable")
            self._keys[row, : keys.size] = keys[order]
            self._places[row, : keys.size] = order

    def places(self, keys: Any) -> Any:
        """Places of ``keys`` (int64, shape ``(vocabularies, n)``) in the vocabularies, of the same
        shape; the vocabulary's size stands for all others."""
        import tensorflow as tf

        rows, width = self._keys.shape
        sorted_keys = tf.constant(self._keys)
        found = tf.raw_ops.LowerBound(
            sorted_inputs=sorted_keys, values=keys, out_type=tf.int64
        )  # at most width - 1, but where a key is the largest there is
        found = tf.minimum(found, width - 1)
        flat = found + tf.constant(np.arange(rows)[:, np.newaxis] * width)
        there = tf.gather(tf.constant(self._keys.ravel()), flat)
        place = tf.gather(tf.constant(self._places.ravel()), flat)
        return tf.where(tf.equal(there, keys), place, tf.constant(self.sizes[:, np.newaxis]))


class Lookup:
    """One vocabulary.

    :param dtype: type of the values that are looked up.
    """

    def __init__(self, dtype: GraphDtype | str, texts: Sequence[str]) -> None:
        self._dtype = dtype
        self._lookups = Lookups([(dtype, texts)])

    def places(self, values: Any) -> Any:
        """Places of ``values``, shape ``(n,)``, int64; the vocabulary's size: none of them."""
        import tensorflow as tf

        keys = keys_of(self._dtype, values)
        return tf.squeeze(self._lookups.places(keys[tf.newaxis, :]), 0)
