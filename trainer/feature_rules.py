"""How one raw variable enters a model: by its profile, or as the user says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trueup.config.training import FeatureSettings
from trueup.errors import ConfigError
from trueup.profile.canonical import spell
from trueup.profile.edges import FeatureEdges
from trueup.profile.states import FeatureState
from trueup.records.features import (
    Bucketed,
    Feature,
    Hashed,
    MissingFlag,
    Scaled,
    Vocabulary,
    Words,
)
from trueup.records.input_spec import INTEGER_DTYPES, Kind, Variable
from trueup.trainer.graph.variables import graph_dtype, missing_texts
from trueup.trainer.profile_numbers import (
    clipped_shape,
    distinct_values,
    log_shape,
    quantile_boundaries,
)

SKEWED = 2.0
"""Skewness from which a number that is never negative is taken by its logarithm: that of an
exponential distribution, whose largest thousandth lies 6 standard deviations above the mean, where
the few would outweigh the many in a layer that is linear in it."""

FEW_VALUES = 32
"""Integers with no more distinct values (months, hours, codes) are categories too."""

MOSTLY_DIFFERENT = 0.5
"""Texts of which more than this share of the rows are different say nothing of further rows."""

TEXT_BUCKETS = 4096
_EMBEDDINGS = (4, 8, 16, 32)
_HASH_BUCKETS = (64, 65_536)


@dataclass(frozen=True)
class Raw:
    """A variable with what training says of it.

    :param wide, deep: which parts the model has.
    """

    variable: Variable
    state: FeatureState
    edges: FeatureEdges
    choice: FeatureSettings
    wide: bool
    deep: bool

    @property
    def name(self) -> str:
        return self.variable.name

    @property
    def integer(self) -> bool:
        return self.variable.dtype in INTEGER_DTYPES

    def refuse(self, why: str, remedy: str) -> ConfigError:
        key = f"training.features.{self.name}.transform"
        return ConfigError(f"{key} is {self.choice.transform}, and {why}", remedy=remedy)

    def embedding(self, values: int) -> int:
        """Size of an embedding: the user's, or the least of a few that fits twice the fourth root
        of the number of values; few sizes, so that few tables hold them all."""
        if not self.deep:
            return 0
        wanted = 2.0 * values**0.25
        fitting = next((size for size in _EMBEDDINGS if size >= wanted), _EMBEDDINGS[-1])
        return self.choice.embedding or fitting


def useless(raw: Raw) -> str:
    """Why the variable cannot help; empty where it may."""
    state = raw.state
    if not state.present:
        return "all its values are missing in the training rows"
    numeric = state.numeric
    if numeric is not None and raw.variable.kind is not Kind.TIME and not numeric.n:
        return "it has no finite value in the training rows"
    if state.missing or raw.variable.multi_valued:
        return ""
    value = None
    if numeric is not None and numeric.raw.minimum == numeric.raw.maximum:
        value = numeric.raw.minimum
    categories = raw.edges.categories
    if categories is not None and categories.complete and len(categories.values) == 1:
        value = categories.values[0]
    return "" if value is None else f"it is {spell(value)} in all training rows"


def features_of(raw: Raw) -> tuple[tuple[Feature, ...], str]:
    """The features of a variable; where there are none, why.

    :raises ConfigError: the transform that the user chose does not fit it.
    """
    chosen = {
        "auto": _auto,
        "scale": lambda raw: (_scaled(raw, log=False),),
        "log": lambda raw: (_scaled(raw, log=True),),
        "buckets": lambda raw: (bucketed(raw, raw.embedding(raw.choice.buckets)),),
        "vocabulary": lambda raw: (_vocabulary(raw),),
        "hash": lambda raw: (_hashed(raw),),
        "text": lambda raw: (_words(raw),),
    }[raw.choice.transform](raw)
    if isinstance(chosen, str):
        return (), chosen
    flagged = raw.state.missing > 0 and graph_dtype(raw.variable) != "bool"
    has_own_place = all(isinstance(f, (Vocabulary, Hashed)) for f in chosen)
    if flagged and (not has_own_place or raw.variable.multi_valued):
        chosen = (*chosen, MissingFlag(variable=raw.name))
    return chosen, ""


def _auto(raw: Raw) -> tuple[Feature, ...] | str:
    kind = raw.variable.kind
    if kind is Kind.TIME:
        return "times are left out: what is to come lies beyond all that training has seen"
    if kind is Kind.TEXT:
        return (_words(raw),)
    if kind is Kind.CATEGORICAL:
        assert raw.edges.categories is not None
        if raw.edges.categories.complete:
            return (_vocabulary(raw),)
        share = raw.state.distinct.estimate() / max(raw.state.present, 1)
        if share > MOSTLY_DIFFERENT and not raw.variable.multi_valued:
            return f"{min(share, 1.0):.0%} of its values are different"
        return (_hashed(raw),)
    assert raw.state.numeric is not None and raw.edges.numeric is not None
    values = distinct_values(raw.edges.numeric)
    few = raw.integer and values is not None and values.size <= FEW_VALUES
    if raw.variable.multi_valued:
        return (_vocabulary(raw),) if few else (_scaled(raw, log=_skewed(raw)),)
    scaled = _scaled(raw, log=_skewed(raw))
    if few:
        return (scaled, _vocabulary(raw))
    return (scaled, bucketed(raw, 0)) if raw.wide else (scaled,)


def _skewed(raw: Raw) -> bool:
    assert raw.state.numeric is not None and raw.edges.numeric is not None
    before = clipped_shape(raw.state.numeric).skewness
    if raw.state.numeric.raw.minimum < 0.0 or before <= SKEWED:
        return False
    return abs(log_shape(raw.state.numeric, raw.edges.numeric).skewness) < before


def _scaled(raw: Raw, *, log: bool) -> Scaled:
    numeric, edges = raw.state.numeric, raw.edges.numeric
    if numeric is None or edges is None or raw.variable.dtype == "timestamp":
        raise raw.refuse("it is no number", "use vocabulary, hash or text")
    shape = log_shape(numeric, edges) if log else clipped_shape(numeric)
    return Scaled(
        variable=raw.name,
        mean=shape.mean,
        sd=shape.sd if 0.0 < shape.sd < math.inf else 1.0,
        low=edges.clip_low,
        high=edges.clip_high,
        log=log,
    )


def bucketed(raw: Raw, embedding: int) -> Bucketed:
    """Buckets at training's quantiles.

    :raises ConfigError: it is no number, or has several values per row.
    """
    numeric, edges = raw.state.numeric, raw.edges.numeric
    if numeric is None or edges is None or raw.variable.dtype == "timestamp":
        raise raw.refuse("it is no number", "use vocabulary, hash or text")
    if raw.variable.multi_valued:
        raise raw.refuse("a row has several values of it", "use scale, log, vocabulary or hash")
    boundaries = quantile_boundaries(numeric, edges, raw.choice.buckets)
    if graph_dtype(raw.variable) == "float32":  # as the graph compares
        boundaries = [float(np.float32(edge)) for edge in boundaries]
    unique = tuple(dict.fromkeys(boundaries))
    return Bucketed(variable=raw.name, boundaries=unique, embedding=embedding)


def _vocabulary(raw: Raw) -> Vocabulary:
    values: tuple[str, ...] = ()
    categories = raw.edges.categories
    if categories is not None:
        values = categories.values
    elif raw.edges.numeric is not None and raw.variable.dtype != "timestamp":
        numbers = distinct_values(raw.edges.numeric)
        if numbers is None:
            raise raw.refuse(
                "it has too many different numbers for a vocabulary",
                f'use buckets or hash, or declare it a category: variables.{raw.name}.kind = '
                '"categorical"',
            )  # fmt: skip
        values = tuple(spell(float(value)) for value in numbers)
    if graph_dtype(raw.variable) == "string":
        gone = missing_texts(raw.variable)
        values = tuple(value for value in values if value not in gone)
    if not values:
        raise raw.refuse("no vocabulary is kept of it", "use text or hash")
    values = values[: raw.choice.vocabulary]
    return Vocabulary(variable=raw.name, values=values, embedding=raw.embedding(len(values)))


def _hashed(raw: Raw) -> Hashed:
    buckets = raw.choice.buckets
    if "buckets" not in raw.choice.model_fields_set:
        wanted = 2 ** math.ceil(math.log2(max(2.0 * raw.state.distinct.estimate(), 1.0)))
        buckets = min(max(wanted, _HASH_BUCKETS[0]), _HASH_BUCKETS[1])
    return Hashed(variable=raw.name, buckets=buckets, embedding=raw.embedding(buckets))


def _words(raw: Raw) -> Words:
    if graph_dtype(raw.variable) != "string":
        raise raw.refuse("it is no text", "use scale, buckets, vocabulary or hash")
    chosen = "buckets" in raw.choice.model_fields_set
    buckets = raw.choice.buckets if chosen else TEXT_BUCKETS
    return Words(variable=raw.name, buckets=buckets, embedding=raw.embedding(buckets))
