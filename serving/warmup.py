"""The first calls of a version, before clients' requests reach it.

What the model's maker has put into ``assets.extra/tf_serving_warmup_requests``, as TensorFlow
Serving plays it, and one made-up call per signature at batch 1 and at the largest batch: the first
call of a shape is slow. A version that fails here must not go live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from trueup.errors import BadInputError, FrameError
from trueup.frames.reader import FrameReader
from trueup.frames.walk import TailKind
from trueup.serving.saved_model import LoadedModel, ModelRunError
from trueup.serving.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from trueup.serving.tensors import Array, numpy_dtype

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
# TensorFlow Serving's limit (WarmupConsts::kMaxNumRecords).
MOST_RECORDS = 1_000

# Fields of tensorflow_serving/apis/prediction_log.proto. What is kept as bytes here is a message
# there: both look the same on the wire, and only what is needed is unpacked.
_OTHER_LOGS = {
    "classify_log": 2,
    "regress_log": 3,
    "multi_inference_log": 4,
    "session_run_log": 5,
    "predict_streamed_log": 7,
}


#: What a model says of rows that make no sense to it, as against a model that is broken.
_REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE")


class WarmupError(BadInputError):
    """A version that fails to warm."""


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """What was called.

    :param recorded: calls from the model's own warm-up requests.
    :param synthetic: calls with zeros and empty strings.
    :param notes: what was left out, and why.
    """

    recorded: int
    synthetic: int
    notes: tuple[str, ...] = ()


def warm(model: LoadedModel, folder: Path, *, batch_sizes: Sequence[int]) -> WarmupResult:
    """Call every signature before the version goes live.

    :param folder: of the SavedModel.
    :param batch_sizes: rows of the made-up calls, such as ``(1, 512)``.
    :raises WarmupError: where a call fails; but a model that refuses an *empty string*, which is
        no image and no example, has a note instead, and so has one that refuses made-up rows and
        answers warm-up requests of its own.
    """
    notes: list[str] = []
    recorded = _play(model, folder / WARMUP_FILE, notes)
    synthetic = 0
    for signature in model.signatures.values():
        synthetic += _call_made_up(
            model, folder, signature, batch_sizes, notes, has_warmed=recorded > 0
        )
    return WarmupResult(recorded, synthetic, tuple(notes))


def made_up_inputs(signature: Signature, rows: int) -> dict[str, Array]:
    """Zeros and empty strings of the signature's shapes; other open dimensions are 1."""
    return {spec.key: _made_up(spec, rows) for spec in signature.specs}


def _made_up(spec: TensorSpec, rows: int) -> Array:
    if spec.shape is None:
        shape: tuple[int, ...] = (rows,)
    else:
        shape = tuple(1 if dim is None else dim for dim in spec.shape)
        if spec.batched:
            shape = (rows, *shape[1:])
    if spec.dtype == "string":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, numpy_dtype(spec.dtype))


def _call_made_up(
    model: LoadedModel,
    folder: Path,
    signature: Signature,
    batch_sizes: Sequence[int],
    notes: list[str],
    *,
    has_warmed: bool,
) -> int:
    if any(spec.dtype.startswith("DT_") for spec in signature.specs):
        notes.append(f"signature {signature.name}: its inputs cannot be made up")
        return 0
    calls = 0
    for rows in sorted(set(batch_sizes)):
        try:
            model.run(signature.name, made_up_inputs(signature, rows))
        except ModelRunError as error:
            takes_text = any(spec.dtype == "string" for spec in signature.specs)
            if takes_text and error.code == "INVALID_ARGUMENT":
                notes.append(
                    f"signature {signature.name} refuses empty strings ({error.message}); "
                    f"real requests in {WARMUP_FILE} would warm it"
                )
                return calls
            if has_warmed and error.code in _REFUSALS:
                notes.append(f"signature {signature.name} refuses rows of zeros: {error.message}")
                return calls
            raise WarmupError(
                f"{folder}: signature {signature.name} fails on {rows} rows of zeros: "
                f"{error.message}",
                remedy="the version does not go live; save a model that runs, or put requests that "
                f"it answers into {WARMUP_FILE}",
            ) from error
        calls += 1
    return calls


def _play(model: LoadedModel, path: Path, notes: list[str]) -> int:
    """Play the model's own requests; how many there were."""
    if not path.is_file():
        return 0
    played = skipped = 0
    reader = FrameReader(path)
    try:
        for number, record in enumerate(reader, start=1):
            if number > MOST_RECORDS:
                raise WarmupError(
                    f"{path} holds more than {MOST_RECORDS} records", remedy="leave fewer in it"
                )
            if _play_one(model, path, number, record):
                played += 1
            else:
                skipped += 1
    except FrameError as error:
        raise _not_readable(path, str(error)) from error
    if reader.tail is not TailKind.CLEAN:
        raise _not_readable(path, f"it ends within record {reader.frames + 1}")
    if skipped:
        notes.append(f"{skipped} warm-up records that are no predict requests were left out")
    return played


def _not_readable(path: Path, why: str) -> WarmupError:
    return WarmupError(
        f"{path} is no TFRecord file of PredictionLog: {why}",
        remedy="write it with tf.io.TFRecordWriter, or leave it out",
    )


def _play_one(model: LoadedModel, path: Path, number: int, record: bytes) -> bool:
    """Play one record; ``False`` where it is no predict request."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    messages = _messages()
    try:
        log = messages["PredictionLog"].FromString(record)
        if not log.HasField("predict_log"):
            return False
        request = messages["PredictRequest"].FromString(
            messages["PredictLog"].FromString(log.predict_log).request
        )
        name = messages["ModelSpec"].FromString(request.model_spec).signature_name
        columns = {
            key: tf.make_ndarray(TensorProto.FromString(value))
            for key, value in request.inputs.items()
        }
    except (DecodeError, TypeError, ValueError) as error:
        raise _not_readable(path, f"record {number}: {error}") from error
    signature = model.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise _failed(path, number, f'the model has no signature "{name or DEFAULT_SIGNATURE}"')
    if set(columns) != set(signature.names):
        raise _failed(path, number, f"its inputs are {sorted(columns)}, not {[*signature.names]}")
    for spec in signature.specs:
        given = "string" if columns[spec.key].dtype == object else columns[spec.key].dtype.name
        if given != spec.dtype:
            raise _failed(path, number, f"input {spec.key} is {given}, not {spec.dtype}")
    try:
        model.run(signature.name, columns)
    except ModelRunError as error:
        raise _failed(path, number, error.message) from error
    return True


def _failed(path: Path, number: int, why: str) -> WarmupError:
    return WarmupError(
        f"{path}: record {number} fails: {why}",
        remedy="the version does not go live; correct the model or its warm-up requests",
    )


@cache
def _messages() -> dict[str, Any]:
    """The few messages of tensorflow-serving-api that are needed, in a pool of their own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="trueup/warmup.proto", package="trueup.warmup", syntax="proto2"
    )

    def message(name: str, fields: dict[str, int], kind: int = field.TYPE_BYTES) -> Any:
        added = file.message_type.add(name=name)
        for key, number in fields.items():
            added.field.add(name=key, number=number, type=kind, label=field.LABEL_OPTIONAL)
        return added

    message("PredictionLog", {"predict_log": 6, **_OTHER_LOGS})
    message("PredictLog", {"request": 1})
    message("ModelSpec", {"signature_name": 3}, field.TYPE_STRING)
    request = message("PredictRequest", {"model_spec": 1})
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    request.field.add(
        name="inputs",
        number=2,
        type=field.TYPE_MESSAGE,
        type_name=".trueup.warmup.PredictRequest.InputsEntry",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    names = ("PredictionLog", "PredictLog", "PredictRequest", "ModelSpec")
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"trueup.warmup.{name}"))
        for name in names
    }
