"""What can be wrong with a training, through ``trueup train``: a failed job with one sentence, and
the live version as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.shop import shop_config, shop_rows

BEFORE = (
    shop_config(epochs=2, margin=10.0, gate_period="2d")
    + """
[models.shop.windows]
label_delay = "1h"
allowed_lateness = "0s"
retention = "3650d"
"""
)
USER_CODE = """\
def weekday(tensors):
    return {"weekday": tensors["no_such_variable"]}
def build(plan, settings):
    raise RuntimeError("the embedding file is gone")
"""
#: Tasks, and they alone, may not write larger files than their weights.
SMALL_FILES = """\
import os, resource
if "TRUEUP_LIFELINE" in os.environ:
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))
"""


class Shop:
    """A folder with a live version, and what goes wrong in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = shop_rows(days=8)
        self.rows.to_parquet(folder / "rows.parquet")
        (folder / "mine.py").write_text(USER_CODE)
        self.configure()

    def configure(self, old: str = "", new: str = "") -> None:
        assert old in BEFORE
        text = BEFORE.replace(old, new) if old else BEFORE
        (self.folder / "trueup.toml").write_text(text)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trueup.cli.main", *arguments],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=200,
            env={**os.environ, **environment},
        )  # fmt: skip

    def blobs(self) -> list[str]:
        root = self.folder / ".trueup" / "blobs"
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())

    def processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if "trueup.trainer" in command and str(self.folder) in command:
                found.append(command)
        return found

    def refused(self, **environment: str) -> str:
        """The sentence by which a training fails that must leave nothing behind."""
        before = self.blobs()
        done = self.run("train", "shop", **environment)
        assert done.returncode in (1, 2), (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        sentence = done.stderr.strip().splitlines()[-1]
        job = json.loads(self.run("jobs", "shop", "--json").stdout)[0]
        assert job["state"] == "failed"
        assert job["version"] is None
        assert job["message"] in sentence
        versions = json.loads(self.run("versions", "shop", "--json").stdout)
        assert [(v["version"], v["aliases"]) for v in versions if v["state"] != "failed"] == [
            (1, ["stable"])
        ]
        assert self.blobs() == before
        assert self.processes() == []
        return sentence


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(tmp_path_factory.mktemp("shop"))
    done = made.run("train", "shop")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(autouse=True)
def as_before(shop: Shop) -> None:
    shop.configure()
    shop.rows.to_parquet(shop.folder / "rows.parquet")


Change = Callable[[pd.DataFrame], pd.DataFrame]
DATA: dict[str, tuple[Change, tuple[str, ...]]] = {
    "label is not there": (
        lambda rows: rows.drop(columns="bought"),
        ("the label column 'bought' is not in", "check the name"),
    ),
    "label is missing everywhere": (
        lambda rows: rows.assign(bought=np.nan),
        ("label is missing in 2,400", "check label"),
    ),
    "label is constant": (lambda rows: rows.assign(bought=1), ("bought", "1")),
    "label of the training rows is of one class": (
        lambda rows: rows.assign(
            bought=rows["bought"].where(rows["at"] > rows["at"].max() - pd.Timedelta("2d"), 1)
        ),
        ("bought",),
    ),
    "no rows": (lambda rows: rows.head(0), ("rows.parquet",)),
}


@pytest.mark.heavy
@pytest.mark.parametrize("wrong", list(DATA))
def test_data_that_nothing_can_be_learnt_from(shop: Shop, wrong: str) -> None:
    change, words = DATA[wrong]
    change(shop.rows).to_parquet(shop.folder / "rows.parquet")
    sentence = shop.refused()
    for word in words:
        assert word in sentence


@pytest.mark.heavy
def test_source_that_cannot_be_read(shop: Shop) -> None:
    path = shop.folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    assert "rows.parquet" in shop.refused()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'model = "linear"', 'model = "dnn"\nhidden_units = [8, 8]',
            ("the loss became", "lower training.learning_rate"),
        ),
        ('model = "linear"', 'model = "mine:build"', ("mine:build", "the embedding file is gone")),
        (
            'model = "linear"', 'model = "linear"\nfunctions = ["mine:weekday"]',
            ("mine:weekday", "no_such_variable"),
        ),
        (
            'model = "linear"', 'model = "linear"\nfunctions = ["mine:nothing"]',
            ("mine:nothing",),
        ),
    ],
    ids=["loss", "model", "function", "absent"],
)  # fmt: skip
def test_training_that_fails(shop: Shop, old: str, new: str, words: tuple[str, ...]) -> None:
    shop.configure(old, new)
    if "dnn" in new:
        text = (shop.folder / "trueup.toml").read_text()
        (shop.folder / "trueup.toml").write_text(text.replace("0.05", "1e38"))
    sentence = shop.refused()
    for word in words:
        assert word in sentence


@pytest.mark.heavy
def test_disk_that_is_full_in_mid_export(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SMALL_FILES)
    before = os.environ.get("PYTHONPATH", "")
    sentence = shop.refused(PYTHONPATH=os.pathsep.join(filter(None, (str(tmp_path), before))))
    assert "full" in sentence
    assert "make room" in sentence


@pytest.mark.heavy
def test_feature_that_fresh_data_lack(shop: Shop) -> None:
    """Rows that came in later, with labels, and without ``price``. They stay in the capture, so
    this test is the last of its model."""
    fresh = shop_rows(days=2)
    fresh["at"] += pd.Timedelta("20d")
    fresh["request_id"] = [f"r{number}" for number in range(len(fresh))]
    fresh[["at", "kind", "request_id"]].to_parquet(shop.folder / "fresh.parquet")
    labels = [
        {"id": f"{row['request_id']}/0", "label": row["bought"], "labelled_at": str(row["at"])}
        for row in fresh.to_dict("records")
    ]
    (shop.folder / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    ingest = ("ingest", "shop", "fresh.parquet", "--time", "at", "--request-id", "request_id")
    for command in (ingest, ("labels", "shop", "labels.jsonl"), ("compact",)):
        done = shop.run(*command)
        assert done.returncode == 0, done.stderr
    sentence = shop.refused()
    assert "price" in sentence
    assert "capture" in sentence
