"""One virtual environment per peer, with the versions that the results were taken with."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVS = HERE / ".envs"
SETUP_LIMIT_S = 1800


def python_of(peer: str) -> Path:
    """The interpreter of ``peer``'s environment, made when it is not there (minutes, network).

    Trueup runs in the environment of this process.

    :raises RuntimeError: when pip could not install it; the message ends with pip's words.
    """
    wanted = HERE / "peers" / f"{peer}.txt"
    if not wanted.exists():
        return Path(sys.executable)
    env = ENVS / peer
    python, stamp = env / "bin" / "python", env / "installed-from"
    content = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == content:
        return python
    print(f"{peer}: making {env} ...", flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(env)],
        [str(python), "-m", "pip", "install", "-q", "-r", str(wanted)],
    ):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SETUP_LIMIT_S, check=False,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{peer}: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    stamp.write_text(content)
    return python
