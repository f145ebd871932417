"""Scores by :mod:`trueup.trainer.scoring` in a process of its own, as TensorFlow is there alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trueup.errors import BadInputError
from trueup.trainer.gate.read import ScoreFile


def score_in_process(
    version: int, saved_model: Path, rows: Sequence[Path], out: Path, what: str
) -> ScoreFile:
    """Scores of ``rows`` (Parquet files) by the SavedModel, in the file ``out``.

    :param what: the rows in words, for the error.
    :raises BadInputError: the version cannot score them; says why.
    """
    done = subprocess.run(
        [
            sys.executable, "-m", "trueup.trainer.scoring", "--saved-model", str(saved_model),
            "--rows", *map(str, rows), "--out", str(out),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise BadInputError(f"version {version} cannot score {what}: {lines[-1]}")
    return ScoreFile(version, out)
