"""One virtual environment per peer, with the versions that the results were taken with."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVS = HERE / ".envs"
PINNED_BY_US = HERE.parent.parent / "constraints" / "py311.txt"
SETUP_LIMIT_S = 1800
_PIN = re.compile(r"^([A-Za-z0-9._-]+(?:\[[^\]]*\])?==[^\s;\\]+)", re.MULTILINE)


def python_of(peer: str) -> Path:
    """The interpreter of ``peer``'s environment, made when it is not there (minutes, network).

    Trueup and the bare NumPy and polars sums run in the environment of this process.

    :raises RuntimeError: when pip could not install it; the message ends with pip's words.
    """
    wanted = HERE / "peers" / f"{peer}.txt"
    if not wanted.exists():
        return Path(sys.executable)
    env = ENVS / peer
    python = env / "bin" / "python"
    stamp = env / "installed-from"
    content = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == content and python.exists():
        return python
    print(f"{peer}: making {env} ...", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(env)], peer)
    _run([str(python), "-m", "pip", "install", "-q", *_arguments(peer, wanted)], peer)
    stamp.write_text(content)
    return python


def _arguments(peer: str, wanted: Path) -> list[str]:
    arguments = ["-r", str(wanted)]
    if peer == "tfdv":  # the set that Trueup itself is tested with, less the hashes
        pins = ENVS / "tfdv-constraints.txt"
        pins.write_text("\n".join(_PIN.findall(PINNED_BY_US.read_text())) + "\n")
        arguments += ["-c", str(pins)]
    return arguments


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SETUP_LIMIT_S, check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{peer}: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
