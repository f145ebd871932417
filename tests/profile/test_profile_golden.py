"""Files of earlier releases stay readable, and the form does not change under its version."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from trueup.profile.build import profile_batches
from trueup.profile.codec import EDGES, FILE, PROFILE, dumps, dumps_edges, opened
from trueup.profile.file import open_profile
from trueup.profile.first_pass import edges_of
from trueup.profile.states import Profile
from trueup.profile.wire import Decoder
from trueup.records.input_spec import InputSpec, Kind, Missing, Role, Variable

GOLDEN = Path(__file__).parent / "golden" / "version-1.profile"
"""Written by the first release that had profiles; never write it again."""

SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind=Kind.NUMERIC, missing=Missing(sentinels=(-999,))),
        Variable(name="y", dtype="int64", kind=Kind.NUMERIC, unit="°F"),
        Variable(name="c", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="l", dtype="string", kind=Kind.CATEGORICAL, shape=(-1,)),
        Variable(name="t", dtype="string", kind=Kind.TEXT),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
        Variable(name="i", dtype="int64", kind=Kind.NUMERIC, role=Role.IGNORED, reason="a test"),
    )
)


def rows() -> pa.RecordBatch:
    """Made of arithmetic alone, so that no release of NumPy changes it."""
    n = 400
    x = [None if i % 9 == 0 else -999.0 if i % 50 == 1 else float("inf") if i == 7 else i / 8
         for i in range(n)]  # fmt: skip
    at = [i * 3_600_000_000 for i in range(n)]
    columns = {
        "x": pa.array(x, pa.float64()),
        "y": pa.array([i * i % 101 for i in range(n)], pa.int64()),
        "c": pa.array([["ä", "b", "", None][i % 7 % 4] for i in range(n)], pa.string()),
        "l": pa.array([["u", None, "v"][: i % 4] for i in range(n)], pa.list_(pa.string())),
        "t": pa.array([f"Word {i}: \N{SNOWMAN}" for i in range(n)], pa.string()),
        "at": pa.array(at, pa.timestamp("us", tz="UTC")),
        "i": pa.array(range(n), pa.int64()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def counted() -> Profile:
    return profile_batches([rows()], edges_of([rows()], SPEC))


def test_a_profile_of_version_1_is_read() -> None:
    saved = open_profile(GOLDEN)
    assert (saved.name, saved.notes) == ("golden", ("made by arithmetic",))
    profile, frame = saved.profile, rows().to_pandas()
    x = frame["x"].replace([-999, float("inf")], None).astype(float)
    state = profile.features["x"]
    assert state.numeric is not None
    assert (state.rows, state.missing, state.non_finite) == (400, x.isna().sum() - 1, 1)
    assert abs(state.numeric.raw.mean - x.mean()) < 1e-12
    categories, known = profile.features["c"].categories, profile.edges.features["c"].categories
    assert categories is not None and known is not None
    expected: pd.Series = frame["c"].value_counts()
    assert dict(zip(known.values, categories.counts.tolist(), strict=True)) == expected.to_dict()
    assert profile.edges.spec == SPEC


def test_what_is_read_is_written_alike() -> None:
    """When this fails, the form has changed: count up VERSION, keep reading the old form, and add
    a file beside this one."""
    content = Decoder(opened(FILE, GOLDEN.read_bytes()))
    assert (content.text(), content.texts()) == ("golden", ("made by arithmetic",))
    edges, profile = content.bytes(), content.bytes()
    saved = open_profile(GOLDEN).profile
    assert opened(EDGES, dumps_edges(saved.edges)) == opened(EDGES, edges)
    assert opened(PROFILE, dumps(saved)) == opened(PROFILE, profile)


def test_the_same_rows_are_counted_alike_in_every_release() -> None:
    """Bins, vocabularies, counts and the hashes behind distinct values: stored profiles merge
    with later ones. (Sums are the same but for their last bits, which machines round otherwise.)"""
    saved, now = open_profile(GOLDEN).profile, counted()
    for name, edges in saved.edges.features.items():
        assert now.edges.features[name].categories == edges.categories
        for part in ("numeric", "lengths"):
            a, b = getattr(now.edges.features[name], part), getattr(edges, part)
            assert (a is None) == (b is None)
            assert a is None or a.edges.tolist() == b.edges.tolist()
    for name, state in saved.features.items():
        found = now.features[name]
        assert found.distinct.registers.tolist() == state.distinct.registers.tolist()
        assert (found.rows, found.missing) == (state.rows, state.missing)
        for part in ("numeric", "categories", "lengths"):
            a, b = getattr(found, part), getattr(state, part)
            assert a is None or a.counts.tolist() == b.counts.tolist()
