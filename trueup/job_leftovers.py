"""What jobs leave behind: those that were killed, and those that are done."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.unfinished_imports import give_up_of_job
from trueup.trainer.job_keeper import recover_jobs
from trueup.trainer.jobs import Job, list_jobs
from trueup.trainer.launcher import Launcher

_HEAVY = ("sources", "data", "backup", "best", "last", "export", "artifacts", "replay", "tmp")
"""Folders that nobody needs once the job has ended; settings, plan, result and logs stay."""


def recover(
    engine: Engine, blobs: BlobRoot, launcher: Launcher, *, now: datetime | None = None
) -> list[Job]:
    """End what killed processes left of their jobs, declare these failed, and take back versions
    that they had begun to register; the jobs."""
    failed = recover_jobs(engine, launcher, now=now)
    for job in failed:
        give_up_of_job(engine, blobs, job.model, job.id)
    return failed


def tidy(folder: Path) -> None:
    """Remove the large parts of the folder of a job that has ended."""
    for name in _HEAVY:
        shutil.rmtree(folder / name, ignore_errors=True)
    for scores in folder.glob("scores-*.parquet"):
        scores.unlink(missing_ok=True)


def tidy_earlier(engine: Engine, model: str) -> None:
    """The same for all ended jobs of ``model`` but the newest one, which somebody may want to look
    at: it may have failed."""
    with reading(engine) as connection:
        ended = [job for job in list_jobs(connection, model=model) if job.state.ended]
    for job in ended[1:]:
        tidy(Path(job.folder))
