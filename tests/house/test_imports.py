"""Importing Trueup is light, silent, and needs only what pyproject.toml declares."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import files, packages_distributions
from pathlib import Path

import pytest

from trueup.cli.main import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEAVY = {
    "alembic",
    "altair",
    "apache_beam",
    "datasketches",
    "fsspec",
    "IPython",
    "jinja2",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "sqlalchemy",
    "tensorflow",
    "tensorflow_data_validation",
    "tensorflow_metadata",
}
TENSORFLOW = {"tensorflow", "tensorflow_data_validation", "apache_beam", "tf_keras", "tfx_bsl"}


def loaded_after(program: str) -> set[str]:
    """The top-level modules in ``sys.modules`` after a program ran in a new interpreter."""
    ending = "\nimport sys\nprint('\\n' + ' '.join({m.partition('.')[0] for m in sys.modules}))\n"
    done = subprocess.run(
        [sys.executable, "-c", program + ending], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_no_heavy_module() -> None:
    loaded = loaded_after("from trueup.cli.main import main\nassert main(['--help']) == 0")
    assert "typer" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_loads_no_heavy_module(command: str) -> None:
    loaded = loaded_after(
        f"from trueup.cli.main import main\nassert main([{command!r}, '--help']) == 0"
    )
    assert loaded & HEAVY == set()


def test_import_trueup_loads_no_heavy_module() -> None:
    assert loaded_after("import trueup\nassert trueup.__version__") & HEAVY == set()


# Imports every module in a new interpreter and reports what happened meanwhile: files opened
# and environment variables read by our own modules, and any talk to a network.
WATCHED_IMPORT = r"""
import os, pkgutil, sys, sysconfig
import trueup

home = os.path.dirname(trueup.__file__)
wrongs = []

# Looks for its plugins among the installed packages when the first class is made.
pydantic = os.path.join(sysconfig.get_path("purelib"), "pydantic", "")

def ours(frame):
    # The nearest module of ours that did this; None where the import system, or a module that
    # it was loading, or pydantic did.
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name.startswith(pydantic):
            return None
        if name.startswith(home):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None

def watch(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        wrongs.append(f"{event} {arguments!r}")
    elif event in ("open", "os.listdir", "os.scandir", "subprocess.Popen"):
        who = ours(sys._getframe(1))
        if who:
            wrongs.append(f"{who} {event} {arguments[0]!r}")

class Watched(type(os.environ)):
    def __getitem__(self, key):
        who = ours(sys._getframe(1))
        if who:
            wrongs.append(f"{who} reads the environment: {key}")
        return super().__getitem__(key)

os.environ.__class__ = Watched
sys.addaudithook(watch)
names = ["trueup"]
def failed(name):
    raise
for module in pkgutil.walk_packages(trueup.__path__, "trueup.", onerror=failed):
    if module.name.endswith("__main__"):
        continue
    __import__(module.name)
    names.append(module.name)
print("\n".join(wrongs))
print("MODULES", *names)
"""


def test_importing_every_module_touches_nothing_and_leaves_tensorflow_alone() -> None:
    ending = "print('LOADED', *{m.partition('.')[0] for m in sys.modules})\n"
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT + ending], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *wrongs, modules, loaded = done.stdout.split("\n")[:-1]
    assert [wrong for wrong in wrongs if wrong] == []
    names = modules.split()[1:]
    assert {"trueup.monitor", "trueup.serving", "trueup.records.report"} <= set(names)
    assert set(loaded.split()[1:]) & TENSORFLOW == set()


def test_the_watch_on_imports_sees(tmp_path: Path) -> None:
    package = tmp_path / "trueup"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "reads.py").write_text(
        "import os, pathlib, socket\n"
        "os.environ.get('HOME'); os.getenv('PATH')\n"
        "pathlib.Path(__file__).read_text()\n"
        "socket.socket().connect_ex(('127.0.0.1', 9))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for wrong in ("environment: HOME", "environment: PATH", "open", "socket.connect"):
        assert wrong in done.stdout


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(root: Path, extras: set[str] | None = None) -> set[str]:
    """Names of the requirements of the base install and of the extras (all when None)."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        if extras is None or extra in extras:
            lines += requirements
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {canonical(match.group()) for match in found if match}


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def distributions_of(name: str, owners: dict[str, list[str]]) -> set[str]:
    """The distributions that bring a module; for a namespace package, those with that part."""
    top, *rest = name.split(".")
    candidates = set(owners.get(top, []))
    if len(candidates) > 1 and rest:
        inside = f"{top}/{rest[0]}"
        candidates = {
            owner
            for owner in candidates
            if any(str(file).startswith(inside) for file in files(owner) or [])
        }
    return {canonical(owner) for owner in candidates}


def undeclared(folders: list[Path], allowed: set[str]) -> list[str]:
    owners = dict(packages_distributions())
    wrong = set()
    for folder in folders:
        for path in folder.rglob("*.py"):
            for name in imported_names(path):
                top = name.partition(".")[0]
                # tomli stands in for tomllib before 3.11, and is declared for those alone.
                if top in sys.stdlib_module_names or top in ("trueup", "tests", "tomli"):
                    continue
                brought_by = distributions_of(name, owners)
                if not brought_by & allowed:
                    wrong.add(f"{path.name} imports {name}, of {brought_by or 'nothing installed'}")
    return sorted(wrong)


def test_every_module_imported_is_declared(root: Path) -> None:
    packages = [root / name for name in ("trueup", "monitor", "serving", "trainer", "alerts")]
    shipped = {"serving", "tfdv", "postgresql", "demo"}
    assert undeclared(packages, declared(root, shipped)) == []


def test_every_module_that_tests_import_is_declared(root: Path) -> None:
    assert undeclared([root / "tests"], declared(root)) == []
