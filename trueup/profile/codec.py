"""Profiles and edges as bytes: versioned, checked, compact; never pickle.

The layout is a header of 24 bytes (magic, what follows, version, length and CRC-32 of the content)
and the content, compressed by zlib. Edges are stored once per model and profiles refer to them by
their id, so that a profile costs at most 3 kB per feature and window.

A version of 1 more means that older software cannot read it; what this module reads it reads for
ever.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from pydantic import ValidationError

from trueup.errors import ProfileError
from trueup.profile.build import profiled
from trueup.profile.edges import CategoryEdges, Edges, FeatureEdges, NumericEdges
from trueup.profile.moments import Moments
from trueup.profile.sketches import HLL_PRECISION, Atoms, FrequentItems, Hll
from trueup.profile.states import (
    CategoryState,
    CoMoments,
    FeatureState,
    NumericState,
    Profile,
    TextState,
)
from trueup.profile.wire import Decoder, Encoder, damaged
from trueup.records.input_spec import InputSpec

VERSION = 1

MAX_CONTENT = 1 << 30
"""Bytes of content; 5,000 features take 20 MB at most."""

_HEADER = struct.Struct("<4s4sIIII")  # magic, kind, version, content length, stored length, CRC
_MAGIC = b"trup"
PROFILE, EDGES, FILE = b"prof", b"edge", b"file"

_HOURS = 24
_COUNTS = ("rows", "missing", "type_errors", "non_finite", "elements", "element_missing")


def dumps_edges(edges: Edges) -> bytes:
    """``edges`` as bytes, equal for equal edges."""
    out = Encoder()
    out.text(edges.edges_id)
    out.text(edges.spec.model_dump_json())
    out.count(len(edges.features))
    for name, feature in edges.features.items():
        out.text(name)
        _put_numeric_edges(out, feature.numeric)
        _put_numeric_edges(out, feature.lengths)
        out.flag(feature.categories is not None)
        if feature.categories is not None:
            out.texts(feature.categories.values)
            out.flag(feature.categories.complete)
    out.texts(edges.pairs)
    out.flag(edges.centers is not None)
    out.count(len(edges.centers or {}))
    for name, (mean, sd) in (edges.centers or {}).items():
        out.text(name)
        out.float(mean)
        out.float(sd)
    return sealed(EDGES, bytes(out.data))


def loads_edges(data: bytes) -> Edges:
    """What :func:`dumps_edges` wrote.

    :raises ProfileError: when it is something else, damaged, or of newer software.
    """
    source = Decoder(opened(EDGES, data))
    edges_id = source.text()
    try:
        spec = InputSpec.model_validate_json(source.text())
    except ValidationError as error:
        raise damaged(f"its InputSpec is none ({error.error_count()} errors)") from None
    features = {}
    for _ in range(source.count()):
        name = source.text()
        numeric, lengths = _take_numeric_edges(source), _take_numeric_edges(source)
        categories = CategoryEdges(source.texts(), source.flag()) if source.flag() else None
        features[name] = FeatureEdges(numeric, categories, lengths)
    pairs, has_centers = source.texts(), source.flag()
    centers = {source.text(): (source.float(), source.float()) for _ in range(source.count())}
    source.end()
    edges = Edges(spec, features, pairs, centers if has_centers else None)
    if edges.edges_id != edges_id:
        raise damaged("its edges are not those that its id names")
    return edges


def dumps(profile: Profile) -> bytes:
    """``profile`` as bytes, without its edges."""
    out = Encoder()
    out.text(profile.edges.edges_id)
    out.count(profile.rows)
    out.count(len(profile.features))
    for name, state in profile.features.items():
        out.text(name)
        _put_feature(out, state)
    out.flag(profile.comoments is not None)
    if profile.comoments is not None:
        out.counts(profile.comoments.n)
        for matrix in (
            profile.comoments.sums,
            profile.comoments.products,
            profile.comoments.squares,
        ):
            out.floats(matrix)
    out.texts(sorted(profile.absent))
    out.count(len(profile.extra))
    for name, kind in profile.extra:
        out.text(name)
        out.text(kind)
    return sealed(PROFILE, bytes(out.data))


def loads(data: bytes, edges: Edges) -> Profile:
    """What :func:`dumps` wrote.

    :param edges: those that the profile was counted against.
    :raises ProfileError: when it is something else, damaged, of newer software, or of other edges.
    """
    source = Decoder(opened(PROFILE, data))
    edges_id = source.text()
    if edges_id != edges.edges_id:
        raise ProfileError(
            f"the profile was counted against edges {edges_id}, not {edges.edges_id}",
            remedy="load the edges of the same baseline",
        )
    rows = source.count()
    features = {source.text(): _take_feature(source) for _ in range(source.count())}
    for name, state in features.items():
        _check_shapes(name, state, edges)
    comoments = _take_comoments(source, len(edges.pairs)) if source.flag() else None
    absent = frozenset(source.texts())
    extra = tuple((source.text(), source.text()) for _ in range(source.count()))
    source.end()
    if features.keys() != {variable.name for variable in profiled(edges.spec)}:
        raise damaged("its columns are not those of its edges")
    return Profile(edges, rows, features, comoments, absent, extra)


def sealed(kind: bytes, content: bytes) -> bytes:
    """Header and compressed ``content``.

    :raises ProfileError: when there is more of it than would be read again.
    """
    if len(content) > MAX_CONTENT:
        raise ProfileError(
            f"a profile of {len(content):,} bytes is too large: at most {MAX_CONTENT:,} are kept",
            remedy="ignore columns of long values",
        )
    stored = zlib.compress(content, 6)
    head = _HEADER.pack(_MAGIC, kind, VERSION, len(content), len(stored), 0)
    crc = zlib.crc32(stored, zlib.crc32(head))
    return _HEADER.pack(_MAGIC, kind, VERSION, len(content), len(stored), crc) + stored


def is_sealed(head: bytes, kind: bytes) -> bool:
    """Whether a file that begins with ``head`` (8 bytes or more) was made by :func:`sealed`."""
    return head[:8] == _MAGIC + kind


def opened(kind: bytes, data: bytes) -> bytes:
    """The content that :func:`sealed` made ``data`` of."""
    if len(data) < _HEADER.size or not is_sealed(data, kind):
        raise ProfileError("this is no profile", remedy="make one with trueup profile")
    _, _, version, length, stored_length, crc = _HEADER.unpack_from(data)
    stored = memoryview(data)[_HEADER.size :]
    head = _HEADER.pack(_MAGIC, kind, version, length, stored_length, 0)
    if version > VERSION and len(stored) == stored_length:
        raise ProfileError(
            f"the profile is of version {version}; this software reads up to {VERSION}",
            remedy="update trueup",
        )
    if zlib.crc32(stored, zlib.crc32(head)) != crc or length > MAX_CONTENT:
        raise damaged("its checksum is wrong")
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(stored, length + 1)
    except zlib.error:
        raise damaged("it cannot be decompressed") from None
    if len(content) != length:
        raise damaged("its length is wrong")
    return content


def _put_numeric_edges(out: Encoder, edges: NumericEdges | None) -> None:
    out.flag(edges is not None)
    if edges is not None:
        out.floats(edges.edges)
        out.float(edges.clip_low)
        out.float(edges.clip_high)
        out.floats(np.array(edges.atoms, np.float64))


def _take_numeric_edges(source: Decoder) -> NumericEdges | None:
    if not source.flag():
        return None
    edges = source.floats()
    if len(edges) < 2 or not (np.diff(edges) > 0.0).all():
        raise damaged("its bins do not ascend")
    return NumericEdges(edges, source.float(), source.float(), tuple(source.floats().tolist()))


def _put_feature(out: Encoder, state: FeatureState) -> None:
    for name in _COUNTS:
        out.count(getattr(state, name))
    _put_numeric(out, state.numeric)
    _put_numeric(out, state.lengths)
    out.flag(state.categories is not None)
    if state.categories is not None:
        out.counts(state.categories.counts)
        out.count(state.categories.unseen)
        _put_items(out, state.categories.unseen_items)
    out.flag(state.text is not None)
    if state.text is not None:
        out.count(state.text.empty)
        out.counts(state.text.classes)
    out.flag(state.hours is not None)
    if state.hours is not None:
        out.counts(state.hours)
    out.counts(state.distinct.registers)


def _take_feature(source: Decoder) -> FeatureState:
    counts = {name: source.count() for name in _COUNTS}
    numeric, lengths = _take_numeric(source), _take_numeric(source)
    categories = text = hours = None
    if source.flag():
        categories = CategoryState(source.counts(), source.count(), _take_items(source))
    if source.flag():
        text = TextState(source.count(), source.counts())
    if source.flag():
        hours = source.counts()
        if len(hours) != _HOURS:
            raise damaged("a day has 24 hours")
    registers = source.counts()
    if len(registers) != 1 << HLL_PRECISION or registers.max() > 64:
        raise damaged("a sketch of distinct values has another size")
    return FeatureState(
        **counts, numeric=numeric, lengths=lengths, categories=categories, text=text, hours=hours,
        distinct=Hll(registers.astype(np.uint8)),
    )  # fmt: skip


def _put_numeric(out: Encoder, state: NumericState | None) -> None:
    out.flag(state is not None)
    if state is None:
        return
    out.counts(state.counts)
    _put_moments(out, state.raw)
    _put_moments(out, state.clipped)
    out.count(state.zeros)
    atoms = state.atoms
    out.count(atoms.sampled)
    out.count(atoms.error)
    out.floats(np.fromiter(atoms.counts.keys(), np.float64, len(atoms.counts)))
    out.counts(np.fromiter(atoms.counts.values(), np.int64, len(atoms.counts)))


def _take_numeric(source: Decoder) -> NumericState | None:
    if not source.flag():
        return None
    counts = source.counts()
    raw, clipped = _take_moments(source), _take_moments(source)
    zeros, sampled, error = source.count(), source.count(), source.count()
    values, weights = source.floats(), source.counts()
    if len(values) != len(weights):
        raise damaged("frequent numbers and their counts are not equally many")
    atoms = Atoms(sampled, dict(zip(values.tolist(), weights.tolist(), strict=True)), error)
    return NumericState(counts, raw, clipped, zeros, atoms)


def _put_moments(out: Encoder, moments: Moments) -> None:
    out.count(moments.n)
    for value in (
        moments.mean, moments.m2, moments.m3, moments.m4,
        moments.minimum, moments.maximum, moments.mean_tail,
    ):  # fmt: skip
        out.float(value)


def _take_moments(source: Decoder) -> Moments:
    return Moments(source.count(), *(source.float() for _ in range(7)))


def _put_items(out: Encoder, items: FrequentItems) -> None:
    out.count(items.error)
    out.count(len(items.items))
    for value, count in items.items.items():
        out.text(value)
        out.count(count)


def _take_items(source: Decoder) -> FrequentItems:
    error = source.count()
    return FrequentItems({source.text(): source.count() for _ in range(source.count())}, error)


def _take_comoments(source: Decoder, size: int) -> CoMoments:
    n = source.counts()
    matrices = [source.floats() for _ in range(3)]
    if any(matrix.size != size * size for matrix in (n, *matrices)):
        raise damaged("its co-moments are of other pairs")
    square = (size, size)
    return CoMoments(n.reshape(square), *(matrix.reshape(square) for matrix in matrices))


def _check_shapes(name: str, state: FeatureState, edges: Edges) -> None:
    """Counts must be of the edges' bins and vocabularies."""
    feature = edges.features.get(name, FeatureEdges())
    for counted, bins in ((state.numeric, feature.numeric), (state.lengths, feature.lengths)):
        if (counted is None) != (bins is None) or (
            counted is not None and bins is not None and len(counted.counts) != bins.bins + 2
        ):
            raise damaged(f"the bins of {name} are not those of its edges")
    known = feature.categories
    if (state.categories is None) != (known is None) or (
        known is not None
        and state.categories is not None
        and len(state.categories.counts) != len(known.values)
    ):
        raise damaged(f"the categories of {name} are not those of its edges")
