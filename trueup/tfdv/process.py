"""A TFDV child process as seen from outside: started once, asked as often as needed."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import TYPE_CHECKING, Any

from trueup.errors import ChildTaskError, DataError, UnsupportedError
from trueup.tfdv.anomalies import Validation
from trueup.tfdv.protos import INSTALL, protos

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tensorflow_metadata.proto.v0.schema_pb2 import Schema
    from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

#: Importing TFDV takes 5-15 s of CPU, on a busy machine several times that.
DEFAULT_TIMEOUT_S = 180.0

CHILD = (sys.executable, "-m", "trueup.tfdv.child")

#: One thread, no GPU, no chatter.
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}

_LINES_KEPT = 3


class TfdvProcess:
    """Runs TFDV's functions in one child process; use it as a context manager.

    The child imports TFDV at the first request and keeps it. A request that outlives
    ``timeout_s`` or a child that crashes ends the child; the next request starts another one.

    :param timeout_s: wall seconds for one request, the import included.
    :param command: what to run; the tests add tasks of their own.

    :raises UnsupportedError: from any request, when TFDV is not installed or cannot be imported.
    :raises DataError: when TFDV refused what it was given.
    :raises ChildTaskError: when it crashed or ran out of time.
    """

    def __init__(
        self, *, timeout_s: float = DEFAULT_TIMEOUT_S, command: Sequence[str] = CHILD
    ) -> None:
        self._timeout_s = timeout_s
        self._command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TfdvProcess:
        self._errors = TemporaryFile()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        self._errors.close()

    def infer_schema(
        self,
        statistics: DatasetFeatureStatisticsList,
        *,
        infer_feature_shape: bool = True,
        max_string_domain_size: int = 100,
    ) -> Schema:
        """TFDV's schema for ``statistics``; strings with more values get no domain."""
        options = {
            "infer_feature_shape": infer_feature_shape,
            "max_string_domain_size": max_string_domain_size,
        }
        output = self.run("infer_schema", {"statistics": statistics}, options)
        schema = protos().schema.Schema()
        schema.ParseFromString(output)
        return schema

    def validate(
        self,
        statistics: DatasetFeatureStatisticsList,
        schema: Schema,
        *,
        previous: DatasetFeatureStatisticsList | None = None,
        serving: DatasetFeatureStatisticsList | None = None,
        environment: str | None = None,
    ) -> Validation:
        """Anomalies of ``statistics`` under ``schema``; its drift comparators look at
        ``previous``, its skew comparators at ``serving``."""
        messages = {"statistics": statistics, "schema": schema}
        messages |= {"previous": previous} if previous is not None else {}
        messages |= {"serving": serving} if serving is not None else {}
        output = self.run("validate", messages, {"environment": environment})
        anomalies = protos().anomalies.Anomalies()
        anomalies.ParseFromString(output)
        return Validation.of(anomalies)

    def statistics_html(
        self,
        statistics: DatasetFeatureStatisticsList,
        other: DatasetFeatureStatisticsList | None = None,
    ) -> str:
        """The page of ``tfdv.visualize_statistics``, which loads Facets from the network."""
        messages = {"statistics": statistics}
        messages |= {"other": other} if other is not None else {}
        return self.run("statistics_html", messages, {}).decode()

    def run(self, task: str, messages: Mapping[str, Message], options: Mapping[str, Any]) -> bytes:
        """What the child writes for ``task``, given ``messages`` by role in binary files."""
        with TemporaryDirectory(prefix="trueup-tfdv-") as folder:
            files = {role: str(Path(folder, role)) for role in (*messages, "output")}
            for role, message in messages.items():
                Path(files[role]).write_bytes(message.SerializeToString())
            self._ask(task, {"task": task, "files": files, "options": dict(options)})
            return Path(files["output"]).read_bytes()

    def _ask(self, task: str, request: Mapping[str, Any]) -> None:
        child = self._running()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            line = self._answer(child)
        except BrokenPipeError:
            line = b""
        except TimeoutError as error:
            self._end()
            raise ChildTaskError(
                f"TFDV did not finish {task} within {self._timeout_s:g} s",
                remedy="give it more time or run it on statistics of fewer features",
                retry=True,
            ) from error
        if not line.endswith(b"\n"):
            raise ChildTaskError(f"TFDV crashed in {task}{self._last_words()}")
        answer = json.loads(line)
        if answer["ok"]:
            return
        if answer["absent"]:
            self._end()
            raise UnsupportedError(f"TFDV cannot be imported ({answer['error']})", remedy=INSTALL)
        raise DataError(f"TFDV refused {task}: {answer['error']}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._errors.seek(0)  # the child writes on from here
            self._errors.truncate()
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **QUIET},
            )
        return self._child

    def _answer(self, child: subprocess.Popen[bytes]) -> bytes:
        """One line of the child's answers, or what there is when it ends."""
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            if not selector.select(self._timeout_s):
                raise TimeoutError
        return child.stdout.readline()

    def _last_words(self) -> str:
        """The exit status and the last lines of standard error of a child that ended."""
        assert self._child is not None
        status = self._child.wait()
        self._errors.seek(0)
        lines = deque((line for line in self._errors if line.strip()), maxlen=_LINES_KEPT)
        self._end()
        said = " | ".join(line.decode(errors="replace").strip() for line in lines)
        ending = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f" ({ending}{': ' + said if said else ''})"

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
