"""Keeps pytest from importing the linked folders under a second name (docs/decisions/0001)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
LINKED = ("monitor", "serving", "trainer", "alerts")

collect_ignore = [*LINKED, "benchmarks", ".debian13"]


def pytest_configure(config: pytest.Config) -> None:
    for argument in config.args:
        path = (config.invocation_params.dir / argument.split("::")[0]).absolute()
        if not path.is_relative_to(ROOT):
            continue
        parts = path.relative_to(ROOT).parts
        if parts and parts[0] in LINKED:
            raise pytest.UsageError(f"name it by its link, as it is imported: trueup/{argument}")
