"""The configuration: validated, overridable, and every mistake named with its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from trueup.config.compare import THRESHOLDS, CompareSettings, FeatureThresholds
from trueup.config.keys import inner_type, is_section
from trueup.config.lines import lines_of_keys
from trueup.config.load import load
from trueup.config.serving import CaptureSettings, ServingSettings
from trueup.config.settings import Settings
from trueup.config.template import template
from trueup.config.variables import DomainSettings, MissingSettings, VariableSettings
from trueup.datasets.spec_toml import apply_overrides
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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FULL = """\
spool_dir = "spool"
[store]
url = "sqlite:///state/my.db"

[compare]
alpha = 0.01
[compare.features."fare $"]
mean = 0.3

[models.flights.variables.dep_time]
role = "ignored"
reason = "leaks"
domain = { low = 0, high = 2400 }
missing.sentinels = [-999, "NA"]
[models.flights.variables.carrier]
domain.values = ["AA", "UA"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trueup.toml"


def problem(path: Path, text: str | bytes, **environment: str) -> str:
    """What loading says."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path, environment=environment)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


def test_without_a_file_the_state_is_under_the_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(environment={})
    assert settings.blob_root == f"{tmp_path}/.trueup/blobs"
    assert settings.spool_dir == tmp_path / ".trueup/spool"
    assert settings.store.url.get_secret_value() == f"sqlite:///{tmp_path}/.trueup/store.db"
    assert settings.compare == CompareSettings()
    (tmp_path / "trueup.toml").write_text("compare.psi = 0.3")
    assert load(environment={}).compare.psi == 0.3


def test_what_a_file_says_holds(file: Path) -> None:
    file.write_text(FULL)
    settings = load(file, environment={})
    assert settings.spool_dir == file.parent / "spool"
    assert settings.store.url.get_secret_value() == f"sqlite:///{file.parent}/state/my.db"
    assert settings.compare.alpha == 0.01
    assert settings.compare.thresholds("fare $").mean == 0.3
    assert settings.compare.thresholds("fare $").psi == 0.1
    assert settings.models["flights"].overrides() == {
        "dep_time": {
            "role": "ignored",
            "reason": "leaks",
            "domain": {"low": 0.0, "high": 2400.0},
            "missing": {"sentinels": [-999.0, "NA"]},
        },
        "carrier": {"domain": {"values": ["AA", "UA"]}},
    }


def test_corrections_change_an_input_spec(file: Path) -> None:
    file.write_text(FULL)
    inferred = InputSpec(
        variables=(
            Variable(name="dep_time", dtype="int64", kind=Kind.NUMERIC),
            Variable(name="carrier", dtype="string", kind=Kind.CATEGORICAL),
        )
    )
    corrected = apply_overrides(inferred, load(file, environment={}).models["flights"].overrides())
    assert corrected["dep_time"].role is Role.IGNORED
    assert corrected["dep_time"].domain == NumericDomain(low=0, high=2400)
    assert corrected["dep_time"].missing == Missing(sentinels=(-999.0, "NA"))
    assert corrected["carrier"].domain == CategoricalDomain(values=("AA", "UA"))


def test_all_of_a_variable_can_be_corrected() -> None:
    assert set(VariableSettings.model_fields) == set(Variable.model_fields) - {"name"}
    assert set(MissingSettings.model_fields) == set(Missing.model_fields)
    domains = {*NumericDomain.model_fields, *CategoricalDomain.model_fields}
    assert set(DomainSettings.model_fields) == domains


def test_urls_and_absolute_paths_stay(file: Path) -> None:
    file.write_text(
        'blob_root = "s3://bucket/x"\nspool_dir = "/var/spool"\nstore.url = "sqlite:////db?x=1"'
    )
    settings = load(file, environment={})
    assert settings.blob_root == "s3://bucket/x"
    assert settings.spool_dir == Path("/var/spool")
    assert settings.store.url.get_secret_value() == "sqlite:////db?x=1"


def test_the_environment_overrides(file: Path) -> None:
    file.write_text(FULL)
    settings = load(
        file,
        environment={
            "TRUEUP_STORE__URL": "postgresql://me:secret@db/x",
            "TRUEUP_COMPARE__MIN_ROWS": "50",
            "TRUEUP_COMPARE__features__Fare__MEAN": "0.7",
            "TRUEUP_MODELS__flights__VARIABLES__carrier__DOMAIN__VALUES": '["B6"]',
            "TRUEUP_BLOB_ROOT": "",
            "TRUEUP_DEBUG": "1",
            "PATH": "/bin",
        },
    )
    assert settings.store.url.get_secret_value() == "postgresql://me:secret@db/x"
    assert settings.compare.min_rows == 50
    assert settings.compare.alpha == 0.01
    assert settings.compare.thresholds("Fare").mean == 0.7
    assert settings.models["flights"].overrides()["carrier"] == {"domain": {"values": ["B6"]}}
    assert "secret" not in repr(settings)
    assert "secret" not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[compare]\nmeen = 1", "FILE line 2: compare.meen is no setting; did you mean comp"),
        ("[compare]\n\n# x\nzzz = 1", "FILE line 4: compare.zzz is no setting; known keys in "),
        ("stoer.url = 'x'", "FILE line 1: stoer is no setting; did you mean store?"),
        ("[compare]\nalpha = 7", "FILE line 2: compare.alpha = 7 is wrong: input should be less"),
        ("[compare]\npsi = nan", "FILE line 2: compare.psi = nan is wrong: "),
        ("[compare]\nmin_rows = 'many'", "FILE line 2: compare.min_rows = 'many' is wrong: "),
        ("compare = { alpha = 2 }", "FILE line 1: compare.alpha = 2 is wrong: "),
        ("compare = 3", "FILE line 1: compare = 3 is wrong: "),
        ("blob_root = '''\nx'''\nblob_rot = 1", "FILE line 3: blob_rot is no setting; did you "),
        ("[compare]\nalpha = 7\npsi = -1", "(and 1 more)"),
        ("[models.'../x']", "FILE line 1: models.\"../x\" = '../x' is wrong: string should match"),
        (
            "[models.m.variables.'a b']\nrole = 'id'\nkind = 'number'",
            "FILE line 3: models.m.variables.\"a b\".kind = 'number' is wrong: input should be",
        ),
        (
            "[models.m.variables.x]\ndomain = { low = 3, high = 2 }",
            "FILE line 2: models.m.variables.x.domain = {'low': 3, 'high': 2} is wrong: low 3.0 is",
        ),
        (
            "[models.m.variables.x]\nmissing.sentinel = 3",
            "FILE line 2: models.m.variables.x.missing.sentinel is no setting; did you mean",
        ),
        ("a = \n", "FILE line 1, column 5 is no TOML: Invalid value"),
        ("[compare]\nalpha 0.1", "FILE line 2, column 7 is no TOML: Expected '='"),
        ('x = "abc', "FILE line 1, column 9 is no TOML: "),
        ("a = 1\na = 2", "FILE line 2, column 6 is no TOML: Cannot overwrite a value"),
        (b"# ok\n# caf\xe9", "FILE line 2 is not UTF-8"),
        ("\x00", "FILE line 1, column 1 is no TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(file: Path, text: str | bytes, says: str) -> None:
    assert says in problem(file, text)


def test_a_byte_order_mark_and_windows_lines_are_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[compare]\r\nalpha = 0.2\r\n")
    assert load(file, environment={}).compare.alpha == 0.2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        load(tmp_path / "none.toml", environment={})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, environment={})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TRUEUP_STOER__URL", "x", "TRUEUP_STOER__URL is no setting; did you mean TRUEUP_STORE?"),
        ("TRUEUP_STORE__ULR", "x", "did you mean TRUEUP_STORE__URL?"),
        ("TRUEUP_STORE__URL__X", "x", "TRUEUP_STORE__URL__X is no setting"),
        ("TRUEUP_COMPARE__ALPHA", "x", "environment variable TRUEUP_COMPARE__ALPHA: compare.alpha"),
        ("TRUEUP_COMPARE", "3", "environment variable TRUEUP_COMPARE: compare = 3 is wrong"),
        ("TRUEUP_MODELS__x__VARIABLES__y__SHAPE", "{", "_SHAPE: models.x.variables.y.shape"),
    ],
)
def test_a_wrong_variable_is_named(file: Path, name: str, value: str, says: str) -> None:
    assert says in problem(file, "", **{name: value})


def test_a_variable_inside_what_is_no_table(file: Path) -> None:
    assert "which is no table" in problem(file, "compare = 3", TRUEUP_COMPARE__ALPHA="0.1")


@pytest.mark.parametrize(
    "text",
    [
        "[store]\nurl = 'mysql://me:hunter2@db'",
        "store = 'hunter2'",
        "[store]\nurl = ['hunter2']",
        "[store]\nulr = 'hunter2'",
    ],
)
def test_secrets_are_not_in_errors(file: Path, text: str) -> None:
    said = problem(file, text)
    assert "hunter2" not in said
    assert "store" in said


def test_lines_of_keys_in_every_form_of_toml() -> None:
    text = '''\
# comment
a.b = 1
"c d" = [
  1,  # inside
  2,
]
e = { f = 1, g = { h = 2 } }
i = """
[not.a.table]
x = 1
"""
[j]
k = 2013-07-01
  [j . "l.m"]
  n = 1
[[o]]
p = 1
[[o]]
p = 2
'''
    tomllib.loads(text)
    assert lines_of_keys(text) == {
        ("a",): 2,
        ("a", "b"): 2,
        ("c d",): 3,
        ("e",): 7,
        ("e", "f"): 7,
        ("e", "g"): 7,
        ("e", "g", "h"): 7,
        ("i",): 8,
        ("j",): 12,
        ("j", "k"): 13,
        ("j", "l.m"): 14,
        ("j", "l.m", "n"): 15,
        ("o",): 16,
        ("o", "p"): 17,
    }


def sections(root: type[BaseModel]) -> list[type[BaseModel]]:
    found = [root]
    for field in root.model_fields.values():
        kind = inner_type(field.annotation)
        for inner in (kind, *getattr(kind, "__args__", ())):
            if is_section(inner_type(inner)):
                found += sections(inner_type(inner))
    return found


def test_every_setting_is_documented_and_in_the_template() -> None:
    written = template()
    lines = written.splitlines()
    assert {section.__name__ for section in sections(Settings)} >= {
        "Settings",
        "StoreSettings",
        "CompareSettings",
        "FeatureThresholds",
        "ModelSettings",
        "VariableSettings",
    }
    for section in sections(Settings):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name} is not documented"
            shown = any(line.lstrip("# ").startswith(f"{name} = ") for line in lines)
            assert shown or f"{name}]" in written or f"{name}." in written


def test_the_template_equals_the_defaults(file: Path) -> None:
    file.write_text(template())
    assert tomllib.loads(template()) == {
        "store": {},
        "compare": {},
        "serving": {},
        "capture": {},
    }
    assert Settings.model_validate(tomllib.loads(template())) == Settings()


def test_the_template_uncommented_is_valid_and_shows_the_defaults() -> None:
    lines = [line.removeprefix("#") if not line.startswith("# ") else "" for line in
             template().splitlines()]  # fmt: skip
    data = tomllib.loads("\n".join(lines))
    shown = Settings.model_validate(data)
    assert set(shown.models) == {"flights"}
    assert shown.models["flights"].variables["dep_time"].role is Role.FEATURE
    assert set(shown.compare.features) == {"fare"}
    compare = shown.compare.model_copy(update={"features": {}})
    serving = shown.serving.model_copy(update={"tls_certificate": None, "tls_key": None})
    changed = {"models": {}, "compare": compare, "serving": serving}
    assert shown.model_copy(update=changed) == Settings()
    # and no default is left out
    assert set(data["compare"]) == set(CompareSettings.model_fields)
    assert set(data["serving"]) == set(ServingSettings.model_fields)
    assert set(data["capture"]) == set(CaptureSettings.model_fields)


def test_the_policy_hash_is_of_the_meaning() -> None:
    one = CompareSettings(features={"a": {"mean": 0.2}, "b": {"psi": 0.3}})
    other = CompareSettings(features={"b": {"psi": 0.3}, "a": {"mean": 0.2}})
    assert one.policy_hash == other.policy_hash
    assert one.policy_hash != CompareSettings().policy_hash
    assert len(one.policy_hash) == 16


def test_every_threshold_can_be_set_per_feature() -> None:
    assert set(THRESHOLDS) == set(FeatureThresholds.model_fields)
    assert set(THRESHOLDS) < set(CompareSettings.model_fields)
    known = CompareSettings().thresholds("any")
    assert all(getattr(known, name) is not None for name in THRESHOLDS)
