"""What git keeps: links, pinned sets that fit pyproject.toml, small modules, no addresses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINKED = ("monitor", "serving", "trainer", "alerts")
# In two pieces, so that this file passes its own test.
REGISTRY_HOSTS = tuple(
    "".join(parts)
    for parts in [
        ("pypi", ".org"),
        ("python", "hosted.org"),
        ("npm", "js.org"),
        ("npm", "js.com"),
        ("yarn", "pkg.com"),
        ("deb.", "debian.org"),
        ("cdn.js", "delivr.net"),
        ("un", "pkg.com"),
        ("conda.ana", "conda.org"),
        ("proxy.", "golang.org"),
        ("crates", ".io"),
        ("docker", ".io"),
    ]
)
LOCK_FILES = {
    "cargo.lock",
    "conda-lock.yml",
    "package-lock.json",
    "pdm.lock",
    "pipfile.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pylock.toml",
    "uv.lock",
    "yarn.lock",
}
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """The files that git keeps, links left out."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [root / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_names_a_registry_host(tracked: list[Path]) -> None:
    assert len(tracked) > 20
    wrong = [
        f"{path}: {host}"
        for path in tracked
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes().lower()
    ]
    assert wrong == []


def test_no_lock_file(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.name.lower() in LOCK_FILES] == []


@pytest.mark.parametrize("name", LINKED)
def test_the_links_are_relative(root: Path, name: str) -> None:
    link = root / "trueup" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)
    assert (root / name / "__init__.py").is_file()


def pinned(path: Path) -> dict[str, Version]:
    """Name to version of a file in constraints/; each line must carry a hash."""
    text = path.read_text().replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.match(r"([a-z0-9-]+)==(\S+)(?: ; \S.*?)?\s+--hash=sha256:[0-9a-f]{64}", line)
        assert match, f"{path.name}: {line[:80]}"
        found[match[1]] = Version(match[2])
    return found


def requirements(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != project["name"]]


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_pinned_set_fits_the_declared_requirements(root: Path, python: str) -> None:
    versions = pinned(root / "constraints" / f"py{python.replace('.', '')}.txt")
    environment = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    wrong = []
    for requirement in requirements(root):
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        version = versions.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement} is pinned as {version}; run: make constraints")
    assert wrong == []


def test_the_version_is_told_once(root: Path) -> None:
    import trueup

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == trueup.__version__
    assert f"## [{trueup.__version__}]" in (root / "CHANGELOG.md").read_text()


def modules(root: Path) -> list[Path]:
    folders = [root / name for name in ("trueup", *LINKED)]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_modules_are_small_and_say_what_they_are(root: Path) -> None:
    wrong = []
    for path in modules(root):
        text = path.read_text()
        if (lines := text.count("\n")) > MOST_LINES_OF_A_MODULE:
            wrong.append(f"{path}: {lines} lines; split it by noun")
        if not ast.get_docstring(ast.parse(text)):
            wrong.append(f"{path}: no docstring")
    assert wrong == []


def test_functions_are_short(root: Path) -> None:
    wrong = []
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > MOST_LINES_OF_A_FUNCTION:
                wrong.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert wrong == []


def test_markdown_links_lead_somewhere(tracked: list[Path]) -> None:
    wrong = []
    for path in tracked:
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if re.match(r"[a-z]+:|#", target):
                continue
            if not (path.parent / target.partition("#")[0]).exists():
                wrong.append(f"{path}: {target}")
    assert wrong == []
