"""Which captured rows and labels are a person's: those with the values of key columns, and those of
requests with given ids.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from trueup.datasets.column_policies import ColumnPolicies
from trueup.errors import BadInputError
from trueup.monitor.capture.labels_refs import By, key_ref, key_refs, request_refs, split_ref
from trueup.monitor.capture.labels_sides import INPUT

ROW_COLUMNS = ("row_id", "request_id", "row", "raw_request")
LABEL_COLUMNS = ("by", "key", "ref")


@dataclass(frozen=True)
class TheirRows:
    """The person's rows that were found, as labels name rows.

    :param requests: ``<request id>/<row>`` of those whose client gave an id.
    """

    row_ids: pa.Array
    requests: pa.Array

    @classmethod
    def none(cls) -> TheirRows:
        return cls(pa.array([], pa.string()), pa.array([], pa.string()))

    def and_of(self, rows: pa.Table) -> TheirRows:
        """With more ``rows``, which have :data:`ROW_COLUMNS`."""
        ids, requests, numbers = (
            pa.concat_arrays([pa.array([], rows.schema.field(name).type), *column.chunks])
            for name in ("row_id", "request_id", "row")
            for column in [rows.column(name)]
        )
        refs = request_refs(requests, numbers).drop_null()
        return TheirRows(
            pa.concat_arrays([self.row_ids, ids]), pa.concat_arrays([self.requests, refs])
        )


@dataclass(frozen=True)
class Person:
    """Whose rows are meant.

    :param key: variable → value as the capture has it, spelt canonically; rows must have all.
    :param plain: the values as they were given, which unreadable requests hold.
    :param request_ids: of requests that are theirs as well.
    """

    key: Mapping[str, str]
    plain: Mapping[str, str]
    request_ids: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Of captured rows, that tell whose they are."""
        return [*ROW_COLUMNS, *(f"{INPUT}{name}" for name in self.key)]

    def digest(self, secret: bytes) -> str:
        """What tells two requests to forget the same person, and nothing else about them."""
        said = json.dumps([sorted(self.plain.items()), sorted(self.request_ids)])
        message = b"forget\0" + said.encode("utf-8", "backslashreplace")
        return hmac.digest(secret, message, "sha256").hex()


def person(keys: Mapping[str, str], request_ids: Sequence[str], policies: ColumnPolicies) -> Person:
    """Whose rows are meant by ``keys`` (values as clients send them).

    :raises BadInputError: when rows cannot be told by a key: nothing is written down of it, or not
        enough.
    """
    if not keys and not request_ids:
        raise BadInputError(
            "nobody is named", remedy="give --key VARIABLE=VALUE or --request-id ID"
        )
    for name in keys:
        policy = policies.policies.get(name)
        if policy is not None and policy.policy in ("drop", "truncate"):
            raise BadInputError(
                f"rows cannot be found by {name}: its column policy is {policy.policy}",
                remedy="name the rows by another variable, or by --request-id",
            )
        if policies.spec is not None and name not in policies.spec.by_name and policies.active:
            raise BadInputError(f"{name} is no variable of the model, and not in the capture")
    found = {}
    for name, value in policies.row(dict(keys)).items():
        text = key_ref([value])
        if text is None or not keys[name]:
            raise BadInputError(f"the value of {name} is missing", remedy="give VARIABLE=VALUE")
        found[name] = text
    return Person(found, dict(keys), tuple(request_ids))


def matching_rows(person: Person, rows: pa.Table) -> np.ndarray:
    """Which captured ``rows`` are the person's, bool ``(n,)``: refused ones, too."""
    found = np.zeros(rows.num_rows, bool)
    if person.request_ids:
        wanted = pa.array(person.request_ids, pa.string())
        found |= _flags(pc.is_in(rows.column("request_id"), value_set=wanted))
    if not person.key:
        return found
    keyed = np.ones(rows.num_rows, bool)
    for name, text in person.key.items():
        column = f"{INPUT}{name}"
        if column not in rows.column_names:
            keyed[:] = False
            break
        keyed &= _flags(pc.equal(_canonical(rows.column(column)), text))
    found |= keyed
    raw = rows.column("raw_request")
    for place in np.flatnonzero(_flags(raw.is_valid()) & ~found).tolist():
        found[place] = _raw_matches(person, raw[place].as_py())
    return found


def matching_labels(person: Person, labels: pa.Table, rows: TheirRows) -> np.ndarray:
    """Which ``labels`` are the person's, bool ``(n,)``: of these rows, of the requests, or by a key
    that has the person's values in it.

    :param labels: with :data:`LABEL_COLUMNS`, and ``row_id`` where they are resolved.
    """
    by, ref = labels.column("by"), labels.column("ref")
    found = np.zeros(labels.num_rows, bool)
    for way, refs in ((By.ROW, rows.row_ids), (By.REQUEST, rows.requests)):
        found |= _flags(pc.and_(pc.equal(by, way.value), pc.is_in(ref, value_set=refs)))
    if "row_id" in labels.column_names:
        found |= _flags(pc.is_in(labels.column("row_id"), value_set=rows.row_ids))
    if person.request_ids:
        requests = pc.replace_substring_regex(ref, r"/\d+$", "")
        wanted = pa.array(person.request_ids, pa.string())
        theirs = pc.is_in(requests, value_set=wanted)
        found |= _flags(pc.and_(pc.equal(by, By.REQUEST.value), theirs))
    if person.key:
        for key in pc.unique(labels.column("key")).to_pylist():
            names = orjson.loads(key)
            if set(person.key) <= set(names):
                found |= _flags(pc.equal(labels.column("key"), key)) & _keyed(person, names, ref)
    return found


def matching_frames(person: Person, frames: pa.Table) -> np.ndarray:
    """Which frames that were set aside are the person's, bool ``(n,)``: those that hold all their
    values, or one of the requests' ids, as words."""
    found = np.zeros(frames.num_rows, bool)
    for place, payload in enumerate(frames.column("payload").to_pylist()):
        text = payload.decode("utf-8", "backslashreplace")
        found[place] = any(_holds(text, request) for request in person.request_ids) or (
            bool(person.key)
            and all(
                _holds(text, plain) or _holds(text, person.key[name])
                for name, plain in person.plain.items()
            )
        )
    return found


def _keyed(person: Person, names: Sequence[str], refs: pa.ChunkedArray) -> np.ndarray:
    if len(names) == 1:
        return _flags(pc.equal(refs, person.key[names[0]]))
    wanted = {name: split_ref(text)[0] for name, text in person.key.items()}
    parts = [dict(zip(names, split_ref(ref), strict=False)) for ref in refs.to_pylist()]
    found = [all(part.get(name) == text for name, text in wanted.items()) for part in parts]
    return np.array(found, bool)


def _canonical(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        return pa.chunked_array([pa.nulls(len(column), pa.string())])
    return pa.chunked_array([key_refs([chunk]) for chunk in column.chunks], type=pa.string())


def _raw_matches(person: Person, raw: str) -> bool:
    """Of a row whose JSON was kept because not all of it could be read."""
    try:
        row: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        row = None
    if isinstance(row, dict) and not {"instances", "inputs"} & set(row):
        values = {name: _first(row.get(name)) for name in person.key}
        return all(
            not isinstance(value, dict | list) and key_ref([value]) == person.key[name]
            for name, value in values.items()
        )
    return all(_holds(raw, text) for text in person.plain.values())


def _first(value: Any) -> Any:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _holds(raw: str, text: str) -> bool:
    """Whether the body holds ``text`` as a word of its own: nothing finer can be said of it."""
    escaped = json.dumps(text)[1:-1]
    forms = {text, escaped}
    return any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", raw) for form in forms)


def _flags(mask: Any) -> np.ndarray:
    filled = pc.fill_null(mask, False)
    found: np.ndarray = np.asarray(filled, dtype=bool)
    return found
