"""What pip installs: the linked folders under trueup, package data, and nothing generic."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

DATA_SUFFIXES = {".html", ".css", ".js", ".mako", ".toml", ".json"}


def package_files(tree: Path) -> set[str]:
    """The files of the package as ``trueup/...`` paths, links followed."""
    found = set()
    for folder, _, names in os.walk(tree / "trueup", followlinks=True):
        for name in names:
            path = Path(folder, name)
            if path.suffix in DATA_SUFFIXES | {".py"} or name == "py.typed":
                found.add(path.relative_to(tree).as_posix())
    return found


@pytest.mark.heavy
def test_wheel_and_sdist_hold_the_linked_folders_and_nothing_generic(tree: Path) -> None:
    expected = package_files(tree)
    assert "trueup/monitor/__init__.py" in expected

    # The wheel is built from the sdist, as pip does where it finds no wheel.
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "built", "."]
    done = subprocess.run(build, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    (wheel,) = (tree / "built").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
        archive.extractall(tree.parent / "site")
    (sdist,) = (tree / "built").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}

    assert expected - in_wheel == set()
    assert expected - in_sdist == set()
    tops = {name.split("/")[0] for name in in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"trueup"}
    assert any(name.endswith("licenses/LICENSE") for name in in_wheel)

    imported_from(tree.parent / "site")


def imported_from(site: Path) -> None:
    """The unpacked wheel runs without the source tree."""
    program = (
        "import trueup, trueup.monitor, trueup.serving, trueup.trainer, trueup.alerts, sys\n"
        "print(trueup.__file__, trueup.monitor.__file__)\n"
        "from trueup.cli.main import main\n"
        "sys.exit(main(['--help']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = done.stdout.splitlines()[0].split()
    assert [Path(file).is_relative_to(site) for file in files] == [True, True]
    assert "compare" in done.stdout
