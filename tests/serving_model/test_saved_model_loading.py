"""Loading what is damaged, and giving memory back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trueup.errors import TrueupError
from trueup.serving.saved_model import ModelLoadError, load_saved_model

pytestmark = pytest.mark.heavy


def cut_graph(folder: Path) -> None:
    file = folder / "saved_model.pb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_graph(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")


def no_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def no_variable_data(folder: Path) -> None:
    next((folder / "variables").glob("variables.data*")).unlink()


def cut_variables(folder: Path) -> None:
    next((folder / "variables").glob("variables.data*")).write_bytes(b"")


def unknown_operation(folder: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    found.meta_graphs[0].graph_def.node[0].op = "NoSuchOperation"
    file.write_bytes(found.SerializeToString())


def no_serve_tag(folder: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    found.meta_graphs[0].meta_info_def.tags[:] = ["train"]
    file.write_bytes(found.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_graph, "cannot be loaded"),
        (no_graph, "no graph with the tag"),
        (no_variables, "the variables are missing or damaged"),
        (no_variable_data, "the variables are missing or damaged"),
        (cut_variables, "the variables are missing or damaged"),
        (unknown_operation, "operation that this TensorFlow does not have.*NoSuchOperation"),
        (no_serve_tag, 'no graph with the tag "serve"'),
    ],
)
def test_a_damaged_model_is_refused_in_one_sentence(
    model_folder: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder, folder)
    damage(folder)
    with pytest.raises(ModelLoadError, match=said) as caught:
        load_saved_model(folder, threads=1)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_what_is_no_saved_model(tmp_path: Path) -> None:
    with pytest.raises(TrueupError, match=r"no saved_model\.pb"):
        load_saved_model(tmp_path, threads=1)
    with pytest.raises(TrueupError, match="no such folder"):
        load_saved_model(tmp_path / "absent", threads=1)


def test_versions_are_apart_and_close_twice(model_folder: Path) -> None:
    first, second = (load_saved_model(model_folder, threads=1) for _ in range(2))
    columns = {"x": np.array([1.0], np.float32)}
    first.close()
    first.close()
    assert second.run("serving_default", columns)["y"].tolist() == [2.0]
    second.close()


# A variable of 20 MB; the resident size after each version has been loaded, called and closed.
CHILD = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import numpy as np
import tensorflow as tf
from trueup.serving.saved_model import load_saved_model

folder = Path(sys.argv[1])
class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones([5_000_000]))
module = Module()
call = tf.function(lambda x: {"y": x * module.weights[7]}).get_concrete_function(
    x=tf.TensorSpec([None], tf.float32)
)
tf.saved_model.save(module, str(folder), signatures=call)
for _ in range(30):
    model = load_saved_model(folder, threads=1)
    result = model.run("serving_default", {"x": np.ones(64, np.float32)})
    assert result["y"].tolist() == [1.0] * 64
    del result
    model.close()
    print(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_thirty_versions_leave_no_memory_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "large")],
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    )
    sizes = [int(line) for line in done.stdout.split()]
    assert len(sizes) == 30
    assert sizes[-1] <= 1.1 * sizes[4], sizes
    assert sizes[-1] - sizes[4] < 20_000_000, sizes
