"""The rules on imports catch what they are there for, through the links too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent


def ruff_says(root: Path, source: str) -> str:
    done = subprocess.run(
        [SCRIPTS / "ruff", "check", "--output-format=concise", "--stdin-filename=trueup/x.py", "-"],
        cwd=root,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", ["monitor", "serving", "trainer", "alerts"])
@pytest.mark.parametrize("statement", ["import {}", "from {} import x", "import {}.x"])
def test_a_linked_folder_is_never_imported_by_its_own_name(
    root: Path, name: str, statement: str
) -> None:
    said = ruff_says(root, statement.format(name) + "\n")
    assert "TID251" in said
    assert "docs/decisions/0001" in said


def test_the_name_under_trueup_is_allowed(root: Path) -> None:
    said = ruff_says(root, "from trueup.monitor import levels\n\nprint(levels)  # noqa: T201\n")
    assert said.strip() == "All checks passed!"


def test_tensorflow_is_not_imported_by_a_module(root: Path) -> None:
    at_the_top = "import tensorflow as tf\n\nX = tf\n"
    in_a_function = "def graph() -> object:\n    import tensorflow as tf\n\n    return tf\n"
    assert "TID253" in ruff_says(root, at_the_top)
    assert "TID253" not in ruff_says(root, in_a_function)


def contracts(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"}
    return subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold(tree: Path) -> None:
    done = contracts(tree)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("monitor/probe.py", "trueup.alerts"),  # siblings, both behind links
        ("serving/probe.py", "trueup.trainer"),
        ("alerts/probe.py", "trueup.cli"),  # upwards
        ("trueup/records/probe.py", "trueup.monitor"),
        ("trueup/profile/probe.py", "trueup.datasets"),
        ("trueup/datasets/probe.py", "trueup.profile"),
        ("trueup/store/probe.py", "trueup.web"),
        ("trueup/errors.py", "trueup.records"),
    ],
)
def test_a_violating_import_breaks_the_contract(tree: Path, module: str, imported: str) -> None:
    path = tree / module
    before = path.read_text() if path.exists() else '"""Probe."""\n'
    # Inside a function, where the interpreter would not trip over the circle.
    path.write_text(f"{before}\n\ndef probe():\n    import {imported}\n    return {imported}\n")
    importer = "trueup." + module.removeprefix("trueup/").removesuffix(".py").replace("/", ".")
    done = contracts(tree)
    assert done.returncode == 1, done.stdout
    assert f"{importer} -> {imported}" in done.stdout


def test_a_module_outside_all_layers_breaks_the_contract(tree: Path) -> None:
    (tree / "trueup" / "helpers.py").write_text('"""Belongs nowhere."""\n')
    done = contracts(tree)
    assert done.returncode == 1
    assert "helpers" in done.stdout
