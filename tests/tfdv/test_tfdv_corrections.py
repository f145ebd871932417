"""A schema proto as ``--spec``, columns that are not compared, and roles that come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trueup.baseline import Wishes, profiled
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import apply_overrides
from trueup.errors import ConfigError, DataError
from trueup.profile.states import Profile
from trueup.records.input_spec import (
    CategoricalDomain,
    InputSpec,
    Kind,
    NumericDomain,
    Role,
    Variable,
)
from trueup.tfdv.baseline import from_statistics
from trueup.tfdv.rest import profile_rest
from trueup.tfdv.schema import to_schema, write_schema
from trueup.tfdv.statistics import to_statistics

ROWS = 400


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "trip_id": np.arange(ROWS) * 7 + 3,
            "start_time": 1_370_000_000_000 + np.arange(ROWS) * 60_000,
            "year": 2013,
            "month": 7,
            "day": np.arange(ROWS) % 31 + 1,
            "zip": rng.choice([10001, 10002, 10003], ROWS),
            "zone": rng.integers(1, 6, ROWS),
            "flag": rng.integers(0, 2, ROWS),
            "miles": rng.gamma(2.0, 1.5, ROWS),
            "fare": [f"{value:.2f}" for value in rng.gamma(3.0, 4.0, ROWS)],
            "remark": rng.choice(["late", "on time"], ROWS),
            "label": rng.random(ROWS),
        }
    )


def corrected(frame: pd.DataFrame, schema: str, folder: Path, **wishes: Any) -> InputSpec:
    path = folder / "schema.pbtxt"
    path.write_text(schema)
    return Wishes(spec=path, **wishes).infer(open_dataset(frame))


def test_a_schema_of_tfx_corrects_what_data_cannot_tell(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    spec = corrected(
        frame,
        """
        feature { name: "zip" type: BYTES }
        feature { name: "zone" type: INT int_domain { min: 1 max: 5 is_categorical: true } }
        feature { name: "flag" type: INT bool_domain {} }
        feature { name: "miles" type: FLOAT float_domain { min: 0.1 max: 99.9 } }
        feature { name: "fare" type: FLOAT }
        feature { name: "remark" type: BYTES natural_language_domain {} }
        feature { name: "day" type: INT deprecated: true }
        feature { name: "label" type: FLOAT not_in_environment: "SERVING" }
        feature { name: "tips" type: FLOAT presence { min_count: 1 } }
        """,
        tmp_path,
    )
    found = {v.name: (v.dtype, v.kind, v.role) for v in spec.variables}
    inferred = infer_spec(open_dataset(frame))
    assert list(found) == list(frame.columns)  # "tips" is optional, and not there
    feature = Role.FEATURE
    assert found["zip"] == ("int64", Kind.CATEGORICAL, feature)  # a code
    assert found["zone"] == ("int64", Kind.CATEGORICAL, feature)
    assert found["flag"] == ("int64", Kind.CATEGORICAL, feature)
    assert found["miles"] == ("float64", Kind.NUMERIC, feature)  # not as narrow as FLOAT
    assert found["fare"] == ("float64", Kind.NUMERIC, feature)
    assert found["remark"] == ("string", Kind.TEXT, feature)
    assert found["day"][2] is Role.IGNORED
    assert found["label"][2] is Role.LABEL
    assert spec["miles"].domain == NumericDomain(low=0.1, high=99.9)  # not 99.9000015258789
    assert spec["trip_id"] == inferred["trip_id"]
    assert spec["year"] == inferred["year"]
    profile = profiled(open_dataset(frame), Wishes(spec=tmp_path / "schema.pbtxt")).profile
    assert profile.features["zip"].categories is not None
    assert all(state.type_errors == 0 for state in profile.features.values())


def test_what_the_user_says_on_the_command_line_is_stronger(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    schema = 'feature { name: "miles" type: FLOAT deprecated: true }'
    assert corrected(frame, schema, tmp_path)["miles"].role is Role.IGNORED
    assert corrected(frame, schema, tmp_path, label="miles")["miles"].role is Role.LABEL


def test_a_required_feature_that_the_data_lack_is_named(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    schema = 'feature { name: "mile" type: FLOAT presence { min_fraction: 1 } }'
    with pytest.raises(
        DataError, match=r"schema\.pbtxt requires feature 'mile'.*did you mean 'miles'"
    ):
        corrected(frame, schema, tmp_path)


def test_a_schema_that_does_not_fit_is_named(frame: pd.DataFrame, tmp_path: Path) -> None:
    schema = 'feature { name: "miles" type: FLOAT float_domain { min: 3 max: 1 } }'
    with pytest.raises(DataError, match=r"'miles' of the schema cannot be used"):
        corrected(frame, schema, tmp_path)
    with pytest.raises((DataError, ConfigError), match=r"none\.pbtxt does not exist"):
        Wishes(spec=tmp_path / "none.pbtxt").infer(open_dataset(frame))


def test_our_own_schema_brings_back_every_correction(frame: pd.DataFrame, tmp_path: Path) -> None:
    dataset = open_dataset(frame)
    spec = apply_overrides(
        infer_spec(dataset),
        {
            "zone": {"kind": "categorical", "domain": {"values": ["1", "2"]}},
            "miles": {"unit": "mi", "missing": {"sentinels": [-1]}, "role": "label"},
            "remark": {"role": "ignored", "reason": "not of this model"},
        },
    )
    for name in ("own.pbtxt", "own.pb"):
        write_schema(spec, tmp_path / name)
        assert Wishes(spec=tmp_path / name).infer(dataset) == spec
    assert spec["zone"].domain == CategoricalDomain(values=("1", "2"))


def statistics_of(frame: pd.DataFrame, **options: Any) -> tuple[Profile, Any]:
    dataset = open_dataset(frame)
    profile = profiled(dataset, Wishes()).profile
    rest = profile_rest(dataset, profile.edges.spec, **options)
    return profile, to_statistics(profile, rest=rest)


def test_statistics_describe_columns_that_are_not_compared(frame: pd.DataFrame) -> None:
    profile, statistics = statistics_of(frame)
    features = {feature.path.step[0]: feature for feature in statistics.datasets[0].features}
    assert list(features) == list(frame.columns)
    assert "trip_id" not in profile.features
    for name in ("trip_id", "start_time", "year", "day", "miles"):
        numbers = features[name].num_stats
        assert numbers.common_stats.num_non_missing == ROWS
        assert numbers.mean == pytest.approx(frame[name].mean(), rel=1e-12)  # ms stay ms
        assert (numbers.min, numbers.max) == (frame[name].min(), frame[name].max())


def test_a_column_that_the_user_ignores_is_not_described(frame: pd.DataFrame) -> None:
    _, statistics = statistics_of(frame, leave_out=("trip_id", "year"))
    names = {feature.path.step[0] for feature in statistics.datasets[0].features}
    assert names == set(frame.columns) - {"trip_id", "year"}


def test_roles_come_back_with_their_reasons(frame: pd.DataFrame) -> None:
    profile, statistics = statistics_of(frame)
    back = from_statistics(statistics)
    for variable in profile.edges.spec.variables:
        read = back.spec[variable.name]
        if variable.name == "start_time":  # its statistics are in ms, those of serving in s
            assert (variable.role, read.role) == (Role.TIME, Role.IGNORED)
        else:
            assert (read.role, read.reason) == (variable.role, variable.reason)
    assert back.profile.features.keys() == profile.features.keys() - {"start_time"}


def test_roles_are_inferred_where_nobody_wrote_them(frame: pd.DataFrame) -> None:
    """As from TFDV, which has no roles and does not count different numbers."""
    _, statistics = statistics_of(frame.assign(start_time=frame["start_time"] // 1000))
    for feature in statistics.datasets[0].features:
        kept = [c for c in feature.custom_stats if not c.name.startswith("trueup_")]
        del feature.custom_stats[:]
        feature.custom_stats.extend(kept)
    roles = {v.name: v.role for v in from_statistics(statistics).spec.variables}
    assert roles == {
        "trip_id": Role.ID,
        "start_time": Role.TIME,
        "year": Role.IGNORED, "month": Role.IGNORED, "day": Role.IGNORED,
        "zip": Role.FEATURE, "zone": Role.FEATURE, "flag": Role.FEATURE, "miles": Role.FEATURE,
        "fare": Role.FEATURE, "remark": Role.FEATURE, "label": Role.LABEL,
    }  # fmt: skip


def test_times_written_as_strings_are_not_a_vocabulary() -> None:
    days = pd.date_range("2013-07-01", periods=300, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = pd.DataFrame({"at": [*days, *days], "x": np.arange(600) % 17})
    _, statistics = statistics_of(frame)
    feature = statistics.datasets[0].features[0]
    assert feature.path.step[0] == "at"
    feature.Clear()
    feature.path.step.append("at")
    feature.type = 2  # STRING, as TFDV has it
    strings = feature.string_stats
    strings.common_stats.num_non_missing = strings.common_stats.tot_num_values = 600
    strings.common_stats.max_num_values = 1
    strings.unique = 300
    for rank, day in enumerate(days):
        strings.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=day, sample_count=2)
    at = from_statistics(statistics).spec["at"]
    assert at.role is Role.IGNORED
    assert "times" in at.reason


def test_variables_without_a_column_or_statistics_keep_their_place(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(50.0)})
    profile = profiled(open_dataset(frame), Wishes()).profile
    spec = InputSpec(
        variables=(
            *profile.edges.spec.variables,
            Variable(
                name="y", dtype="int64", kind=Kind.NUMERIC, role=Role.IGNORED, reason="not used"
            ),
            Variable(name="z", dtype="int64", kind=Kind.NUMERIC),
        )
    )
    baseline = from_statistics(to_statistics(profile), schema=to_schema(spec))
    assert [v.name for v in baseline.spec.variables] == ["x", "y"]
    assert any("z: in the schema only" in note for note in baseline.notes)
