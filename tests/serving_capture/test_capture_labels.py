"""Labels as they come: checked, dated, put through the policies, one row each."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.config.serving import ModelCaptureSettings
from trueup.errors import BadInputError
from trueup.frames.capture_codec import decode_frame
from trueup.records.capture import Body, FrameKind
from trueup.records.identity import RowId
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.serving.capture.labels import parse_labels
from trueup.serving.capture.policy import CapturePolicy
from trueup.serving.capture.sent_rows import ROWS_OF_A_FRAME, Taken, UnknownModelError

NOW = 1_700_000_000_000_000
NOW_TEXT = "2023-11-14T22:13:20.000000Z"
SPEC = InputSpec(
    variables=(
        Variable(name="order", dtype="int64", kind=Kind.NUMERIC, role=Role.ID),
        Variable(name="mail", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="note", dtype="string", kind=Kind.CATEGORICAL),
        Variable(name="income", dtype="float64", kind=Kind.NUMERIC, role=Role.LABEL),
    )
)
PRIVATE: Any = {
    "mail": {"policy": "hash"},
    "note": {"policy": "drop"},
    "income": {"policy": "truncate", "multiple": 1000},
}
POLICIES = {
    "orders": CapturePolicy("orders", ModelCaptureSettings(), SPEC, bytes(32)),
    "private": CapturePolicy("private", ModelCaptureSettings(columns=PRIVATE), SPEC, bytes(32)),
    "off": CapturePolicy("off", ModelCaptureSettings(enabled=False), SPEC, bytes(32)),
    "unknown-spec": CapturePolicy("unknown-spec", ModelCaptureSettings(), None, bytes(32)),
}


def take(labels: Any, model: str = "orders") -> Taken:
    body = json.dumps({"model": model, "labels": labels}).encode()
    return parse_labels(body, ndjson=False, arrival_us=NOW, policy_of=POLICIES.get)


def written(taken: Taken) -> list[dict[str, Any]]:
    frames = [decode_frame(payload) for batch in taken.batches for payload in batch.payloads]
    assert all((each.kind, each.body) == (FrameKind.LABELS, Body.ROWS) for each in frames)
    rows = [orjson.loads(frame.request) for frame in frames]
    assert [frame.rows for frame in frames] == [len(each) for each in rows]
    return [row for each in rows for row in each]


def test_labels_are_written_as_they_came_and_dated() -> None:
    row_id = str(RowId("0" * 26, 7, 0))
    sent: list[dict[str, Any]] = [
        {"id": "a/b/0", "label": 1},
        {"id": row_id, "label": "late", "labelled_at": "2013-07-01T05:30:00+02:00"},
        {"key": {"order": 5, "mail": "a"}, "label": {"income": 1.5, "late": True}},
    ]
    taken = take(sent)
    assert taken.reply() == {"accepted": 3, "refused": 0, "reasons": []}
    assert written(taken) == [
        {"id": "a/b/0", "label": 1, "labelled_at": NOW_TEXT},
        {"id": row_id, "label": "late", "labelled_at": "2013-07-01T03:30:00.000000Z"},
        {**sent[2], "labelled_at": NOW_TEXT},
    ]
    assert (taken.batches[0].rows, taken.batches[0].newest_event_us) == (3, None)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (5, "it is no object"),
        ({"label": 1}, 'it needs either "id" or "key"'),
        ({"id": "a/0", "key": {"order": 1}, "label": 1}, 'it needs either "id" or "key"'),
        ({"id": "a", "label": 1}, '"id" must be'),
        ({"id": "/0", "label": 1}, '"id" must be'),
        ({"id": "a/x", "label": 1}, '"id" must be'),
        ({"id": 5, "label": 1}, '"id" must be'),
        ({"id": "a/0"}, '"label" must be'),
        ({"id": "a/0", "label": None}, '"label" must be'),
        ({"id": "a/0", "label": [1]}, '"label" must be'),
        ({"id": "a/0", "label": {}}, '"label" must be'),
        ({"id": "a/0", "label": {"x": {"y": 1}}}, '"label" must be'),
        ({"id": "a/0", "label": float("nan")}, '"label" must be'),
        ({"id": "a/0", "label": 1, "labelled_at": "soon"}, '"labelled_at" must be a time'),
        ({"id": "a/0", "label": 1, "lable": 2}, "unknown key 'lable'"),
        ({"key": {}, "label": 1}, '"key" must be an object'),
        ({"key": [1], "label": 1}, '"key" must be an object'),
        ({"key": {"ordr": 1}, "label": 1}, "key 'ordr' is no variable of the model"),
        ({"key": {"order": None}, "label": 1}, "key 'order' must be a text"),
    ],
)
def test_bad_labels_are_refused_with_their_reason(label: Any, said: str) -> None:
    taken = take([label, {"id": "a/0", "label": 1}])
    assert (taken.accepted, taken.refused) == (1, 1)
    assert taken.reasons[0]["index"] == 0
    assert taken.reasons[0]["reason"].startswith(said)


def test_keys_and_labels_go_through_the_policies() -> None:
    [found] = written(
        take([{"key": {"mail": "SECRET", "order": 1}, "label": 56_789.0}], model="private")
    )
    row = POLICIES["private"].columns.row({"mail": "SECRET", "order": 1})
    assert found["key"] == row  # what the captured row of that variable holds
    assert "SECRET" not in str(found)
    assert found["label"] == 56_000.0
    [named] = written(take([{"id": "a/0", "label": {"income": 56_789.0, "x": 5}}], "private"))
    assert named["label"] == {"income": 56_000.0, "x": 5}
    for label in (
        {"key": {"note": "a"}, "label": 1},
        {"id": "a/0", "label": {"note": "a"}},
    ):
        taken = take([label], model="private")
        assert "policy" in taken.reasons[0]["reason"]


def test_without_the_variables_any_key_goes() -> None:
    assert take([{"key": {"anything": 1}, "label": 1}], model="unknown-spec").accepted == 1


def test_lines_of_labels() -> None:
    lines = [
        b'{"model": "orders", "id": "a/0", "label": 1}',
        b'{"model": "private", "id": "a/1", "label": 2}',
        b'{"model": "off", "id": "a/1", "label": 2}',
        b'{"model": "nobody", "id": "a/1", "label": 2}',
    ]
    taken = parse_labels(b"\n".join(lines), ndjson=True, arrival_us=NOW, policy_of=POLICIES.get)
    assert [batch.model for batch in taken.batches] == ["orders", "private"]
    assert [each["index"] for each in taken.reasons] == [2, 3]


def test_bodies_that_are_none() -> None:
    with pytest.raises(BadInputError, match='non-empty array "labels"'):
        take([])
    with pytest.raises(UnknownModelError):
        take([{"id": "a/0", "label": 1}], model="nobody")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=30),
            st.integers(0, 999_999),
            st.integers(-(2**70), 2**70) | st.text() | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False),
        ),
        min_size=1,
    )
)  # fmt: skip
def test_every_label_is_in_the_frames_once_in_order(labels: list[Any]) -> None:
    sent = [{"id": f"{name}/{row}", "label": label} for name, row, label in labels]
    taken = take(sent)
    frames = [decode_frame(payload) for batch in taken.batches for payload in batch.payloads]
    found = [row for frame in frames for row in json.loads(frame.request)]
    assert len(found) == len(sent)
    for one, kept in zip(sent, found, strict=True):
        assert kept["id"] == one["id"]
        assert kept["label"] == one["label"] or isinstance(one["label"], int)


def test_many_labels_make_frames_of_bounded_size() -> None:
    taken = take([{"id": f"a/{row}", "label": row} for row in range(ROWS_OF_A_FRAME + 1)])
    assert [row["label"] for row in written(taken)] == list(range(ROWS_OF_A_FRAME + 1))
    assert len(taken.batches[0].payloads) == 2
