"""Warm-up: recorded requests as TensorFlow Serving's tools write them, and made-up ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueup.frames.format import encode
from trueup.serving.saved_model import LoadedModel, load_saved_model
from trueup.serving.warmup import MOST_RECORDS, WARMUP_FILE, WarmupError, warm

pytestmark = pytest.mark.heavy


def varint(number: int) -> bytes:
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a message, as protocol buffers put it on the wire."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def predict_record(signature: str, **inputs: Any) -> bytes:
    """A ``PredictionLog`` of one predict request, by hand: its fields' numbers are the contract."""
    import tensorflow as tf

    spec = field(1, b"any model") + (field(3, signature.encode()) if signature else b"")
    request = field(1, spec)
    for key, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += field(2, field(1, key.encode()) + field(2, tensor))
    return field(6, field(1, request))


def write(folder: Path, *records: bytes) -> None:
    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(records))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "1"


X = np.array([1.0, 2.0], np.float32)


def test_recorded_requests_are_played(model: LoadedModel, folder: Path) -> None:
    write(
        folder,
        predict_record("", x=X),
        predict_record("lookup", colour=np.array([b"red"], np.object_)),
        field(2, field(1, b"")),  # a classify_log
    )
    result = warm(model, folder, batch_sizes=(1,))
    assert result.recorded == 2
    assert any("1 warm-up records that are no predict requests" in note for note in result.notes)


def test_the_records_of_tensorflow_servings_own_api(model: LoadedModel, folder: Path) -> None:
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    import tensorflow as tf

    log = prediction_log_pb2.PredictionLog()
    log.log_metadata.sampling_config.sampling_rate = 0.5
    request = log.predict_log.request
    request.model_spec.name = "m"
    request.model_spec.version.value = 3
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    request.output_filter.append("y")
    assert warm_file(model, folder, log.SerializeToString()) == 1


def warm_file(model: LoadedModel, folder: Path, record: bytes) -> int:
    """Play one record that TensorFlow itself put into the file."""
    import tensorflow as tf

    (folder / WARMUP_FILE).parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        writer.write(record)
    return warm(model, folder, batch_sizes=(1,)).recorded


def test_every_signature_is_called_at_every_size(model: LoadedModel, folder: Path) -> None:
    result = warm(model, folder, batch_sizes=(1, 512))
    assert result.recorded == 0
    assert result.synthetic == 2 * len(model.signatures)
    assert result.notes == ()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (lambda: [predict_record("nowhere", x=X)], 'no signature "nowhere"'),
        (lambda: [predict_record("", z=X)], r"inputs are \['z'\], not \['x'\]"),
        (lambda: [predict_record("", x=X.astype(np.float64))], "x is float64, not float32"),
        (lambda: [predict_record("strict", x=X), predict_record("strict", x=X * np.nan)],
         "record 2 fails: .*x is not finite"),
        (lambda: [b"\x07nonsense"], "no TFRecord file of PredictionLog: record 1"),
        (lambda: [b""] * (MOST_RECORDS + 1), "more than 1000 records"),
    ],
)  # fmt: skip
def test_a_version_whose_recorded_requests_fail_is_refused(
    model: LoadedModel, folder: Path, records: Callable[[], list[bytes]], said: str
) -> None:
    write(folder, *records())
    with pytest.raises(WarmupError, match=said) as caught:
        warm(model, folder, batch_sizes=(1,))
    assert str(folder / WARMUP_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [5, 40])
def test_a_damaged_file_is_refused(model: LoadedModel, folder: Path, cut: int) -> None:
    write(folder, predict_record("", x=X), predict_record("", x=X))
    path = folder / WARMUP_FILE
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(WarmupError, match="no TFRecord file of PredictionLog"):
        warm(model, folder, batch_sizes=(1,))
    path.write_bytes(b"x" * 100)
    with pytest.raises(WarmupError, match="no TFRecord file of PredictionLog"):
        warm(model, folder, batch_sizes=(1,))


@pytest.fixture(scope="module")
def awkward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signature that takes images, and one that always fails."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("awkward") / "1"

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def image(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels = tf.map_fn(
                lambda one: tf.io.decode_png(one, 1), image_bytes, fn_output_signature=tf.uint8
            )
            return {"size": tf.shape(pixels)[1:3]}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def broken(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_greater(x, 0.0, "never so")]):
                return {"y": x + 1.0}

    module = Module()
    tf.saved_model.save(module, str(folder / "image"), signatures={"image": module.image})
    tf.saved_model.save(module, str(folder / "broken"), signatures={"broken": module.broken})
    return folder


def test_a_model_that_fails_is_refused(awkward_folder: Path) -> None:
    folder = awkward_folder / "broken"
    model = load_saved_model(folder, threads=1)
    with pytest.raises(WarmupError, match=r"signature broken fails on 1 rows.*never so") as caught:
        warm(model, folder, batch_sizes=(1, 8))
    model.close()
    assert str(folder) in str(caught.value)


def test_a_model_that_refuses_zeros_is_warmed_by_requests_of_its_own(
    awkward_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "choosy"
    shutil.copytree(awkward_folder / "broken", folder)
    write(folder, predict_record("broken", x=X))
    model = load_saved_model(folder, threads=1)
    result = warm(model, folder, batch_sizes=(1, 8))
    model.close()
    assert (result.recorded, result.synthetic) == (1, 0)
    assert "signature broken refuses rows of zeros" in result.notes[0]


def test_a_model_of_images_is_not_refused_for_an_empty_string(
    awkward_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "image"
    shutil.copytree(awkward_folder / "image", folder)
    model = load_saved_model(folder, threads=1)
    result = warm(model, folder, batch_sizes=(1, 8))
    model.close()
    assert result.synthetic == 0
    assert "signature image refuses empty strings" in result.notes[0]
