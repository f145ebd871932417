"""What a column is for, recognized from rows, with the reason that a user is shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.errors import DataError
from trueup.records.input_spec import InputSpec, Kind, Role

ROWS = 300
CHANCE = np.random.default_rng(17)
FARE = CHANCE.normal(13, 4, ROWS)
HOURS = pd.date_range("2024-01-01", periods=ROWS, freq="h")
SECONDS = (HOURS.astype("int64") // 10**9).to_numpy()


def infer(columns: Mapping[str, object], **roles: object) -> InputSpec:
    frame = pd.DataFrame({"fare": FARE, **columns})
    return infer_spec(open_dataset(frame, name="training"), **roles)  # type: ignore[arg-type]


def with_role(spec: InputSpec, role: Role) -> set[str]:
    return {variable.name for variable in spec.with_role(role)}


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("user_id", CHANCE.permutation(ROWS) * 7, "its name says identifier"),
        ("userId", [f"u{n}" for n in range(ROWS)], "its name says identifier"),
        ("uuid", [f"{n:032x}" for n in range(ROWS)], "its name says identifier"),
        ("Unnamed: 0", CHANCE.permutation(ROWS), "its name says identifier"),
        ("row", np.arange(5, 5 + ROWS), "it counts the rows"),
        ("token", [f"{n:x}z" for n in range(ROWS)], "every value is different"),
    ],
)
def test_identifiers(name: str, values: object, reason: str) -> None:
    variable = infer({name: values})[name]
    assert variable.role is Role.ID
    assert reason in variable.reason


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shop_id", np.arange(ROWS) % 9),  # repeats: a category
        ("paid", CHANCE.permutation(ROWS)),  # all different, and neither named nor counting
        ("valid", [f"v{n % 5}" for n in range(ROWS)]),  # ends in id
        ("price", FARE.round(9)),
        ("comment", [f"word {n} and more" for n in range(ROWS)]),
        ("amount", [f"{n}.5" for n in range(ROWS)]),
    ],
)
def test_what_is_no_identifier(name: str, values: object) -> None:
    assert infer({name: values})[name].role is Role.FEATURE


def test_few_rows_say_nothing_about_identifiers() -> None:
    frame = pd.DataFrame({"code": [f"c{n}" for n in range(50)], "key": range(10, 60)})
    spec = infer_spec(open_dataset(frame))
    assert spec["code"].role is Role.FEATURE
    assert spec["key"].role is Role.ID


@pytest.mark.parametrize(
    ("name", "values", "form", "unit"),
    [
        ("pickup_datetime", HOURS, "event time: times", ""),
        ("when", HOURS.strftime("%Y-%m-%dT%H:%M:%SZ"), "ISO 8601 times written as strings", ""),
        ("day", HOURS.strftime("%Y-%m-%d"), "ISO 8601 times written as strings", ""),
        ("event_ts", SECONDS, "integers of s since 1970", "s"),
        ("timestamp", SECONDS * 1000, "integers of ms since 1970", "ms"),
        ("created_at", SECONDS * 10**9, "integers of ns since 1970", "ns"),
    ],
)
def test_event_times(name: str, values: object, form: str, unit: str) -> None:
    variable = infer({name: values})[name]
    assert (variable.role, variable.kind, variable.unit) == (Role.TIME, Kind.TIME, unit)
    assert form in variable.reason


def test_times_without_a_zone_are_said_to_be_utc() -> None:
    naive = infer({"when": HOURS.strftime("%Y-%m-%d %H:%M")})["when"]
    assert "those without a zone are taken as UTC" in naive.reason
    assert "zone" not in infer({"when": HOURS.strftime("%Y-%m-%dT%H:%MZ")})["when"].reason


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount", SECONDS),  # numbers of that size whose name says nothing of time
        ("seconds_ts", SECONDS // 1000),  # named for it, but in 1970
        ("when", ["2024-01-01"] * (ROWS - 20) + ["soon"] * 20),  # fewer than 95 %
    ],
)
def test_what_is_no_time(name: str, values: object) -> None:
    assert infer({name: values})[name].kind is not Kind.TIME


def test_the_event_time_among_several_times() -> None:
    spec = infer({"birth_date": HOURS, "updated_at": HOURS, "loaded": HOURS, "event_time": HOURS})
    assert with_role(spec, Role.TIME) == {"event_time"}
    assert spec["loaded"].role is Role.FEATURE
    assert "the event time is 'event_time'" in spec["loaded"].reason
    lone = infer({"birth_date": HOURS})
    assert with_role(lone, Role.TIME) == set()
    constant = infer({"timestamp": [HOURS[0]] * ROWS, "seen": HOURS})
    assert with_role(constant, Role.TIME) == {"seen"}


def test_labels() -> None:
    for name in ("label", "Target"):
        variable = infer({name: np.arange(ROWS) % 2})[name]
        assert variable.role is Role.LABEL and name in variable.reason
    assert infer({"class": np.arange(ROWS) % 2})["class"].role is Role.FEATURE
    spec = infer({"label": np.arange(ROWS) % 2, "tip": FARE}, label="tip")
    assert with_role(spec, Role.LABEL) == {"tip"}
    assert spec["tip"].reason == "given as the label"


def test_parts_of_the_calendar_are_ignored_beside_an_event_time() -> None:
    parts = {"month": HOURS.month, "hour": HOURS.hour, "pickup_day": HOURS.day}
    spec = infer({"pickup_time": HOURS, **parts})
    assert with_role(spec, Role.IGNORED) == set(parts)
    assert "calendar part of the event time" in spec["month"].reason
    assert with_role(infer(parts), Role.IGNORED) == set()
    together = {"year": HOURS.year, "month": HOURS.month, "day": HOURS.day}
    assert with_role(infer(together), Role.IGNORED) == set(together)
    weight = {"pickup_time": HOURS, "month": np.arange(ROWS) * 40}  # months of a lease
    assert with_role(infer(weight), Role.IGNORED) == set()


def test_given_roles_overrule() -> None:
    spec = infer(
        {"event_time": HOURS, "loaded": HOURS, "hour": HOURS.hour, "trip": np.arange(ROWS) % 50},
        time="loaded", label="hour", keys=["trip"],
    )  # fmt: skip
    assert with_role(spec, Role.TIME) == {"loaded"}
    assert with_role(spec, Role.LABEL) == {"hour"}
    assert spec["trip"].reason == "given as a key"
    assert spec["event_time"].role is Role.FEATURE


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ({"time": "pickup"}, "the time column 'pickup' is not in training; did you mean"),
        ({"label": "tip"}, "the label column 'tip' is not in training; check the name"),
        ({"keys": ["fares"]}, "the key column 'fares' is not in training; did you mean 'fare'?"),
        ({"time": "city"}, "the time column 'city' of training holds values such as 'Oslo'"),
        ({"time": "none"}, "the time column 'none' of training holds only missing values"),
    ],
)
def test_roles_of_columns_that_do_not_fit(roles: dict[str, object], sentence: str) -> None:
    columns = {"pickup_time": HOURS, "city": ["Oslo"] * ROWS, "none": [None] * ROWS}
    with pytest.raises(DataError) as caught:
        infer(columns, **roles)
    assert sentence in str(caught.value)


def test_every_column_is_there_in_order() -> None:
    columns = {"b": FARE, "a": ["x"] * ROWS, "none": [None] * ROWS, "lists": [[1]] * ROWS}
    spec = infer(columns)
    assert [variable.name for variable in spec.variables] == ["fare", *columns]
    assert spec["none"].optional and not spec["a"].optional
    assert all(variable.reason for variable in spec.variables if not variable.compared)
