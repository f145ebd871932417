"""scripts/setup.sh: names what is missing first, and repeats neither too much nor too little.

A recorder stands in for the interpreter: it answers questions truthfully by asking the real
one, but makes environments whose pip writes down what it was told. What real pip does with
the pinned sets, `make` shows in every fresh checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORTED = sys.version_info[:2] in ((3, 11), (3, 13))

RECORDER = f"""\
#!/bin/sh
if [ "$1" = -m ] && [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    echo "venv" >>"$JOURNAL"
    cat >"$3/bin/pip" <<'PIP'
#!/bin/sh
echo "pip $*" >>"$JOURNAL"
if [ -n "$BREAK" ]; then exit 1; fi
PIP
    chmod +x "$3/bin/pip"
else
    exec {sys.executable} "$@"
fi
"""


class Checkout:
    """A source tree, a recorder for an interpreter, and what they did."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.journal = tree.parent / "journal"
        self.python = tree.parent / "python-recorder"
        self.python.write_text(RECORDER)
        self.python.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.tree / "scripts" / "setup.sh", *(arguments or (str(self.python), ".venv"))],
            env={**os.environ, "JOURNAL": str(self.journal), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output + errors

    def steps(self) -> list[str]:
        """What was done since the last call: venv, pinned, trueup."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        self.journal.unlink()
        words = {"--require-hashes": "pinned", "--editable": "trueup", "venv": "venv"}
        return [next(word for key, word in words.items() if key in line) for line in lines]


@pytest.fixture
def checkout(tree: Path) -> Checkout:
    return Checkout(tree)


def test_a_missing_python_and_compiler_are_named_before_anything_is_downloaded(
    checkout: Checkout,
) -> None:
    code, said = checkout.run("python3.99", ".venv", CXX="no-such-compiler")
    assert code == 1
    assert "Python (python3.99)" in said
    assert "a C++ compiler (no-such-compiler)" in said
    assert "install -y python3.99 python3.99" in said  # -venv with apt, -devel with dnf
    assert checkout.steps() == []
    assert not (checkout.tree / ".venv").exists()


@pytest.mark.skipif(not SUPPORTED, reason="pinned for Python 3.11 and 3.13")
class TestRepeated:
    def test_ready_is_ready(self, checkout: Checkout) -> None:
        assert checkout.run()[0] == 0
        assert checkout.steps() == ["venv", "pinned", "trueup"]
        assert checkout.run() == (0, "")
        assert checkout.steps() == []

    def test_what_was_interrupted_is_done_again(self, checkout: Checkout) -> None:
        code, _ = checkout.run(BREAK="yes")
        assert code != 0
        assert checkout.steps() == ["venv", "pinned"]
        assert checkout.run()[0] == 0
        assert checkout.steps() == ["venv", "pinned", "trueup"]

    def test_a_changed_project_file_installs_trueup_again(self, checkout: Checkout) -> None:
        checkout.run()
        checkout.steps()
        with (checkout.tree / "pyproject.toml").open("a") as file:
            file.write("# changed\n")
        checkout.run()
        assert checkout.steps() == ["trueup"]

    def test_a_changed_pinned_set_installs_everything_again(self, checkout: Checkout) -> None:
        checkout.run()
        checkout.steps()
        for path in (checkout.tree / "constraints").glob("*.txt"):
            path.write_text(path.read_text() + "# changed\n")
        checkout.run()
        assert checkout.steps() == ["venv", "pinned", "trueup"]

    def test_two_at_once_do_the_work_once(self, checkout: Checkout) -> None:
        processes = [checkout.start() for _ in range(3)]
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert checkout.steps() == ["venv", "pinned", "trueup"]
