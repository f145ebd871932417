"""What happens between steps: backups, the position in the rows, early stopping, progress.

``tf_keras``'s ``EarlyStopping`` forgets what it saw when a task starts anew, so the losses of the
tuning rows are a file here, and the decision is a pure function of them.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from trueup.errors import BadInputError
from trueup.frames.whole import write_whole
from trueup.trainer.fit_history import History, read_history
from trueup.trainer.progress import EVERY_S, Reporter
from trueup.trainer.steps import Steps

_log = logging.getLogger(__name__)


def check_loss(loss: float, epoch: int) -> None:
    """:raises BadInputError: training has run away."""
    if not math.isfinite(loss):
        raise BadInputError(
            f"the loss became {'NaN' if math.isnan(loss) else 'infinite'} in virtual epoch {epoch}",
            remedy="lower training.learning_rate, or look for extreme values in label and features",
        )


def make_callbacks(
    folder: Path,
    steps: Steps,
    reporter: Reporter,
    *,
    chief: bool,
    batch_logs: bool,
    patience: int,
) -> list[Any]:
    """Callbacks of ``fit``, in the order in which they must be called.

    :param batch_logs: whether each call's loss is there at once (not with a coordinator).
    """
    from tf_keras.callbacks import BackupAndRestore

    backup = BackupAndRestore(str(folder / "backup"), save_freq="epoch", delete_checkpoint=False)
    tuning = [_tuning(folder, chief, patience)] if patience else []
    return [
        _progress(steps, reporter, batch_logs), *tuning, backup, _position(folder, steps, chief)
    ]  # fmt: skip


def _progress(steps: Steps, reporter: Reporter, batch_logs: bool) -> Any:
    from tf_keras.callbacks import Callback

    class Progress(Callback):  # type: ignore[misc]
        """Says how far it is; ends the job when the loss is no number."""

        def __init__(self) -> None:
            super().__init__()
            self._supports_tf_logs = True  # batches' losses are looked at once a second only
            self._epoch = 0
            self._said = 0.0
            self._meter: threading.Thread | None = None
            self._done = threading.Event()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._epoch = epoch
            reporter.say(state="running", epoch=epoch // steps.per_pass + 1, message="training")
            reporter.rows(epoch * steps.rows_of_epoch)
            if not batch_logs and self._meter is None:
                # A backup holds this counter too, so that it may begin anywhere.
                steps_before = int(self.model._train_counter.numpy())
                self._rows_before = epoch * steps.rows_of_epoch - steps_before * steps.batch
                self._meter = threading.Thread(target=self._watch, daemon=True)
                self._meter.start()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if not batch_logs or monotonic() - self._said < EVERY_S:
                return
            self._said = monotonic()
            reporter.rows(self._epoch * steps.rows_of_epoch + (batch + 1) * steps.batch)
            loss = float(logs["loss"]) if logs else math.nan
            check_loss(loss, self._epoch)
            reporter.say(loss=loss)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            loss = float(logs["loss"])
            check_loss(loss, epoch)
            reporter.say(loss=loss)
            reporter.rows((epoch + 1) * steps.rows_of_epoch)
            if "val_loss" in logs:
                reporter.say(tune_loss=float(logs["val_loss"]))

        def on_train_end(self, logs: Any = None) -> None:
            self._done.set()

        def _watch(self) -> None:
            """Steps are handed out long before they are done; the counter knows what is done."""
            counter = self.model._train_counter
            while not self._done.wait(EVERY_S):
                try:
                    done = int(counter.numpy())
                except Exception as error:  # noqa: BLE001 - of a server that is gone; fit sees it
                    _log.debug("the step counter cannot be read: %s", error)
                    continue
                reporter.rows(self._rows_before + done * steps.batch)

    return Progress()


def _tuning(folder: Path, chief: bool, patience: int) -> Any:
    from tf_keras.callbacks import Callback

    class Tuning(Callback):  # type: ignore[misc]
        """Remembers the losses of the tuning rows, keeps the best weights, ends in time."""

        def on_train_begin(self, logs: Any = None) -> None:
            self._history: History | None = None

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if self._history is None:  # those of epochs after the backup are made anew
                self._history = read_history(folder).before(epoch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if self._history is None or "val_loss" not in logs:
                return
            self._history = self._history.after(epoch, float(logs["val_loss"]))
            if self._history.best_epoch == epoch:
                save_weights(
                    self.model,
                    folder / "best",
                    f"weights-{epoch}",
                    loss=float(logs["loss"]),
                    chief=chief,
                )
            if chief:
                self._history.write(folder)
            if self._history.ends(patience):
                self.model.stop_training = True

    return Tuning()


def _position(folder: Path, steps: Steps, chief: bool) -> Any:
    from tf_keras.callbacks import Callback

    class Position(Callback):  # type: ignore[misc]
        """Where in the rows the backup is; written after it, never before."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if chief:
                write_position(folder, (epoch + 1) * steps.rows_of_epoch)

    return Position()


def save_weights(model: Any, folder: Path, name: str, *, loss: float, chief: bool) -> None:
    """Write the weights as a checkpoint; every task of an all-reduce must call it.

    :param loss: of the training rows, kept beside them.

    Variables that tasks average when they are read (moving means) need all of them for that; the
    files of all but the chief are thrown away.
    """
    target = folder if chief else folder.with_name(f".{folder.name}-{id(model):x}")
    target.mkdir(parents=True, exist_ok=True)
    model.save_weights(str(target / name), save_format="tf")
    if not chief:
        shutil.rmtree(target, ignore_errors=True)
        return
    write_whole(target / "latest.json", json.dumps({"name": name, "loss": loss}).encode())
    for path in target.glob("weights-*"):
        if not path.name.startswith(f"{name}."):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Weights:
    """A checkpoint, and the loss of the training rows with it."""

    path: Path
    loss: float


def saved_weights(folder: Path) -> Weights | None:
    """What :func:`save_weights` finished last."""
    try:
        found = json.loads((folder / "latest.json").read_bytes())
    except FileNotFoundError:
        return None
    return Weights(folder / str(found["name"]), float(found["loss"]))


def position_path(folder: Path) -> Path:
    return folder / "position"


def write_position(folder: Path, rows: int) -> None:
    write_whole(position_path(folder), str(rows).encode())


def begin_position(folder: Path) -> int:
    """The position that training begins at; tasks may ask for it at once."""
    if not position_path(folder).exists():  # nobody moves it before all tasks have begun
        write_position(folder, 0)
    return int(position_path(folder).read_text())
