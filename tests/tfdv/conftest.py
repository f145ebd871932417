"""One TFDV child process for all tests: importing TFDV costs 5 to 15 s."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trueup.tfdv.process import TfdvProcess


@pytest.fixture(scope="session")
def tfdv() -> Iterator[TfdvProcess]:
    """TFDV itself; tests that use it are heavy."""
    command = (sys.executable, str(Path(__file__).with_name("child_with_more.py")))
    with TfdvProcess(command=command) as process:
        yield process
