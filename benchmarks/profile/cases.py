"""Which peers run on which frames, and on how many rows of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One script on one frame.

    :param peer: whose environment it runs in; ``script`` is ``peers/run_<script>.py``.
    :param rows: the first so many rows of the frame; all without it.
    :param workers: Trueup reads the file itself, in so many processes; without it, it is given
        the pandas frame as the peers are.
    :param repeats: how often it runs; the median counts.
    :param why: why it does not run at all, or not on all rows.
    """

    peer: str
    name: str
    rows: int | None = None
    workers: int | None = None
    repeats: int = 1
    why: str = ""
    runs: bool = True


@dataclass(frozen=True)
class Case:
    """One frame and who profiles it.

    :param rows, columns: of the synthetic frame; the flights have their own.
    """

    name: str
    rows: int
    columns: int
    entries: tuple[Entry, ...]
    synthetic: bool = True

    @property
    def file_name(self) -> str:
        return (
            f"synthetic-{self.rows}x{self.columns}.parquet" if self.synthetic else "flights.parquet"
        )


def _all(repeats: int) -> tuple[Entry, ...]:
    return (
        Entry("trueup", "Trueup, frame", repeats=repeats),
        Entry("trueup", "Trueup, file", workers=1, repeats=repeats),
        Entry("tfdv", "TFDV", repeats=repeats),
        Entry("whylogs", "whylogs"),
        Entry("evidently", "Evidently"),
    )


QUICK = (
    Case("1.01 M flights x 19", 1_010_328, 19, _all(3), synthetic=False),
    Case("1 M x 20", 1_000_000, 20, _all(3)),
)

FULL = (
    *QUICK,
    Case(
        "10 M x 20",
        10_000_000,
        20,
        (*_all(1), Entry("trueup", "Trueup, 2 processes", workers=2)),
    ),
    Case(
        "1 M x 500",
        1_000_000,
        500,
        (
            Entry("trueup", "Trueup, frame"),
            Entry("trueup", "Trueup, file", workers=1),
            Entry("trueup", "Trueup, 2 processes", workers=2),
            Entry("tfdv", "TFDV"),
            Entry("whylogs", "whylogs", rows=100_000, why="all rows would take ten times as long"),
            Entry("evidently", "Evidently", rows=20_000, why="all rows would take most of an hour"),
        ),
    ),
    Case(
        "10 M x 500",
        10_000_000,
        500,
        (
            Entry("trueup", "Trueup, 2 processes", workers=2),
            *(
                Entry(peer, name, runs=False, why="the frame does not fit into memory")
                for peer, name in (
                    ("tfdv", "TFDV"), ("whylogs", "whylogs"), ("evidently", "Evidently"),
                )
            ),
        ),
    ),
)  # fmt: skip
