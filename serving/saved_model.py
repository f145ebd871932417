"""One version of a model: a SavedModel in a graph and a session of its own.

As TensorFlow Serving does it: closing the session gives its memory back, and nothing is shared
with other versions. Calls go through ``CallableOptions``, and kernels run in the calling thread:
measured for 12 features → 64 → 32 → 1, batches of 1 / 32 / 128 rows take 0.02 / 0.03 / 0.05 ms
against 0.2 / 0.3 / 0.3 ms of ``Session.make_callable`` with a pool of threads
(docs/decisions/0006). One kernel still spreads over ``threads``.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trueup.errors import BadInputError, TrueupError
from trueup.serving.signature import Signature, read_signatures
from trueup.serving.tensors import Array

_SERVE_TAG = "serve"
_LONGEST_MESSAGE = 1_000
# DirectSession: run every kernel in the thread that calls.
_IN_CALLING_THREAD = -1
# tsl/protobuf/error_codes.proto
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class ModelLoadError(BadInputError):
    """A SavedModel that cannot be served."""


class ModelRunError(TrueupError):
    """A call of a model that failed.

    :ivar code: TensorFlow's name of the error, such as ``"INVALID_ARGUMENT"``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class LoadedModel:
    """A loaded version. Calls from several threads are safe; :meth:`close` waits for none."""

    def __init__(self, session: Any, graph: Any, meta_graph: Any, folder: Path) -> None:
        self.folder = folder
        self.signatures: dict[str, Signature] = read_signatures(meta_graph)
        self.metadata: dict[str, Any] = dict(meta_graph.signature_def.items())
        self._session = session
        self._graph = graph
        self._calls: dict[str, _Call] = {}
        for name, signature in self.signatures.items():
            self._calls[name] = _Call(session, signature)

    def run(self, signature_name: str, columns: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of one call, by key.

        :param columns: every input of the signature, of its dtype.
        :raises ModelRunError: where the model failed, with its message in one line.
        """
        try:
            call = self._calls[signature_name]
        except KeyError:
            raise ModelRunError(
                f'Serving signature key "{signature_name}" not found.', code="FAILED_PRECONDITION"
            ) from None
        try:
            return call(columns)
        except Exception as error:
            raise _run_error(error) from error

    def close(self) -> None:
        """Give the memory back. No call may be running or follow."""
        session, self._session, self._graph = self._session, None, None
        if session is None:
            return
        for call in self._calls.values():
            call.release()
        self._calls = {}
        session.close()
        del session
        give_memory_back()


class _Call:
    """One signature, bound to the session."""

    def __init__(self, session: Any, signature: Signature) -> None:
        from tensorflow.core.protobuf import config_pb2

        self._keys = signature.names
        feeds = [spec.tensor_name for spec in signature.specs]
        fed = {name: place for place, name in enumerate(feeds)}
        fetches: dict[str, int] = {}
        # Where each output comes from: a fetch, or (older models) an input as it was given.
        self._sources: list[tuple[str, int | None, str]] = []
        for key, spec in signature.outputs.items():
            if spec.tensor_name in fed:
                self._sources.append((key, None, self._keys[fed[spec.tensor_name]]))
            else:
                place = fetches.setdefault(spec.tensor_name, len(fetches))
                self._sources.append((key, place, ""))
        options = config_pb2.CallableOptions(feed=feeds, fetch=list(fetches))
        options.run_options.inter_op_thread_pool = _IN_CALLING_THREAD
        self._run = session._make_callable_from_options(options)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        results = self._run(*[columns[key] for key in self._keys])
        return {
            key: columns[given] if place is None else results[place]
            for key, place, given in self._sources
        }

    def release(self) -> None:
        self._run = None


def load_saved_model(folder: Path, *, threads: int, gpu: bool = False) -> LoadedModel:
    """Load a SavedModel. Takes seconds; may be called in any thread.

    :param folder: holds ``saved_model.pb`` and ``variables/``.
    :param threads: of one kernel, 0: one per core. TensorFlow takes it from the first session of
        a process.
    :param gpu: whether to use GPUs.
    :raises ModelLoadError: where there is no SavedModel for serving, or it is damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    _check_files(folder)
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1
    )
    if not gpu:
        config.device_count["GPU"] = 0
    try:
        return _load(folder, config)
    except (
        tf.errors.OpError, DecodeError,
        OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError,
    ) as error:  # fmt: skip
        failure = _load_error(folder, error)
    give_memory_back()
    raise failure


def _load(folder: Path, config: Any) -> LoadedModel:
    import tensorflow as tf

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, [_SERVE_TAG], str(folder))
        # Callables are of the finished graph; nothing may be added to it any more.
        graph.finalize()
        return LoadedModel(session, graph, meta_graph, folder)
    except BaseException:
        session.close()
        raise


def give_memory_back() -> None:
    """Collect cycles, and return freed memory to the system where the C library can (glibc)."""
    gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelLoadError(f"{folder}: no such folder", remedy="give the folder of a SavedModel")
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ModelLoadError(
            f"{folder} is no SavedModel: it has no saved_model.pb",
            remedy="save the model with tf.saved_model.save or model.export",
        )


def _load_error(folder: Path, error: Exception) -> ModelLoadError:
    text = one_line(str(error))
    if "Op type not registered" in text:
        return ModelLoadError(
            f"{folder} needs an operation that this TensorFlow does not have: {text}",
            remedy="install the package that registers it",
        )
    if "associated with tags" in text:
        return ModelLoadError(
            f'{folder} has no graph with the tag "{_SERVE_TAG}"',
            remedy="save the model with tf.saved_model.save or model.export",
        )
    if not (folder / "variables").is_dir() or "variables/variables" in text:
        return ModelLoadError(
            f"{folder}: the variables are missing or damaged: {text}",
            remedy="copy the whole folder of the SavedModel anew",
        )
    return ModelLoadError(
        f"{folder} cannot be loaded: {text or type(error).__name__}",
        remedy="copy the whole folder of the SavedModel anew, or save the model again",
    )


def _run_error(error: Exception) -> ModelRunError:
    number = getattr(error, "error_code", None)
    known = isinstance(number, int) and 0 <= number < len(_CODES)
    message = getattr(error, "message", None) if known else str(error)
    code = _CODES[number] if known and isinstance(number, int) else "INTERNAL"
    return ModelRunError(one_line(str(message)) or type(error).__name__, code=code)


def one_line(message: str) -> str:
    """A message of TensorFlow without its stack of nodes, in one line."""
    lines = []
    for line in message.splitlines():
        stripped = line.strip()
        if stripped.startswith(("[[{{node", "[[node", "Original stack trace")):
            break
        if stripped:
            lines.append(stripped)
    return " ".join(lines)[:_LONGEST_MESSAGE]
