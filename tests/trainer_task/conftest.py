"""Jobs of a few thousand rows, in folders as preparation leaves them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from trueup.config.training import TrainingSettings
from trueup.datasets.example_proto import example_class
from trueup.frames.format import encode
from trueup.records.features import Feature, FeaturePlan, Scaled
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.records.training import Shard, Split, SplitData, Target, TrainingData
from trueup.trainer.job_spec import JobSpec
from trueup.trainer.launcher import JobProgress
from trueup.trainer.launchers.local import LocalLauncher

#: A program, and no module with doctests.
collect_ignore = ["scripted_task.py"]

VARIABLES = tuple(
    Variable(name=name, dtype="float32", kind=Kind.NUMERIC) for name in ("x", "y", "z")
)
LABEL = Variable(name="up", dtype="float32", kind=Kind.NUMERIC, role=Role.LABEL)
TARGET = Target(label="up", task="binary", positive_above=0.5)
HERE = Path(__file__).parent


def write_shards(folder: Path, split: str, rows: int, shards: int, seed: int) -> SplitData:
    """Rows whose label is whether ``x + 2 y`` is above 0; ``z`` is the row's number."""
    drawn = random.Random(seed)
    found = []
    for number in range(shards):
        first, last = rows * number // shards, rows * (number + 1) // shards
        payloads = []
        for row in range(first, last):
            x, y = drawn.gauss(0, 1), drawn.gauss(0, 1)
            example = example_class()()
            values = {"x": x, "y": y, "z": float(row), "up": float(x + 2 * y > 0)}
            for name, value in values.items():
                example.features.feature[name].float_list.value.append(value)
            payloads.append(example.SerializeToString())
        data = encode(payloads)
        path = folder / split / f"{number:05d}.tfrecord"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found.append(
            Shard(
                path=f"{split}/{path.name}",
                rows=last - first,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
    return SplitData(rows=rows, shards=tuple(found))


@dataclass
class MadeJob:
    spec: JobSpec
    folder: Path


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., MadeJob]:
    def make(
        name: str = "job",
        *,
        rows: int = 4000,
        tune_rows: int = 500,
        shards: int = 3,
        features: Sequence[Feature] = (),
        **settings: Any,
    ) -> MadeJob:
        folder = tmp_path / name
        data = folder / "data"
        splits = {Split.TRAIN: write_shards(data, "train", rows, shards, seed=1)}
        if tune_rows:
            splits[Split.TUNE] = write_shards(data, "tune", tune_rows, 1, seed=2)
        lineage = TrainingData(
            model="m",
            spec=InputSpec(variables=(*VARIABLES, LABEL)),
            target=TARGET,
            sources=(),
            splits=splits,
            made_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        )
        (data / "data.json").write_text(lineage.model_dump_json())
        plan = FeaturePlan(
            inputs=VARIABLES,
            features=tuple(
                Scaled(variable=name, mean=0.0, sd=1.0, low=-10.0, high=10.0) for name in ("x", "y")
            )
            + tuple(features),
            target=TARGET,
        )
        (folder / "plan.json").write_text(plan.model_dump_json())
        given: dict[str, Any] = {
            "label": "up", "task": "binary", "model": "dnn", "hidden_units": (8,),
            "batch_size": 100, "epochs": 2, "threads": 1, "learning_rate": 0.05,
        }  # fmt: skip
        given.update(settings)
        spec = JobSpec(
            id=name, model="m", settings=TrainingSettings(**given), python_path=(str(HERE),)
        )
        return MadeJob(spec, folder)

    return make


def processes_of(folder: Path) -> list[int]:
    """Processes of a job in ``folder``, by the mark that their launcher gave them, or by name."""
    found = []
    told = [folder / "launch.json", *(folder / "starts").glob("*")]
    texts = [path.read_text() for path in told if path.exists()]
    marks = {f"TRUEUP_LAUNCH={json.loads(text)['mark']}".encode() for text in texts if text}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        named = b"--job" in command and str(folder).encode() in command
        if state != "Z" and (named or not marks.isdisjoint(variables)):
            found.append(int(entry.name))
    return found


@pytest.fixture
def launcher() -> Iterator[LocalLauncher]:
    found = LocalLauncher()
    yield found
    found.close()


def wait_until(condition: Callable[[], Any], limit_s: float = 200.0) -> Any:
    """What ``condition`` gives when it is true."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit_s} s")


@pytest.fixture
def ended(launcher: LocalLauncher) -> Callable[..., JobProgress]:
    def wait(
        job: MadeJob, limit_s: float = 200.0, using: LocalLauncher | None = None
    ) -> JobProgress:
        def look() -> JobProgress | None:
            found = (using or launcher).poll(job.spec.id)
            return found if found.state.ended else None

        return wait_until(look, limit_s)

    return wait
