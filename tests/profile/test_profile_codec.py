"""Profiles as bytes: exact round trips, small, and one sentence for whatever is damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.datasets.flights import flights_with_weather
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.errors import BadInputError, DataError, ProfileError
from trueup.profile.build import profile_batches
from trueup.profile.codec import VERSION, dumps, dumps_edges, loads, loads_edges
from trueup.profile.file import ProfileFile, is_profile_file, open_profile, save_profile
from trueup.profile.first_pass import edges_of
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.profile.states import FeatureState, Profile
from trueup.profile.wire import Decoder, Encoder
from trueup.records.input_spec import InputSpec, Kind, Role, Variable

BYTES_PER_FEATURE = 3_000


FLOATS = st.one_of(st.none(), st.floats(), st.integers(-9, 9).map(float))
ROW = st.tuples(
    FLOATS,
    FLOATS,
    st.one_of(st.none(), st.text(max_size=3)),
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats()), max_size=3)),
    st.one_of(st.none(), st.integers(-(2**40), 2**40)),
)
ROWS = st.lists(ROW, min_size=1, max_size=40)
SPEC = InputSpec(
    variables=(
        Variable(name="x", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="y", dtype="float64", kind=Kind.NUMERIC),
        Variable(name="c", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="t", dtype="string", kind=Kind.TEXT),
        Variable(name="l", dtype="float64", kind=Kind.NUMERIC, shape=(-1,)),
        Variable(name="at", dtype="timestamp", kind=Kind.TIME, role=Role.TIME),
    )
)


def batch_of(rows: list) -> pa.RecordBatch:
    x, y, c, lists, at = (list(column) for column in zip(*rows, strict=True))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(x, pa.float64(), from_pandas=False),
            pa.array(y, pa.float64(), from_pandas=False),
            pa.array(c, pa.string()),
            pa.array(c, pa.string()),
            pa.array(lists, pa.list_(pa.float64())),
            pa.array(at, pa.timestamp("s", tz="UTC")),
        ],
        names=["x", "y", "c", "t", "l", "at"],
    )


def profile_of(frame: pd.DataFrame, of: pd.DataFrame | None = None) -> Profile:
    """Profile of ``frame`` (or of ``of``) against the edges of ``frame``."""
    data = open_dataset(frame)
    edges = first_pass_dataset(data, infer_spec(data), workers=1)
    return profile_dataset(data if of is None else open_dataset(of), edges, workers=1)


def mixed(rows: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x = rng.lognormal(3, 1, rows)
    x[::17] = np.nan
    x[5] = np.inf
    return pd.DataFrame(
        {
            "x": x,
            "y": x * 2 + rng.normal(size=rows),
            "count": rng.poisson(4, rows),
            "name": rng.choice(["ü", "b\N{SNOWMAN}", "", "\ud800x"], rows),
            "remark": [" ".join(["word"] * (i % 30 + 9)) + str(i) for i in range(rows)],
            "tags": [list("abc")[: i % 4] for i in range(rows)],
            "at": pd.date_range("2013-01-01", periods=rows, freq="h", tz="UTC"),
            "nothing": [None] * rows,
        }
    )


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of(mixed())


def test_edges_and_profile_come_back_bit_for_bit(profile: Profile) -> None:
    edges = loads_edges(dumps_edges(profile.edges))
    assert edges.edges_id == profile.edges.edges_id
    assert edges.spec == profile.edges.spec
    assert (edges.pairs, edges.centers) == (profile.edges.pairs, profile.edges.centers)
    back = loads(dumps(profile), edges)
    assert (back.rows, back.absent, back.extra) == (profile.rows, profile.absent, profile.extra)
    assert back.features.keys() == profile.features.keys()
    for name, state in profile.features.items():
        assert_equal(back.features[name], state)
    assert_equal(back.comoments, profile.comoments)
    assert dumps(back) == dumps(profile)


def assert_equal(a: object, b: object) -> None:
    """Equal records field by field, arrays to the bit and of the same type."""
    assert type(a) is type(b)
    if isinstance(b, np.ndarray):
        assert isinstance(a, np.ndarray)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif hasattr(b, "__dataclass_fields__"):
        for field in b.__dataclass_fields__:
            assert_equal(getattr(a, field), getattr(b, field))
    elif isinstance(b, float):
        assert struct.pack("<d", a) == struct.pack("<d", b)  # NaN too, and -0.0 is not 0.0
    else:
        assert a == b


def test_what_comes_back_merges_with_what_was_there(profile: Profile) -> None:
    back = loads(dumps(profile), loads_edges(dumps_edges(profile.edges)))
    assert dumps(back.merge(profile)) == dumps(profile.merge(profile))


def test_a_profile_without_rows(profile: Profile) -> None:
    empty = profile_of(mixed(), mixed()[["x"]].head(1))
    back = loads(dumps(empty), profile.edges)
    assert back.absent == empty.absent
    assert dumps(back) == dumps(empty)


def test_size_of_a_window_of_flights() -> None:
    flights = flights_with_weather()
    training, window = flights[flights["month"] <= 6], flights[flights["month"] == 7]
    found = profile_of(training, window)
    assert max(sizes(found).values()) <= BYTES_PER_FEATURE
    assert len(dumps(found)) <= 1_500 * len(found.features)


def test_size_at_the_limits() -> None:
    """All bins and all of the vocabulary in use, every value new, names of 30 characters."""
    rng = np.random.default_rng(0)
    rows = 60_000
    training = pd.DataFrame(
        {"x": rng.normal(size=rows), "name": [f"a rather long category name {i % 1024:04}"
                                              for i in range(rows)]}
    )  # fmt: skip
    window = training.assign(x=rng.normal(size=rows), name=rng.permutation(training["name"]))
    found = profile_of(training, window)
    assert max(sizes(found).values()) <= BYTES_PER_FEATURE
    billion = {name: scaled(state, 1_000_000_000 // rows) for name, state in found.features.items()}
    assert max(sizes(replace(found, features=billion)).values()) <= BYTES_PER_FEATURE


def scaled(state: FeatureState, times: int) -> FeatureState:
    """As of ``times`` as many rows, so that a count has more digits, and none of them regular."""
    rng = np.random.default_rng(1)
    numeric, categories = state.numeric, state.categories
    if numeric is not None:
        numeric = replace(numeric, counts=rng.poisson(numeric.counts * times))
    if categories is not None:
        categories = replace(categories, counts=rng.poisson(categories.counts * times))
    return replace(state, rows=state.rows * times, numeric=numeric, categories=categories)


def sizes(found: Profile) -> dict[str, int]:
    return {
        name: len(dumps(replace(found, features={name: state}, comoments=None)))
        for name, state in found.features.items()
    }


def forms(profile: Profile, tmp_path: Path) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """Everything that is stored, with what reads it."""
    path = tmp_path / "x.profile"
    save_profile(ProfileFile(profile, "x"), path)

    def read_file(data: bytes) -> object:
        path.write_bytes(data)
        return open_profile(path)

    return {
        "profile": (dumps(profile), lambda data: loads(data, profile.edges)),
        "edges": (dumps_edges(profile.edges), loads_edges),
        "file": (path.read_bytes(), read_file),
    }


@pytest.mark.parametrize("form", ["profile", "edges", "file"])
def test_flipped_bytes_and_cuts_are_found(form: str, tmp_path: Path) -> None:
    found = profile_of(mixed(100)[["count", "name"]])
    stored, read = forms(found, tmp_path)[form]
    read(stored)
    for place in range(len(stored)):
        damaged = bytearray(stored)
        damaged[place] ^= 1 << place % 8
        cuts = [stored[:place]] if place < 64 or place % 8 == 0 else []
        for broken in (bytes(damaged), *cuts):
            with pytest.raises((ProfileError, DataError)):
                read(broken)
    with pytest.raises((ProfileError, DataError)):
        read(stored + b"\0")


@settings(max_examples=100, deadline=None)
@given(training=ROWS, rows=st.lists(ROW, max_size=40))
def test_every_profile_comes_back_bit_for_bit(training: list, rows: list) -> None:
    """Also of columns that are all null, numbers whose squares overflow, and no rows at all."""
    edges = edges_of([batch_of(training)], SPEC)
    found = profile_batches([batch_of(rows)] if rows else [], edges)
    back = loads(dumps(found), loads_edges(dumps_edges(edges)))
    assert back.edges.edges_id == edges.edges_id
    assert back.features.keys() == found.features.keys()
    for name, state in found.features.items():
        assert_equal(back.features[name], state)
    assert_equal(back.comoments, found.comoments)
    assert dumps(back) == dumps(found)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_content_behind_a_good_checksum(data: st.DataObject) -> None:
    """As crafted by hand: whatever the content is, it is read, or refused with a sentence."""
    from trueup.profile import codec

    frame = pd.DataFrame({"x": [1.0, 2.0, 2.5] * 9, "c": ["a", "b", "a"] * 9})
    found = profile_of(frame)
    kind = data.draw(st.sampled_from([codec.PROFILE, codec.EDGES]))
    content = bytearray(
        codec.opened(kind, dumps(found) if kind == codec.PROFILE else dumps_edges(found.edges))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    crafted = codec.sealed(kind, bytes(content))
    with suppress(ProfileError):  # any other exception fails
        if kind == codec.PROFILE:
            loads(crafted, found.edges)
        else:
            loads_edges(crafted)


def test_newer_versions_are_named(profile: Profile) -> None:
    newer = bytearray(dumps(profile))
    newer[8:12] = struct.pack("<I", VERSION + 1)
    with pytest.raises(ProfileError, match=f"version {VERSION + 1}; .*up to {VERSION}"):
        loads(bytes(newer), profile.edges)


def test_other_edges_are_refused(profile: Profile) -> None:
    other = profile_of(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
    with pytest.raises(ProfileError, match=other.edges.edges_id):
        loads(dumps(profile), other.edges)
    with pytest.raises(ProfileError, match="this is no profile"):
        loads(dumps_edges(profile.edges), profile.edges)


@given(st.lists(st.integers(0, 2**63 - 1)), st.lists(st.floats()), st.text(), st.integers(0))
def test_primitive_values(counts: list, floats: list, text: str, count: int) -> None:
    out = Encoder()
    out.counts(np.array(counts, np.int64))
    out.floats(np.array(floats, np.float64))
    out.text(text)
    out.count(count % 2**64)
    source = Decoder(bytes(out.data))
    assert source.counts().tolist() == counts
    assert source.floats().tobytes() == np.array(floats, np.float64).tobytes()
    assert (source.text(), source.count()) == (text, count % 2**64)
    source.end()


def test_a_file_holds_all_of_it(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "flights.profile"
    saved = ProfileFile(profile, "flights.csv", ("a note",))
    save_profile(saved, path)
    back = open_profile(path)
    assert (back.name, back.notes) == ("flights.csv", ("a note",))
    assert dumps(back.profile) == dumps(profile)
    assert is_profile_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["flights.profile"]


def test_files_that_are_none(tmp_path: Path) -> None:
    other = tmp_path / "x.csv"
    other.write_text("a,b\n1,2\n")
    assert not is_profile_file(other)
    assert not is_profile_file(tmp_path)
    assert not is_profile_file(tmp_path / "missing")
    with pytest.raises(DataError, match=r"x\.csv: this is no profile"):
        open_profile(other)
    with pytest.raises(DataError, match="missing"):
        open_profile(tmp_path / "missing")


def test_a_file_that_cannot_be_written(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot write .*no-folder"):
        save_profile(ProfileFile(profile, "x"), tmp_path / "no-folder" / "x.profile")
