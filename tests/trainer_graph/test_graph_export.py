"""What is exported is what other tools load, and what our server answers with."""

from __future__ import annotations

import os
import re
import signal as signals
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.trainer_graph.samples import (
    SPEC,
    Rows,
    as_served,
    examples,
    make_rows,
    planned,
    settings_of,
    table_of,
)
from tests.trainer_graph.test_graph_models import OWN_MODEL, labelled
from trueup.config.training import TrainingSettings
from trueup.records.features import FeaturePlan
from trueup.records.input_spec import InputSpec, Kind, Role, Variable
from trueup.serving.model_inputs import model_inputs
from trueup.serving.saved_model import LoadedModel, load_saved_model
from trueup.serving.saved_model_file import signatures_of
from trueup.serving.warmup import warm
from trueup.trainer.graph.examples import parser
from trueup.trainer.graph.export import PLAN_FILE, ExportError, export_model, served_spec
from trueup.trainer.graph.model import build_model

pytestmark = pytest.mark.heavy

LONG_S = 120.0


def exported(folder: Path, plan: FeaturePlan, settings: TrainingSettings) -> Any:
    """A model with weights of its own, saved in ``folder``."""
    model = build_model(plan, settings)
    chance = np.random.default_rng(7)
    model.set_weights([w + 0.1 * chance.normal(size=w.shape) for w in model.get_weights()])
    export_model(model, plan, folder)
    return model


def run(folder: Path, plan: FeaturePlan, rows: Rows) -> dict[str, np.ndarray]:
    loaded = load_saved_model(folder, threads=1)
    try:
        columns = {v.name: as_served(rows, v) for v in plan.inputs}
        return loaded.run("serving_default", columns)
    finally:
        loaded.close()


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_answers_of_classes(tf: Any, rows: Rows, tmp_path: Path, task: str) -> None:
    mine, spec = labelled(rows, task)
    settings = settings_of()
    plan = planned(mine, settings, spec).plan
    model = exported(tmp_path / "m", plan, settings)
    logits = model(parser(plan)(tf.constant(examples(mine)))[0]).numpy()
    found = run(tmp_path / "m", plan, mine)
    if task == "binary":
        assert set(found) == {"probability", "classes"}
        probability = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
        np.testing.assert_allclose(found["probability"], probability, rtol=1e-6)
        expected = [b"top" if p > 0.5 else b"low" for p in probability]
        expected = [plan.target.classes[int(p > 0.5)].encode() for p in found["probability"]]
    else:
        assert set(found) == {"probabilities", "classes"}
        raised = np.exp(logits.astype(float))
        np.testing.assert_allclose(
            found["probabilities"], raised / raised.sum(1, keepdims=True), rtol=2e-6
        )
        expected = [plan.target.classes[i].encode() for i in found["probabilities"].argmax(1)]
    assert found["classes"].tolist() == expected


def test_the_signature_is_the_plans(tf: Any, rows: Rows, tmp_path: Path) -> None:
    settings = settings_of()
    plan = planned(rows, settings).plan
    exported(tmp_path / "m", plan, settings)
    signatures = signatures_of(tmp_path / "m")
    assert signatures["serving_default"].batchable
    inputs = model_inputs(signatures)
    spec = served_spec(plan)
    assert {v.name: (v.dtype, v.shape) for v in inputs.values()} == {
        v.name: (v.dtype, v.shape) for v in spec.variables
    }
    assert {v.name for v in spec.variables if not v.optional} == {"seats", "night"}
    assert FeaturePlan.model_validate_json((tmp_path / "m" / PLAN_FILE).read_text()) == plan
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_its_own_requests_warm_it_and_the_newer_loader_takes_it(
    tf: Any, rows: Rows, tmp_path: Path
) -> None:
    settings = settings_of()
    plan = planned(rows, settings).plan
    model = exported(tmp_path / "m", plan, settings)
    loaded: LoadedModel = load_saved_model(tmp_path / "m", threads=1)
    try:
        result = warm(loaded, tmp_path / "m", batch_sizes=(1, 64))
    finally:
        loaded.close()
    assert (result.recorded, result.synthetic, result.notes) == (2, 2, ())
    again = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    few = {name: values[:30] for name, values in rows.items()}
    found = again(**{v.name: tf.constant(as_served(few, v)) for v in plan.inputs})
    expected = model(parser(plan)(tf.constant(examples(few)))[0]).numpy()
    np.testing.assert_allclose(found["predictions"], expected.ravel(), rtol=1e-6, atol=1e-6)


ODD_NAMES = ("dep delay (min)", "Größe", "class", "self", "None", "_x", "a/b", "a b", "1st", "A", "a")


def test_names_may_be_any(tf: Any, tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    odd: Rows = {name: chance.normal(size=300).tolist() for name in ODD_NAMES}
    odd["the label"] = [sum(values) for values in zip(*odd.values(), strict=True)]
    spec = InputSpec(variables=tuple(
        Variable(name=n, dtype="float64", kind=Kind.NUMERIC,
                 role=Role.LABEL if n == "the label" else Role.FEATURE) for n in odd
    ))  # fmt: skip
    settings = settings_of(label="the label", crosses=[["a b", "a/b"]])
    plan = planned(odd, settings, spec).plan
    model = exported(tmp_path / "m", plan, settings)
    assert set(model_inputs(signatures_of(tmp_path / "m"))) == set(ODD_NAMES)
    expected = model(parser(plan)(tf.constant(examples(odd)))[0]).numpy().ravel()
    found = run(tmp_path / "m", plan, odd)["predictions"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_own_models_are_exported_with_their_tables(
    tf: Any, rows: Rows, own_module: Callable[[str], str], tmp_path: Path
) -> None:
    mine, spec = labelled(rows, "binary")
    settings = settings_of(model=f"{own_module(OWN_MODEL)}:probabilities")
    plan = planned(mine, settings, spec).plan
    model = build_model(plan, settings)
    raw, _ = parser(plan)(tf.constant(examples(mine)))
    expected = model(raw).numpy().ravel()
    export_model(model, plan, tmp_path / "m")
    found = run(tmp_path / "m", plan, mine)["probability"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


UNTRACKED = '''
import tensorflow as tf

def lost(raw):
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["Oslo"], [1.0]), 0.0)
    return {"known": table.lookup(raw["carrier"])}
'''


def test_what_cannot_be_saved_leaves_nothing(
    tf: Any, rows: Rows, own_module: Callable[[str], str], tmp_path: Path
) -> None:
    settings = settings_of(functions=[f"{own_module(UNTRACKED)}:lost"])
    plan = planned(rows, settings).plan
    with pytest.raises(ExportError, match="cannot be saved: .*untracked"):
        export_model(build_model(plan, settings), plan, tmp_path / "m")
    assert list(tmp_path.glob("**/saved_model.pb")) == []
    (tmp_path / "file").write_text("")
    settings = settings_of()
    plan = planned(rows, settings).plan
    model = build_model(plan, settings)
    with pytest.raises(ExportError, match=r"could not be saved in .*file/m: .*; see to room"):
        export_model(model, plan, tmp_path / "file" / "m")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "trueup.toml").write_text(
        "[models.m.variables.month.missing]\ngraph = -9223372036854775808\n"
        "[models.m.variables.stops.missing]\ngraph = -9223372036854775808\n"
        "[models.m.variables.code.missing]\ngraph = -9223372036854775808\n"
        "[models.m.variables.night]\noptional = true\nmissing = { graph = 0 }\n"
    )
    yield tmp_path


ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def trueup(site: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "trueup.cli.main", *arguments], cwd=site, capture_output=True,
        text=True, timeout=LONG_S, check=False, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imported_and_asked_over_http_with_nulls(tf: Any, rows: Rows, site: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    settings = settings_of(crosses=[["carrier", "month"]])
    plan = planned(rows, settings).plan
    model = exported(site / "export", plan, settings)
    pq.write_table(pa.Table.from_batches([table_of(rows)]), site / "training.parquet")
    said = trueup(site, "import", "m", "--saved-model", "export", "--training-data",
                  "training.parquet", "--label", "label", "--time", "at")  # fmt: skip
    assert said.startswith("m version 1 is live.")
    asked = make_rows(40, seed=9, missing=0.3)
    asked = {name: asked[name] for name in (v.name for v in plan.inputs)}
    # Lists of one length in one request: a tensor of rows has one.
    for name in ("tags", "delays", "stops"):
        asked[name] = [None if v is None else (v * 9)[:3] or None for v in asked[name]]
    asked["label"] = [0.0] * 40
    raw, _ = parser(plan)(tf.constant(examples(asked)))
    expected = model(raw).numpy().ravel()
    instances = [
        {k: v for k, v in zip(asked, values, strict=True) if k != "label"}
        for values in zip(*asked.values(), strict=True)
    ]
    log = site / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trueup.cli.main", "serve", "--rest-port", "0"], cwd=site,
            stdout=output, stderr=output, env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
    try:
        url = _ready(process, log)
        absent = [{k: v for k, v in row.items() if v is not None} for row in instances]
        for sent in (instances, absent):
            found = [
                httpx.post(f"{url}/v1/models/m:predict", json={"instances": [row]}, timeout=LONG_S)
                for row in sent
            ]
            assert {answer.status_code for answer in found} == {200}, found[0].text
            got = [answer.json()["predictions"][0] for answer in found]
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5)
        refused = httpx.post(f"{url}/v1/models/m:predict", timeout=LONG_S,
                             json={"instances": [{**instances[0], "seats": None}]})  # fmt: skip
        assert refused.status_code == 400 and "seats" in refused.json()["error"]
        nights = [{**absent[0], "night": value} for value in (False, None)]
        both = httpx.post(f"{url}/v1/models/m:predict", json={"instances": nights},
                          timeout=LONG_S).json()["predictions"]  # fmt: skip
        assert both[0] == both[1]
    finally:
        process.send_signal(signals.SIGTERM)
        process.wait(LONG_S)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        found = re.search(r"https?://\S+", log.read_text())
        if found:
            try:
                if httpx.get(f"{found[0]}/readyz", timeout=5).status_code == 200:
                    return found[0]
            except httpx.HTTPError:
                pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_the_samples_have_every_kind_of_variable() -> None:
    dtypes = {v.dtype for v in SPEC.variables}
    assert {"float64", "float32", "int64", "int32", "string", "bool", "timestamp"} <= dtypes
