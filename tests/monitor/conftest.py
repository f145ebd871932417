"""Profiles of numpy columns, for tests of the decision core."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone

import numpy as np
import pytest

from trueup.config.compare import CompareSettings
from trueup.monitor.compare import decide
from trueup.profile.edges import CategoryEdges, Edges, FeatureEdges, NumericEdges
from trueup.profile.moments import Moments
from trueup.profile.sketches import Atoms, FrequentItems
from trueup.profile.states import (
    CategoryState,
    CoMoments,
    FeatureState,
    NumericState,
    Profile,
    TextState,
)
from trueup.records.input_spec import InputSpec, Kind, Role, Variable

NOW = datetime(2013, 8, 1, tzinfo=timezone.utc)
VOCABULARY = 1024


def numeric_edges(values):
    distinct, counts = np.unique(values, return_counts=True)
    if not distinct.size:
        return None
    low, high = np.quantile(values, [0.001, 0.999])
    if distinct.size <= 255:
        edges = np.append(distinct, np.nextafter(distinct[-1], np.inf))
        atoms = tuple(distinct[counts > 1].tolist())
        return NumericEdges(edges, float(low), float(high), atoms)
    edges = np.quantile(values, np.linspace(0, 1, 257))
    heavy = distinct[counts > values.size / 256]
    edges = np.unique(np.concatenate((edges, heavy, np.nextafter(heavy, np.inf))))
    return NumericEdges(edges, float(low), float(high), tuple(heavy.tolist()))


def numeric_state(values, edges):
    closed = edges.edges.copy()
    closed[-1] = np.nextafter(closed[-1], np.inf)
    counts = np.bincount(np.searchsorted(closed, values, side="right"), minlength=edges.bins + 2)
    clipped = np.clip(values, edges.clip_low, edges.clip_high)
    distinct, repeats = np.unique(values, return_counts=True)
    atoms = Atoms.of(distinct, repeats, values.size)
    return NumericState(
        counts, Moments.of(values), Moments.of(clipped), int(np.sum(values == 0)), atoms
    )


def _strings(column):
    return [value for value in column if isinstance(value, str)]


def _edges(variable, column):
    if variable.kind is Kind.CATEGORICAL:
        ranked = Counter(_strings(column)).most_common()
        if not ranked:
            return FeatureEdges()
        values = tuple(value for value, _ in ranked[:VOCABULARY])
        return FeatureEdges(categories=CategoryEdges(values, len(ranked) <= VOCABULARY))
    if variable.kind is Kind.TEXT:
        return FeatureEdges(
            lengths=numeric_edges(np.array([len(s) for s in _strings(column)], float))
        )
    numbers = np.asarray(column, float)
    return FeatureEdges(numeric=numeric_edges(numbers[np.isfinite(numbers)]))


def _state(variable, edges, column, rows):
    if column is None:
        return FeatureState(rows=rows, missing=rows)
    if variable.kind is Kind.CATEGORICAL:
        strings = _strings(column)
        missing = sum(v is None for v in column)
        errors = rows - missing - len(strings)
        if edges.categories is None:
            return FeatureState(rows=rows, missing=missing, type_errors=errors)
        counted = Counter(strings)
        counts = np.array([counted.pop(value, 0) for value in edges.categories.values])
        state = CategoryState(counts, sum(counted.values()), FrequentItems.of(dict(counted)))
        return FeatureState(rows=rows, missing=missing, type_errors=errors, categories=state)
    if variable.kind is Kind.TEXT:
        strings = _strings(column)
        lengths = numeric_state(np.array([len(s) for s in strings], float), edges.lengths)
        joined = "".join(strings)
        classes = [
            sum(c.isascii() and c.isupper() for c in joined),
            sum(c.isascii() and c.islower() for c in joined),
            sum(c.isascii() and c.isdigit() for c in joined),
            sum(c.isascii() and not c.isalnum() for c in joined),
            sum(not c.isascii() for c in joined),
        ]
        text = TextState(sum(not s for s in strings), np.array(classes))
        return FeatureState(rows=rows, missing=rows - len(strings), lengths=lengths, text=text)
    numbers = np.asarray(column, float)
    missing, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    finite = values[np.isfinite(values)]
    hours = None
    if variable.kind is Kind.TIME:
        hours = np.bincount((finite // 3600).astype(int) % 24, minlength=24)
    if edges.numeric is None:
        return FeatureState(rows=rows, missing=missing, non_finite=infinite, hours=hours)
    return FeatureState(
        rows=rows, missing=missing, non_finite=infinite, hours=hours,
        numeric=numeric_state(finite, edges.numeric),
    )  # fmt: skip


def _variable(name, column, roles, kinds):
    kind = kinds.get(name)
    if kind is None:
        strings = any(isinstance(v, str) for v in column)
        kind = Kind.CATEGORICAL if strings else Kind.NUMERIC
    dtype = {"numeric": "float64", "time": "timestamp"}.get(kind.value, "string")
    role = roles.get(name, Role.FEATURE)
    reason = "said so" if role is Role.IGNORED else ""
    return Variable(name=name, dtype=dtype, kind=kind, role=role, reason=reason)


def _comoments(edges, data, names):
    k = len(names)
    columns = []
    for name in names:
        part = edges[name].numeric
        x = np.asarray(data[name], float)
        mean, sd = _CENTERS[name]
        columns.append((np.clip(x, part.clip_low, part.clip_high) - mean) / (sd or 1.0))
    z = np.array(columns)
    there = np.isfinite(z).astype(float)
    z = np.where(np.isfinite(z), z, 0.0)
    assert k == len(z)
    return CoMoments((there @ there.T).astype(np.int64), z @ there.T, z @ z.T, z**2 @ there.T)


_CENTERS: dict[str, tuple[float, float]] = {}


def profiles(training, serving, *, roles=None, kinds=None, pairs=()):
    """Profiles of two dicts of columns, both against the edges of the first.

    Numeric columns hold NaN for missing, others ``None``. A column that only one side has is gone
    or new.
    """
    spec = InputSpec(
        variables=tuple(
            _variable(name, column, roles or {}, kinds or {}) for name, column in training.items()
        )
    )
    profiled = [v for v in spec.variables if v.compared or v.role is Role.TIME]
    features = {v.name: _edges(v, training[v.name]) for v in profiled}
    for name in pairs:
        x = np.asarray(training[name], float)
        _CENTERS[name] = (float(np.nanmean(x)), float(np.nanstd(x)))
    edges = Edges(spec, features, tuple(pairs))
    found = []
    for data in (training, serving):
        rows = max((len(column) for column in data.values()), default=0)
        states = {v.name: _state(v, features[v.name], data.get(v.name), rows) for v in profiled}
        absent = frozenset(v.name for v in profiled if v.name not in data)
        extra = tuple((name, "double") for name in data if name not in training)
        co = None
        if pairs and not absent.intersection(pairs):
            co = _comoments(features, data, list(pairs))
        found.append(Profile(edges, rows, states, co, absent, extra))
    return tuple(found)


@pytest.fixture(scope="session")
def build():
    return profiles


@pytest.fixture(scope="session")
def compare():
    """``compare(training, serving, settings=…, **builder options)`` → report."""

    def run(training, serving, settings=None, variation=None, row_skew=(), **options):
        before, after = profiles(training, serving, **options)
        return decide(
            before, after, settings or CompareSettings(), check_id="c1", now=NOW, variation=variation,
            row_skew=row_skew,
        )  # fmt: skip

    return run
