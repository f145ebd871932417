"""Losses of the tuning rows, and when they say that training should end."""

from __future__ import annotations

from pathlib import Path

from trueup.frames.whole import write_whole
from trueup.records.input_spec import Record

_NAME = "tuning.json"


class History(Record):
    """Losses after passes over the rows; ``tuning.json`` in the job's folder.

    :param losses: ``(virtual epoch, loss)`` in order.
    """

    losses: tuple[tuple[int, float], ...] = ()

    def after(self, epoch: int, loss: float) -> History:
        return History(losses=(*self.losses, (epoch, loss)))

    def before(self, epoch: int) -> History:
        """Without what came from ``epoch`` on."""
        return History(losses=tuple(pair for pair in self.losses if pair[0] < epoch))

    @property
    def best_epoch(self) -> int | None:
        """Of the lowest loss; the first of equals."""
        return min(self.losses, key=lambda pair: pair[1])[0] if self.losses else None

    def ends(self, patience: int) -> bool:
        """Whether the last ``patience`` losses brought no progress; never for 0.

        >>> falling = History().after(0, 3.0).after(1, 2.0)
        >>> falling.ends(1), falling.after(2, 2.5).ends(1), falling.after(2, 2.5).ends(2)
        (False, True, False)
        """
        if not patience or not self.losses:
            return False
        epochs = [epoch for epoch, _ in self.losses]
        return len(epochs) - 1 - epochs.index(self.best_epoch) >= patience  # type: ignore[arg-type]

    def write(self, folder: Path) -> None:
        write_whole(folder / _NAME, self.model_dump_json().encode())


def read_history(folder: Path) -> History:
    try:
        return History.model_validate_json((folder / _NAME).read_bytes())
    except FileNotFoundError:
        return History()
