"""Other roles for columns of a profile whose rows are gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trueup.baseline import Wishes, open_baseline, profiled
from trueup.comparison import compare
from trueup.datasets.open import open_dataset
from trueup.monitor.quantities.correlation import correlations
from trueup.profile.file import save_profile
from trueup.profile.roles import with_roles
from trueup.profile.states import Profile
from trueup.records.input_spec import Role
from trueup.records.report import Level, Verdict

IGNORED = (Role.IGNORED, "not of this model")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    a, b, c = rng.normal(size=(3, 3_000))
    return pd.DataFrame(
        {
            "ride": np.arange(3_000),
            "a": a,
            "b": a + b,
            "c": c - a,
            "d": rng.choice(["x", "y"], 3_000),
        }
    )


@pytest.fixture(scope="module")
def profile(frame: pd.DataFrame) -> Profile:
    return profiled(open_dataset(frame), Wishes()).profile


def test_the_correlations_of_the_others_stay(profile: Profile, frame: pd.DataFrame) -> None:
    assert profile.edges.pairs == ("a", "b", "c")
    narrow = with_roles(profile, {"b": IGNORED})
    assert narrow.edges.pairs == ("a", "c")
    assert narrow.comoments is not None and profile.comoments is not None
    found = correlations(narrow.comoments)
    assert found[0, 1] == correlations(profile.comoments)[0, 2]
    assert found[0, 1] == pytest.approx(frame["a"].corr(frame["c"]), abs=0.01)
    assert narrow.features.keys() == {"a", "c", "d"}
    assert narrow.edges.edges_id != profile.edges.edges_id


def test_one_alone_is_no_pair(profile: Profile) -> None:
    narrow = with_roles(profile, {"a": IGNORED, "b": IGNORED})
    assert (narrow.edges.pairs, narrow.comoments) == ((), None)


def test_an_unknown_column_can_only_be_ignored(profile: Profile) -> None:
    spec = with_roles(profile, {"new": IGNORED}).edges.spec
    assert spec["new"].reason == "not of this model"
    with pytest.raises(KeyError, match="new"):
        with_roles(profile, {"new": (Role.LABEL, "")})


def test_what_has_no_statistics_cannot_be_compared_again(profile: Profile) -> None:
    with pytest.raises(KeyError, match="ride"):
        with_roles(profile, {"ride": (Role.LABEL, "")})


def test_a_stored_profile_is_compared_as_the_user_wishes(
    frame: pd.DataFrame, profile: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "rides.profile"
    save_profile(open_baseline(frame, Wishes()).to_file(), path)
    serving = frame.assign(b=frame["b"] + 2, extra=1)
    report = compare(path, serving).report
    moved = {f.feature for f in report.findings if f.level is not Level.OK}
    assert moved == {"b", "extra"}
    assert report.verdict is Verdict.DRIFT
    report = compare(path, serving, ignore=["b", "extra"], label="a").report
    assert report.verdict is Verdict.OK
    roles = {f.feature: f.role for f in report.features}
    assert (roles["a"], roles["b"], roles["extra"]) == (Role.LABEL, Role.IGNORED, Role.IGNORED)
