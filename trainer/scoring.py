"""Scores rows with a version, in a process of its own:

    python -m trueup.trainer.scoring --saved-model DIR --rows gate/*.parquet --out scores.parquet

Rows hold raw variables. Of these a model is given what its signature takes, so that versions with
other inputs score the same rows; a variable that the rows lack is missing in all of them. The
result has one row per row, in the order of files and rows:

    row          int64    0, 1, …: what pairs the scores of two versions
    prediction   double, or list<double> of as many values in every row
    KEY          columns named by --key, as they are

Memory is bounded by the batch, not by the rows. Errors are one sentence on standard error, and the
exit status 1 or 2 (bad input); the output is there whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trueup.errors import BadInputError, DataError, TrueupError, UnsupportedError
from trueup.records.input_spec import InputSpec
from trueup.trainer.scoring_columns import Input, check_columns, missing_encoding, tensor

Array = NDArray[Any]

SIGNATURE = "serving_default"
ROW, PREDICTION = "row", "prediction"
DEFAULT_BATCH_ROWS = 4_096
#: Of several outputs the first of these that is there; classes as texts are no scores.
PREFERRED_OUTPUTS = (
    "probabilities", "probability", "predictions", "prediction", "scores", "score", "outputs",
    "output_0",
)  # fmt: skip
#: Of our own exports (:mod:`trueup.trainer.graph.export`): inputs with their missing encodings.
PLAN_FILE = Path("assets.extra", "trueup_plan.json")


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """What is scored.

    :param saved_model: folder of the SavedModel.
    :param rows: Parquet files, in order.
    :param keys: columns that are kept beside the scores.
    :param spec: of the version, for its missing encodings; that of our own exports is found.
    :param output: of the signature; of several the likeliest one is taken.
    """

    saved_model: Path
    rows: tuple[Path, ...]
    out: Path
    keys: tuple[str, ...] = ()
    spec: InputSpec | None = None
    output: str | None = None
    batch_rows: int = DEFAULT_BATCH_ROWS
    threads: int = 1


class Scorer:
    """A SavedModel's ``serving_default``, called with columns; loaded as the server does it: a
    graph and a session, tensors by the signature's own names."""

    def __init__(
        self, folder: Path, spec: InputSpec | None, output: str | None, threads: int
    ) -> None:
        """:raises BadInputError: no SavedModel, or without such a signature or output."""
        self.folder = folder
        self._session, signature = _load(folder, threads)
        spec = spec or _spec_of_plan(folder)
        self.inputs: dict[str, Input] = {
            name: _input(name, info, spec, folder) for name, info in signature.inputs.items()
        }
        self.output = _choose_output(signature.outputs, output, folder)
        self._run = self._session.make_callable(
            signature.outputs[self.output].name,
            feed_list=[info.name for info in signature.inputs.values()],
        )

    def __call__(self, columns: Mapping[str, pa.Array], rows: int, where: str) -> Array:
        """Predictions ``(rows,)`` or ``(rows, k)`` float64.

        :raises DataError: values that do not fit; the model fails on them.
        """
        import tensorflow as tf

        arrays = [tensor(one, columns.get(name), rows, where) for name, one in self.inputs.items()]
        try:
            answers = self._run(*arrays)
        except (tf.errors.OpError, ValueError) as error:
            raise DataError(
                f"the model in {self.folder} failed on {where}: {_one_line(error)}",
                remedy="look at these rows, or export the model anew",
            ) from error
        scores = np.asarray(answers, dtype=np.float64)
        if scores.ndim == 0 or scores.shape[0] != rows:
            raise BadInputError(
                f"output {self.output!r} of the model in {self.folder} has the shape "
                f"{scores.shape} for {rows:,} rows",
                remedy="name an output with one answer a row",
            )
        scores = scores.reshape(rows, -1)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def close(self) -> None:
        self._session.close()


def _one_line(error: Exception) -> str:
    """What TensorFlow says, without stack and nodes: the last line before the first node."""
    message = (getattr(error, "message", None) or str(error)).partition("[[")[0]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def score(request: ScoringRequest) -> int:
    """Write the scores; the number of rows.

    :raises TrueupError: files or model cannot be used; nothing is left of the output then.
    """
    scorer = Scorer(request.saved_model, request.spec, request.output, request.threads)
    part = request.out.with_name(f".{request.out.name}.{uuid4().hex[:8]}")
    writer: pq.ParquetWriter | None = None
    row, width = 0, 0
    try:
        for batch, where in _batches(request, scorer):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            scores = scorer(columns, batch.num_rows, where)
            width = width or scores[:1].size
            if scores[:1].size != width:
                raise DataError(
                    f"the model gives {scores[:1].size} values a row on {where}, and {width} before"
                )
            table = _table(row, scores, {key: columns[key] for key in request.keys})
            if writer is None:
                writer = pq.ParquetWriter(part, table.schema, compression="zstd")
            writer.write_table(table)
            row += batch.num_rows
        if writer is None:
            raise DataError(
                f"there is no row in {', '.join(map(str, request.rows))}",
                remedy="keep rows for the gate: gate_period, gate_share",
            )
        writer.close()
        part.replace(request.out)
    except OSError as error:
        raise TrueupError(
            f"scores cannot be written to {request.out}: {error.strerror or error}",
            remedy="see to room and rights there",
        ) from error
    finally:
        scorer.close()
        with suppress(OSError, pa.ArrowException):
            if writer is not None:
                writer.close()
        part.unlink(missing_ok=True)
    return row


def _batches(request: ScoringRequest, scorer: Scorer) -> Iterator[tuple[pa.RecordBatch, str]]:
    wanted = [*scorer.inputs, *request.keys]
    for path in request.rows:
        try:
            with pq.ParquetFile(path) as file:
                present = set(file.schema_arrow.names)
                check_columns(scorer.inputs, dict.fromkeys(present), str(path))
                lacking = [key for key in request.keys if key not in present]
                if lacking:
                    raise DataError(f"{path} has no column {lacking[0]!r} for a key")
                # At least one column, or batches would have no number of rows.
                columns = [name for name in dict.fromkeys(wanted) if name in present]
                columns = columns or file.schema_arrow.names[:1]
                first = 0
                for batch in file.iter_batches(request.batch_rows, columns=columns):
                    yield batch, f"{path}, from row {first:,}"
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is None and path.exists():
                reason = "it is damaged"
            else:
                reason = str(error).splitlines()[0]
            raise DataError(
                f"{path} cannot be read as Parquet: {reason}", remedy="write the file anew"
            ) from error


def _table(row: int, scores: Array, keys: Mapping[str, pa.Array]) -> pa.Table:
    if scores.ndim == 1:
        predictions: Any = pa.array(scores)
    else:
        width = scores.shape[1]
        offsets = np.arange(0, scores.size + 1, width, dtype=np.int32)
        predictions = pa.ListArray.from_arrays(pa.array(offsets), pa.array(scores.reshape(-1)))
    rows = pa.array(np.arange(row, row + len(scores), dtype=np.int64))
    return pa.table({ROW: rows, PREDICTION: predictions, **keys})


def _load(folder: Path, threads: int) -> tuple[Any, Any]:
    """The session, and the signature as the SavedModel has it."""
    if not (folder / "saved_model.pb").is_file():
        raise BadInputError(
            f"there is no SavedModel in {folder}", remedy="name the folder with saved_model.pb"
        )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UnsupportedError(
            "scoring needs TensorFlow, which is not installed",
            remedy="pip install 'trueup[serving]'",
        ) from error
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    except (tf.errors.OpError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInputError(
            f"the SavedModel in {folder} cannot be loaded: {_one_line(error)}",
            remedy="export it anew",
        ) from error
    if SIGNATURE not in meta_graph.signature_def:
        raise BadInputError(
            f"the SavedModel in {folder} has no signature {SIGNATURE}",
            remedy="export it with one",
        )
    return session, meta_graph.signature_def[SIGNATURE]


def _input(name: str, info: Any, spec: InputSpec | None, folder: Path) -> Input:
    import tensorflow as tf

    if info.tensor_shape.unknown_rank or not info.tensor_shape.dim:
        raise BadInputError(
            f"input {name!r} of the model in {folder} has no dimension for rows",
            remedy="export it for batches of any size",
        )
    shape = tuple(int(dim.size) for dim in info.tensor_shape.dim)[1:]
    found = tf.dtypes.as_dtype(info.dtype)
    if found != tf.string and np.dtype(found.as_numpy_dtype).kind not in "fiub":
        raise BadInputError(
            f"input {name!r} of the model in {folder} is {found.name}, which rows cannot hold",
            remedy="export it with floats, integers, booleans or strings",
        )
    return Input(name, found.name, shape, missing_encoding(name, found.name, spec))


def _choose_output(outputs: Mapping[str, Any], named: str | None, folder: Path) -> str:
    import tensorflow as tf

    dtypes = {name: tf.dtypes.as_dtype(info.dtype) for name, info in outputs.items()}
    numeric = [name for name, found in dtypes.items() if found.is_floating or found.is_integer]
    shown = ", ".join(sorted(outputs))
    if named is not None:
        if named in numeric:
            return named
        raise BadInputError(
            f"the model in {folder} has no output {named!r} of numbers", remedy=f"it has {shown}"
        )
    if len(numeric) == 1:
        return numeric[0]
    for name in PREFERRED_OUTPUTS:
        if name in numeric:
            return name
    raise BadInputError(
        f"which output of the model in {folder} is the prediction is not clear",
        remedy=f"name one with --output; it has {shown}",
    )


def _spec_of_plan(folder: Path) -> InputSpec | None:
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_bytes())
        return InputSpec.model_validate({"variables": [*plan["inputs"], *plan.get("unused", ())]})
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is no plan of features", remedy="export anew") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trueup.trainer.scoring")
    parser.add_argument("--saved-model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--spec", type=Path, help="the version's InputSpec as JSON")
    parser.add_argument("--output")
    parser.add_argument("--batch-rows", type=int, default=DEFAULT_BATCH_ROWS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    try:
        score(
            ScoringRequest(
                saved_model=given.saved_model,
                rows=tuple(given.rows),
                out=given.out,
                keys=tuple(given.key),
                spec=None if given.spec is None else _read_spec(given.spec),
                output=given.output,
                batch_rows=max(given.batch_rows, 1),
                threads=given.threads,
            )
        )
    except TrueupError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _read_spec(path: Path) -> InputSpec:
    try:
        return InputSpec.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{path} is no InputSpec as JSON", remedy="give the version's"
        ) from error


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
