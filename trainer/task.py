"""``python -m trueup.trainer.task --job FOLDER``: one task of a job. ``TF_CONFIG`` alone says who
it is in the cluster, so that any launcher that sets it can run it.

Exit codes are in :mod:`trueup.trainer.fit_errors`. Two variables are for launchers on one machine:
``TRUEUP_LIFELINE`` is an open pipe's number, whose other end is the launcher's: when that is gone,
so is the task. ``TRUEUP_HELD_PORT`` is a socket that holds the task's port until it listens itself.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import socket
import sys
import threading
from pathlib import Path

from trueup.errors import BadInputError
from trueup.records.training import Split
from trueup.trainer import fit_errors
from trueup.trainer.cluster import Member, member
from trueup.trainer.fit import Fit
from trueup.trainer.job_folder import DATA, Job, read_job
from trueup.trainer.progress import Reporter
from trueup.trainer.strategies import (
    check_cluster,
    is_server,
    serve,
    set_environment,
    set_threads,
    wait_for_chief,
)

_log = logging.getLogger(__name__)

LIFELINE = "TRUEUP_LIFELINE"
HELD_PORT = "TRUEUP_HELD_PORT"


def main(arguments: list[str] | None = None) -> int:
    """Run one task; returns its exit code."""
    end_with_launcher()
    parser = argparse.ArgumentParser(prog="trueup.trainer.task")
    parser.add_argument("--job", type=Path, required=True, help="the job's folder")
    folder = parser.parse_args(arguments).job.resolve()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        task = member(os.environ.get("TF_CONFIG"))
    except BadInputError as error:
        _log.error("%s", error)
        return fit_errors.BAD
    reporter = Reporter(folder, task.type, task.index)
    reporter.start()
    run = _Run(folder, task, reporter)
    try:
        run.run()
    except Exception as error:  # noqa: BLE001 - each becomes a sentence and an exit code
        code, sentence = fit_errors.explain(error, folder, run.doing)
        _log.exception("%s", sentence)
        reporter.end("failed", sentence)
        return code
    reporter.end("succeeded")
    return fit_errors.DONE


class _Run:
    def __init__(self, folder: Path, task: Member, reporter: Reporter) -> None:
        self._folder, self._task, self._reporter = folder, task, reporter
        self._fit: Fit | None = None
        self._doing = "the start"

    @property
    def doing(self) -> str:
        return self._fit.doing if self._fit else self._doing

    def run(self) -> None:
        task, folder = self._task, self._folder
        job = read_job(folder)
        settings = job.spec.settings
        check_cluster(settings, task)
        threads = task.threads(settings.threads)
        set_environment(threads)
        sys.path[:0] = job.spec.python_path
        self._reporter.say(epochs=settings.epochs, message="importing TensorFlow")
        set_threads(threads)
        _log.info("%s %d of %s: %d threads", task.type.value, task.index, job.spec.id, threads)
        self._reporter.say(message="joining the cluster")
        self._doing = "joining the cluster"
        _take_port(task)
        if is_server(settings, task):
            serve(task, threads)
            self._reporter.say(state="running", message="doing the chief's steps")
            wait_for_chief(folder, task)
            return
        self._fit = Fit(job, task, self._reporter, threads)
        try:
            self._fit.train()
        except Exception as error:
            self._name_damage(job, error)
            raise
        if task.is_chief:
            self._fit.export()
        else:
            # A task that left would be a failure to the cluster while the chief exports.
            self._reporter.say(message="waiting for the chief's export")
            wait_for_chief(folder, task)

    def _name_damage(self, job: Job, error: Exception) -> None:
        """TensorFlow says that a record is damaged, and not of which file."""
        if type(error).__name__ == "DataLossError" or "corrupted record" in str(error):
            for split in (Split.TRAIN, Split.TUNE):
                fit_errors.check_shards(self._folder / DATA, job.split(split).shards, contents=True)


def _take_port(task: Member) -> None:
    """Let go of the socket that held the port, and see whether it is still free.

    :raises PortInUseError: it is not.
    """
    held = os.environ.pop(HELD_PORT, None)
    if held is not None:
        os.close(int(held))
    if task.address is None:
        return
    port = int(task.address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise fit_errors.PortInUseError(
                f"port {port} of {task.type.value} {task.index} is taken by another process",
                remedy="free it, or start the job with other ports",
            ) from error


def end_with_launcher() -> None:
    """End this process, however busy, when the other end of the lifeline is closed."""
    lifeline = os.environ.pop(LIFELINE, None)
    if lifeline is None:
        return

    def wait() -> None:
        os.read(int(lifeline), 1)
        os._exit(fit_errors.AGAIN)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's servers and collectives have threads that would never end.
    os._exit(code)
