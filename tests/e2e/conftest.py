"""``trueup compare`` as a user runs it: a command line, its exit code and what it printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from trueup.records.report import Finding, Quantity, Report


@dataclass(frozen=True)
class Run:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Report:
        """The report of ``--json``; nothing else may have been printed."""
        assert self.code in (0, 3, 4), self.err
        assert self.err == ""
        return Report.model_validate_json(self.out)

    @property
    def columns(self) -> set[str]:
        return {summary.feature for summary in self.report.features}

    def findings(self, feature: str) -> dict[Quantity, Finding]:
        return {f.quantity: f for f in self.report.findings if f.feature == feature}

    def refused(self, *words: str) -> None:
        """Asserts that bad input was refused in one sentence which has all ``words`` and, behind
        a semicolon, says what to do."""
        assert self.code == 2, (self.code, self.err, self.out[:300])
        assert self.out == ""
        assert self.err.startswith("trueup: ")
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        for word in (*words, "; "):
            assert word in self.err
        for word in ("Traceback", "defect", "unexpected"):
            assert word not in self.err
        assert len(self.err) < 500


Compare = Callable[..., Run]


@pytest.fixture
def compare_here(capsys: pytest.CaptureFixture[str]) -> Compare:
    """Runs ``trueup compare`` in this process."""
    from trueup.cli.main import main

    def run(*arguments: str | Path) -> Run:
        capsys.readouterr()
        code = main(["compare", *map(str, arguments)])
        return Run(code, *capsys.readouterr())

    return run


@pytest.fixture
def compare_process() -> Compare:
    """Runs ``trueup compare`` as a process."""

    def run(*arguments: str | Path) -> Run:
        command = [sys.executable, "-m", "trueup.cli.main", "compare", *map(str, arguments)]
        ended = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=200,
            check=False,
        )  # fmt: skip
        return Run(ended.returncode, ended.stdout, ended.stderr)

    return run
