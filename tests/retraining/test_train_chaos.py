"""``trueup train`` is killed in each of its steps: nothing is left, and the next one works."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.shop import shop_config, shop_rows
from tests.trainer_task.conftest import wait_until
from trueup.config.settings import StoreSettings
from trueup.job_leftovers import recover
from trueup.store.blobs import BlobRoot
from trueup.store.engine import reading
from trueup.store.registry import VersionRow, list_versions
from trueup.store.schema import open_store
from trueup.store.tables import VersionState
from trueup.trainer.launchers.local import LocalLauncher

STEPS = (
    "reading the sources", "profiling the training rows", "writing the shards", "training",
    "  epoch", "taking importances", "registering the version", "scoring the gate's rows",
    "replaying",
)  # fmt: skip
COMMAND = (sys.executable, "-m", "trueup.cli.main", "train", "shop")
LONGEST_PAUSE_S = 0.3


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shop_rows().to_parquet(folder / "rows.parquet")
        self.configure("single")

    def configure(self, strategy: str) -> None:
        training = f'strategy = "{strategy}"\nworkers = 1'
        config = shop_config(epochs=2, margin=5.0, training=training)
        (self.folder / "trueup.toml").write_text(config)

    def train(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            COMMAND, cwd=self.folder, capture_output=True, text=True, check=False, timeout=200
        )

    def killed_at(self, step: str, pause_s: float) -> None:
        """Start a training, and kill it a little after it said that it is at ``step``."""
        with subprocess.Popen(
            COMMAND, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(step):
                    time.sleep(pause_s)  # not a wait for anything: any moment of the step will do
                    process.kill()
                    return
        raise AssertionError(f"the training never came to {step!r}")

    def recover(self) -> None:
        """As the next training does, a minute later."""
        engine = open_store(StoreSettings(url=f"sqlite:///{self.folder / '.trueup/store.db'}"))
        later = datetime.now(timezone.utc) + timedelta(seconds=61)
        launcher = LocalLauncher()
        recover(engine, BlobRoot(str(self.folder / ".trueup/blobs")), launcher, now=later)
        launcher.close()
        engine.dispose()

    def versions(self) -> list[VersionRow]:
        engine = open_store(StoreSettings(url=f"sqlite:///{self.folder / '.trueup/store.db'}"))
        with reading(engine) as connection:
            found = list_versions(connection, "shop")
        engine.dispose()
        return found

    def jobs(self) -> list[dict[str, object]]:
        out = subprocess.check_output([*COMMAND[:3], "jobs", "--json"], cwd=self.folder, text=True)
        found: list[dict[str, object]] = json.loads(out)
        return found

    def processes(self) -> list[str]:
        """Commands of processes that work for this folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_text().replace("\0", " ")
                inside = (entry / "cwd").readlink().is_relative_to(self.folder)
                dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if (str(self.folder) in command or inside) and not dead:
                found.append(command)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path)
    yield found
    assert found.processes() == []


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_killed_in_any_step_it_leaves_nothing(shop: Shop) -> None:
    first = shop.train()
    assert first.returncode == 0, first.stderr
    chance = random.Random(7)
    for number, step in enumerate(STEPS):
        shop.configure("parameter_server" if step == "  epoch" else "single")
        shop.killed_at(step, chance.random() * LONGEST_PAUSE_S)
        wait_until(lambda: shop.processes() == [], 60)
        shop.recover()
        jobs = shop.jobs()
        assert len(jobs) == number + 2
        gated = step in STEPS[-3:]  # registering may have been over
        assert jobs[0]["state"] in (("failed", "succeeded") if gated else ("failed",)), step
        if jobs[0]["state"] == "failed":
            assert "was lost; start the job again" in str(jobs[0]["message"])
        states = {row.state for row in shop.versions()}
        assert states <= {VersionState.READY, VersionState.FAILED}
        live = [row.version for row in shop.versions() if "stable" in row.aliases]
        assert live == [1], step
        kept = {row.version for row in shop.versions() if row.state is VersionState.READY}
        artifacts = shop.folder / ".trueup" / "blobs" / "models" / "shop"
        files = [path for path in artifacts.rglob("*") if path.is_file()]
        assert {int(path.relative_to(artifacts).parts[0]) for path in files} == kept, step
    shop.configure("single")
    last = shop.train()
    assert last.returncode == 0, last.stderr
    # What the last training found was the newest that had ended, and is kept to be looked at.
    kept_folder = shop.jobs()[1]["id"]
    folders = list((shop.folder / ".trueup" / "jobs").iterdir())
    assert {path.name for path in folders if (path / "data").exists()} <= {kept_folder}
