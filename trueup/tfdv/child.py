"""The child process that imports TFDV: ``python -m trueup.tfdv.child``.

It reads one request per line of standard input, a JSON object ``{"task": …, "files": {role:
path}, "options": {…}}``, and answers each with one line of standard output: ``{"ok": true}``, or
``{"ok": false, "error": …, "absent": …}`` where ``absent`` says that TFDV cannot be imported.
Protos cross in files. It ends when its standard input does. TFDV and TensorFlow write what they
like to standard error, never to the answers: descriptor 1 is moved away before they are imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Files = Mapping[str, str]
Options = Mapping[str, Any]
Task = Callable[[ModuleType, Files, Options], None]


def infer_schema(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``statistics`` → ``output``, a schema; options: infer_feature_shape,
    max_string_domain_size."""
    schema = tfdv.infer_schema(tfdv.load_stats_binary(files["statistics"]), **options)
    Path(files["output"]).write_bytes(schema.SerializeToString())


def validate(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``statistics`` and ``schema`` (with ``previous``, ``serving``) → ``output``, anomalies;
    options: environment."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema.FromString(Path(files["schema"]).read_bytes())
    controls = {
        f"{role}_statistics": tfdv.load_stats_binary(files[role])
        for role in ("previous", "serving")
        if role in files
    }
    anomalies = tfdv.validate_statistics(
        tfdv.load_stats_binary(files["statistics"]), schema, **controls, **options
    )
    Path(files["output"]).write_bytes(anomalies.SerializeToString())


def statistics_html(tfdv: ModuleType, files: Files, options: Options) -> None:
    """``statistics`` (with ``other`` beside it) → ``output``, the Facets page as HTML."""
    from tensorflow_data_validation.utils import display_util

    other = tfdv.load_stats_binary(files["other"]) if "other" in files else None
    page = display_util.get_statistics_html(
        tfdv.load_stats_binary(files["statistics"]), other, **options
    )
    Path(files["output"]).write_text(page)


TASKS: dict[str, Task] = {
    "infer_schema": infer_schema,
    "validate": validate,
    "statistics_html": statistics_html,
}


def serve(tasks: Mapping[str, Task]) -> None:
    """Answers the requests of standard input with ``tasks`` until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    tfdv: ModuleType | None = None
    for line in sys.stdin:
        try:
            if tfdv is None:
                tfdv = import_module("tensorflow_data_validation")
            request = json.loads(line)
            tasks[request["task"]](tfdv, request["files"], request["options"])
            answer: dict[str, Any] = {"ok": True}
        # Whatever a task raises is the answer; the parent gives it a name and a remedy.
        except Exception as error:  # noqa: BLE001
            answer = {
                "ok": False,
                "error": f"{type(error).__name__}: {error}",
                "absent": tfdv is None,
            }
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve(TASKS)
