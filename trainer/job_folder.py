"""What a task reads of its job before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from trueup.errors import BadInputError
from trueup.records.features import FeaturePlan
from trueup.records.input_spec import Record
from trueup.records.training import Split, SplitData, TrainingData
from trueup.trainer.fit_errors import check_shards
from trueup.trainer.job_spec import JobSpec

DATA = "data"

_Kind = TypeVar("_Kind", bound=Record)


@dataclass(frozen=True)
class Job:
    """The files of a job's folder."""

    folder: Path
    spec: JobSpec
    plan: FeaturePlan
    data: TrainingData

    def split(self, split: Split) -> SplitData:
        return self.data.splits.get(split, SplitData())


def read_job(folder: Path) -> Job:
    """What the job's folder says.

    :raises BadInputError: a file is absent or is not what it should be, or a shard is.
    """
    spec = _read(folder / "job.json", JobSpec)
    plan = _read(folder / "plan.json", FeaturePlan)
    data = _read(folder / DATA / "data.json", TrainingData)
    job = Job(folder, spec, plan, data)
    if not job.split(Split.TRAIN).rows:
        raise BadInputError(
            f"job {spec.id} has no training rows", remedy="look at what its data.json says of rows"
        )
    for split in (Split.TRAIN, Split.TUNE):
        check_shards(folder / DATA, job.split(split).shards)
    return job


def _read(path: Path, kind: type[_Kind]) -> _Kind:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{path} of the job cannot be read: {error.strerror}",
            remedy="prepare the job again; its folder is not complete",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(
            f"{path} of the job is not a {kind.__name__}: {where}: {first['msg']}",
            remedy="prepare the job again, with the release that runs it",
        ) from error
