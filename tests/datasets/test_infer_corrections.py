"""A user's TOML corrects what was inferred; a wrong one is a sentence with the nearest name."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.datasets.spec_toml import (
    SpecOverrides,
    apply_overrides,
    dump_spec,
    load_spec_overrides,
)
from trueup.errors import ConfigError
from trueup.records.input_spec import (
    CategoricalDomain,
    InputSpec,
    Kind,
    Missing,
    NumericDomain,
    Role,
    Variable,
)

FRAME = pd.DataFrame(
    {"temp": [31.5, 40.0] * 60, "flight": [7, 11, 13] * 40, "x y": ["a", "b"] * 60}
)


@pytest.fixture
def spec() -> InputSpec:
    return infer_spec(open_dataset(FRAME))


@pytest.fixture
def correct(tmp_path: Path, spec: InputSpec):
    def corrected(text: str) -> InputSpec:
        path = tmp_path / "spec.toml"
        path.write_text(text, encoding="utf-8")
        return apply_overrides(spec, load_spec_overrides(path))

    return corrected


def test_what_is_said_changes_and_the_rest_stays(correct, spec) -> None:
    found = correct(
        """
        [variables.temp]
        unit = "°F"
        missing.sentinels = [-999]
        domain = { low = -80, high = 140 }

        [variables.flight]
        dtype = "string"

        [variables."x y"]
        role = "ignored"
        """
    )
    assert found["temp"].unit == "°F"
    assert found["temp"].missing == Missing(sentinels=(-999.0,))
    assert found["temp"].domain == NumericDomain(low=-80, high=140)
    assert (found["temp"].dtype, found["temp"].kind) == (spec["temp"].dtype, spec["temp"].kind)
    assert (found["flight"].dtype, found["flight"].kind) == ("string", Kind.CATEGORICAL)
    assert (found["x y"].role, found["x y"].reason) == (Role.IGNORED, "set in spec.toml")
    assert correct("") == spec


def test_a_role_with_a_reason_keeps_it(correct) -> None:
    found = correct('[variables.flight]\nrole = "id"\nreason = "known"\n')
    assert (found["flight"].role, found["flight"].reason) == (Role.ID, "known")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("timestamp", Kind.TIME), ("string", Kind.CATEGORICAL), ("float32", Kind.NUMERIC)],
)
def test_the_kind_follows_a_corrected_dtype(correct, dtype: str, kind: Kind) -> None:
    assert correct(f'[variables.flight]\ndtype = "{dtype}"\n')["flight"].kind is kind
    assert correct(f'[variables."x y"]\ndtype = "{dtype}"\n')["x y"].kind is kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[variables.temp\n", ("cannot be read as TOML",)),
        ("variables = 3\n", ("variables is not a table", "[variables.NAME]")),
        ("[variables]\ntemp = 3\n", ("variables.temp is not a table", "[variables.temp]")),
        ("[variable.temp]\n", ("unknown key variable", "did you mean 'variables'?")),
        ('[variables.tempp]\nunit = ""\n', ("variables.tempp is not", "did you mean 'temp'?")),
        ('[variables.zebra]\nunit = ""\n', ("variables.zebra is not", "known are temp, flight")),
        ('[variables.temp]\nuint = "F"\n', ("unknown key variables.temp.uint", "mean 'unit'?")),
        ("[variables.temp.missing]\nsentinel = [1]\n", ("temp.missing.sentinel", "'sentinels'?")),
        ("[variables.temp]\nmissing = 3\n", ("variables.temp.missing is not a table",)),
        ("[variables.temp.domain]\nlo = 1\n", ("variables.temp.domain.lo", "mean 'low'?")),
        ("[variables.temp.domain]\nlow = 2\nhigh = 1\n", ("temp.domain: domain low 2.0",)),
        ('[variables.temp]\nrole = "idd"\n', ("variables.temp.role", "'feature', 'id'")),
        ('[variables.temp]\ndtype = "double"\n', ("variables.temp.dtype", "'float64'")),
        ('[variables.temp]\ndtype = "string"\nkind = "numeric"\n', ("does not fit string",)),
        ('[variables.temp]\nrole = "ignored"\nreason = ""\n', ("ignored without a reason",)),
        ("[variables.temp]\noptional = 'maybe'\n", ("variables.temp.optional",)),
    ],
)  # fmt: skip
def test_a_wrong_one_is_one_sentence(correct, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        correct(text)
    sentence = str(caught.value)
    assert "spec.toml" in sentence
    assert "\n" not in sentence and "function-after" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("place", ["no.toml", "."])
def test_a_file_that_is_not_there(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"does not exist|cannot be read"):
        load_spec_overrides(tmp_path / place)


def test_corrections_in_python_are_checked_alike(spec) -> None:
    assert apply_overrides(spec, {"temp": {"unit": "K"}})["temp"].unit == "K"
    with pytest.raises(ConfigError, match=r"unknown key variables\.temp\.uint"):
        apply_overrides(spec, {"temp": {"uint": "K"}})
    assert SpecOverrides("x", {}).variables == {}


def test_what_is_written_is_read_back(spec, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(dump_spec(spec), encoding="utf-8")
    assert apply_overrides(spec, load_spec_overrides(path)) == spec
    assert "# The raw input variables" in path.read_text(encoding="utf-8")


texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(-1e300, 1e300)
variables = st.builds(
    Variable,
    name=texts.filter(bool),
    dtype=st.sampled_from(["float64", "int32", "bool", "string", "timestamp"]),
    kind=st.sampled_from([Kind.CATEGORICAL, Kind.TEXT, Kind.TIME]),
    shape=st.sampled_from([(), (-1,), (3,)]),
    role=st.sampled_from(list(Role)),
    reason=texts.filter(bool),
    optional=st.booleans(),
    missing=st.builds(
        Missing,
        json_null=st.booleans(),
        empty_string=st.booleans(),
        nan=st.booleans(),
        sentinels=st.lists(st.one_of(texts, numbers, st.just(math.inf)), max_size=3).map(tuple),
    ),
    domain=st.one_of(
        st.none(),
        st.builds(NumericDomain, low=numbers),
        st.builds(CategoricalDomain, values=st.lists(texts, max_size=3).map(tuple)),
    ),
    unit=texts,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(variables, min_size=1, max_size=4, unique_by=lambda one: one.name))
def test_any_spec_survives_its_own_file(tmp_path_factory, found: list[Variable]) -> None:
    """Every name, reason and value, whatever characters are in it."""
    wanted = InputSpec(variables=tuple(found))
    blank = InputSpec(
        variables=tuple(
            Variable(name=one.name, dtype="float64", kind=Kind.NUMERIC) for one in found
        )
    )
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(dump_spec(wanted), encoding="utf-8", newline="")
    assert apply_overrides(blank, load_spec_overrides(path)) == wanted
