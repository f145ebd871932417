"""Rows in, files out: every row once, in random order, whole files or none."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.trainer_data.conftest import DAY, START, Made, flights
from trueup.datasets.open import open_dataset
from trueup.errors import BadInputError, DataError, StoreError
from trueup.records.training import Split, Target
from trueup.trainer.data import shards
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.label_facts import refuse_one_value
from trueup.trainer.data.splits import QUARANTINED, Quarantine

ROWS = 30_000
Make = Callable[..., Made]
Write = Callable[..., Path]


def table_of(made: Made, *splits: Split) -> pa.Table:
    """The rows of TFRecord shards, in their order."""
    paths = [
        str(made.folder / shard.path)
        for split in splits
        for shard in made.result.splits[split].shards
    ]
    dataset = open_dataset(paths)
    return pa.Table.from_batches(
        [batch for part in dataset.partitions(8) for batch in part.batches()], dataset.schema
    )


def gate_of(made: Made) -> pa.Table:
    found = [pq.read_table(made.folder / s.path) for s in made.result.splits[Split.GATE].shards]
    return pa.concat_tables(found)


def numbers(table: pa.Table) -> list[int]:
    found: list[int] = table.column("number").to_pylist()
    return found


def days_of(table: pa.Table, source: pa.Table) -> np.ndarray:
    """When each row of ``table`` was, in days since the start."""
    at = source.column("at").cast(pa.int64()).to_numpy()[table.column("number").to_numpy()]
    days: np.ndarray = (at - microseconds(START)) / 86_400e6
    return days


@pytest.mark.parametrize("keys", [(), ("tail",)])
def test_every_row_is_written_once_with_its_values(
    make: Make, write_parquet: Write, keys: tuple[str, ...]
) -> None:
    source = flights(ROWS)
    made = make([write_parquet(source)], keys=keys, more=["number"])
    examples, gate = table_of(made, Split.TRAIN, Split.TUNE), gate_of(made)
    assert sorted(numbers(examples) + numbers(gate)) == list(range(ROWS))
    assert not made.result.dropped and not made.result.misfits
    for split, data in made.result.splits.items():
        assert data.rows == sum(shard.rows for shard in data.shards) > 0, split
    assert made.result.sources[0].rows == ROWS

    wanted = source.take(examples.column("number"))
    for name in ("distance", "temp"):
        kept = wanted.column(name).cast(pa.float32())
        assert examples.column(name).cast(pa.float32()).equals(kept), name
    for name in ("carrier", "late"):
        assert examples.column(name).equals(wanted.column(name)), name
    assert "at" not in examples.column_names
    assert ("tail" in examples.column_names) == (not keys)  # an entity's name is no feature
    assert gate.select(source.column_names).equals(source.take(gate.column("number")))


def test_the_gate_has_the_newest_rows_and_tuning_the_newest_before(
    make: Make, write_parquet: Write
) -> None:
    source = flights(ROWS)
    made = make([write_parquet(source)], more=["number"])
    train, tune = (days_of(table_of(made, split), source) for split in (Split.TRAIN, Split.TUNE))
    gate = days_of(gate_of(made), source)
    last = 30 * (ROWS - 1) / ROWS
    assert train.max() < tune.min() and tune.max() < last - 7 < gate.max()
    assert abs(len(tune) / (len(train) + len(tune)) - 0.1) < 0.01
    held_out = (gate < last - 7).sum() / ((gate < last - 7).sum() + len(train) + len(tune))
    assert abs(held_out - 0.05) < 0.01
    splits = made.result.splits
    assert splits[Split.TRAIN].first_event_at == START
    assert splits[Split.GATE].last_event_at == made.result.sources[0].last_event_at


def test_neither_shards_nor_their_rows_are_in_order_of_time(
    make: Make, write_parquet: Write
) -> None:
    source = flights(ROWS)
    made = make([write_parquet(source)], more=["number"], shard_rows=5000)
    data = made.result.splits[Split.TRAIN]
    assert len(data.shards) == 4
    for shard in data.shards:
        assert abs(shard.rows - data.rows / 4) < 400
        dataset = open_dataset(made.folder / shard.path)
        rows = pa.Table.from_batches(
            [batch for part in dataset.partitions(8) for batch in part.batches()]
        )
        days = days_of(rows, source)
        # Of n rows in random order the correlation of time with place has a sd of n ** -0.5 = .015.
        assert abs(np.corrcoef(days, np.arange(len(days)))[0, 1]) < 0.06
        quarters = np.histogram(days, bins=4, range=(0, days.max()))[0] / len(days)
        assert (abs(quarters - 0.25) < 0.04).all()


@pytest.mark.parametrize("setting", ["MOST_OPEN", "SHARD_BYTES"])
def test_many_shards_and_large_rows(
    make: Make, write_parquet: Write, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """More shards than are open at once, and shards that are bounded by bytes."""
    monkeypatch.setattr(shards, setting, 3 if setting == "MOST_OPEN" else 100_000)
    source = flights(ROWS)
    made = make([write_parquet(source)], more=["number"], shard_rows=2000)
    found = numbers(table_of(made, Split.TRAIN, Split.TUNE)) + numbers(gate_of(made))
    assert sorted(found) == list(range(ROWS))
    train = made.result.splits[Split.TRAIN]
    if setting == "MOST_OPEN":
        assert len(train.shards) == 10
    else:
        assert max(shard.bytes for shard in train.shards) < 130_000


def test_files_are_as_the_lineage_says_and_the_same_each_time(
    make: Make, write_parquet: Write
) -> None:
    path = write_parquet(flights(ROWS))
    first, second = make([path]), make([path])
    assert first.result.splits == second.result.splits
    listed = [shard for data in first.result.splits.values() for shard in data.shards]
    assert sorted(p.name for p in first.folder.iterdir()) == sorted(s.path for s in listed)
    for shard in listed:
        content = (first.folder / shard.path).read_bytes()
        assert len(content) == shard.bytes
        assert hashlib.sha256(content).hexdigest() == shard.sha256


def test_rows_without_label_and_quarantined_windows_are_counted(
    make: Make, write_parquet: Write
) -> None:
    source = flights(ROWS)
    late = pa.array([None if n % 10 == 0 else n % 2 for n in range(ROWS)])
    source = source.set_column(source.column_names.index("late"), "late", late)
    broken = Quarantine("temp", START + 3 * DAY, START + 6 * DAY)
    made = make([write_parquet(source)], more=["number"], quarantined=[broken])
    days = np.arange(ROWS) * 30 / ROWS
    unlabelled = np.arange(ROWS) % 10 == 0
    inside = (days >= 3) & (days < 6) & ~unlabelled
    assert made.result.dropped == {
        "label is missing": int(unlabelled.sum()), QUARANTINED: int(inside.sum()),
    }  # fmt: skip
    assert made.found.dropped == made.result.dropped
    found = numbers(table_of(made, Split.TRAIN, Split.TUNE)) + numbers(gate_of(made))
    assert sorted(found) == np.flatnonzero(~unlabelled & ~inside).tolist()


def test_a_key_is_on_one_side_when_data_grow(make: Make, write_parquet: Write) -> None:
    old = flights(ROWS)
    before = make([write_parquet(old, "old.parquet")], keys=("tail",), more=["tail"])
    more = write_parquet(flights(ROWS, first=ROWS, days=60), "more.parquet")
    after = make([before.folder.parent / "old.parquet", more], keys=("tail",), more=["tail"])
    trained = set(table_of(before, Split.TRAIN, Split.TUNE).column("tail").to_pylist())
    assert trained == set(table_of(after, Split.TRAIN, Split.TUNE).column("tail").to_pylist())
    early = pc.less(
        gate_of(before).column("at"), pa.scalar(before.found.cut_at, pa.timestamp("us", "UTC"))
    )
    held_out = set(gate_of(before).filter(early).column("tail").to_pylist())
    assert held_out and not held_out & trained


def test_without_times_rows_are_split_by_hash(make: Make, write_parquet: Write) -> None:
    source = flights(ROWS)
    made = make([write_parquet(source)], time=None, gate_share=0.2, more=["number"])
    found = {split: data.rows / ROWS for split, data in made.result.splits.items()}
    assert abs(found[Split.GATE] - 0.2) < 0.02
    assert abs(found[Split.TUNE] - 0.08) < 0.02
    rows = numbers(table_of(made, Split.TRAIN, Split.TUNE)) + numbers(gate_of(made))
    assert sorted(rows) == list(range(ROWS))
    assert made.found.cut_at is None
    assert made.result.splits[Split.TRAIN].first_event_at is None


def test_values_that_do_not_fit_are_missing_and_counted(make: Make, write_parquet: Write) -> None:
    source = flights(ROWS)
    words = pa.array(["much" if n % 100 == 0 else str(n % 7) for n in range(ROWS)])
    source = source.set_column(source.column_names.index("distance"), "distance", words)
    made = make([write_parquet(source)], overrides={"distance": {"dtype": "int64"}})
    assert made.result.misfits == {"distance": ROWS // 100}
    assert table_of(made, Split.TRAIN).column("distance").null_count > 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As a disk that is full: writing beyond ``size`` bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("gate_share", [0.05, 0.95])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    make: Make, write_parquet: Write, tmp_path: Path, gate_share: float
) -> None:
    """The shards are what is too large, or the gate's rows."""
    path, target = write_parquet(flights(ROWS)), tmp_path / "data"
    with (
        largest_file(200_000),
        pytest.raises(StoreError, match=r"training data of flights cannot be written to .*data: "
                      r"File too large; free space on that disk") as told,
    ):  # fmt: skip
        make([path], folder=target, gate_share=gate_share)
    assert told.value.retry and "\n" not in str(told.value)
    assert not target.exists()
    assert make([path], folder=target, gate_share=gate_share).result.splits  # and then it goes on


def test_a_folder_with_files_is_left_alone(
    make: Make, write_parquet: Write, tmp_path: Path
) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="data is not empty"):
        make([write_parquet(flights(1000))], folder=target)
    assert (target / "mine.txt").read_text() == "mine"


def test_a_gate_period_longer_than_the_data_is_refused(make: Make, write_parquet: Write) -> None:
    with pytest.raises(
        DataError,
        match=r"from 2024-01-01 00:00 to 2024-01-05 .*the newest 7 days: none is left to train on; "
        r"shorten gate_period in \[models.flights.training.data\]",
    ):
        make([write_parquet(flights(1000, days=5))])


def test_empty_splits_are_refused(make: Make, write_parquet: Write) -> None:
    path = write_parquet(flights(2000))
    with pytest.raises(DataError, match="no row of flights is left to train on"):
        make([path], gate_share=1.0)
    with pytest.raises(DataError, match=r"no row of flights is kept for the gate.*gate_share"):
        make([path], time=None, gate_share=0.0)
    moment = pa.array([START] * 1000 + [START + 9 * DAY] * 1000, pa.timestamp("us", "UTC"))
    table = flights(2000).set_column(2, "at", moment)
    with pytest.raises(DataError, match="no row of flights is left for early stopping"):
        make([write_parquet(table, "moments.parquet")])
    made = make([write_parquet(table, "moments.parquet")], tune_share=0.0)
    assert made.result.splits[Split.TUNE].shards == ()


def test_no_usable_row_says_why(make: Make, write_parquet: Write) -> None:
    table = flights(1000)
    none = table.set_column(6, "late", pa.nulls(1000, pa.int64()))
    with pytest.raises(DataError, match=r"none of the 1,000 rows.*label is missing in 1,000"):
        make([write_parquet(none, "none.parquet")])
    later = table.set_column(
        2, "at", pa.array([START + 900 * DAY] * 1000, pa.timestamp("us", "UTC"))
    )
    with pytest.raises(DataError, match="event time is in the future in 1,000"):
        make([write_parquet(later, "later.parquet")])


def test_a_label_of_one_class_in_the_rows_to_train_on_is_refused(
    make: Make, write_parquet: Write
) -> None:
    late = pa.array([0] * 28_000 + [1] * 2000)
    path = write_parquet(flights(ROWS).set_column(6, "late", late))
    target = Target(label="late", task="binary", classes=("0", "1"))
    with pytest.raises(DataError, match=r"label 'late' is always '0' in all [\d,]+ of the rows"):
        make(
            [path],
            gate_share=0.0,
            checked=lambda facts: refuse_one_value(facts, target, "the rows"),
        )


def test_a_feature_without_values_in_fresh_data_is_refused(
    make: Make, write_parquet: Write
) -> None:
    old = write_parquet(flights(ROWS), "old.parquet")
    fresh = flights(5000, first=ROWS, days=40)
    fresh = fresh.set_column(4, "temp", pa.nulls(5000, pa.float64()))
    with pytest.raises(
        DataError,
        match=r"fresh.parquet has no values of 'temp', which other data of flights have; .*"
        r"\[models.flights.variables.temp\] role",
    ):
        make([old, write_parquet(fresh, "fresh.parquet")])


def test_a_file_that_breaks_on_the_way_leaves_nothing(
    make: Make, write_parquet: Write, tmp_path: Path
) -> None:
    path, target = write_parquet(flights(ROWS)), tmp_path / "data"
    content = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    column = metadata.row_group(1).column(3)
    first = column.dictionary_page_offset or column.data_page_offset
    content[first : first + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows.parquet cannot be read as Parquet"):
        make([path], folder=target)
    assert not target.exists()


def test_the_newest_share_is_of_rows_not_of_time(make: Make, write_parquet: Write) -> None:
    """Traffic grew: the newest tenth of the rows is much less than a tenth of the time."""
    table = flights(ROWS)
    seconds = np.sqrt(np.arange(ROWS) / ROWS) * 30 * 86_400
    at = pa.array(microseconds(START) + (seconds * 1e6).astype(np.int64)).cast(
        table.schema.field("at").type
    )
    made = make([write_parquet(table.set_column(2, "at", at))])
    splits = made.result.splits
    share = splits[Split.TUNE].rows / (splits[Split.TUNE].rows + splits[Split.TRAIN].rows)
    assert abs(share - 0.1) < 0.01


MEMORY = """
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from trueup.datasets.infer import infer_spec
from trueup.trainer.data.event_times import microseconds
from trueup.trainer.data.materialize import materialize
from trueup.trainer.data.sources import files_source, together
from trueup.trainer.data.splits import SplitRule
from trueup.trainer.data.survey import survey

whole, sources = together([files_source([sys.argv[1]])], "rows")
spec = infer_spec(whole, time="at", label="late")
rule = SplitRule("late", "at", (), 0.05, 0.1, microseconds(datetime.now(timezone.utc)))
found = survey(sources, spec, rule, model="m", gate_period=timedelta(days=7))
made = materialize(sources, spec, found, Path(sys.argv[2]), model="m", shard_rows=100_000)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


@pytest.mark.heavy
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    peaks = []
    for millions in (1, 4):
        path = tmp_path / f"{millions}.parquet"
        with pq.ParquetWriter(path, flights(1).schema) as writer:
            for part in range(10 * millions):
                rows = flights(100_000, first=part * 100_000, days=9)
                writer.write_table(rows)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), str(tmp_path / f"data-{millions}")],
            capture_output=True, text=True, timeout=200, check=True,
        )  # fmt: skip
        peaks.append(float(done.stdout))
    assert peaks[1] < 1.1 * peaks[0] + 10, peaks


def test_counts_of_reasons_add_up_to_the_rows(make: Make, write_parquet: Write) -> None:
    table = flights(ROWS)
    at = table.column("at").to_pylist()
    moments = [None if n % 50 == 0 else moment for n, moment in enumerate(at)]
    made = make(
        [write_parquet(table.set_column(2, "at", pa.array(moments, pa.timestamp("us", "UTC"))))],
        gate_period=timedelta(days=3),
    )
    total = Counter(made.result.dropped)
    assert total == {"event time is missing": ROWS // 50}
    assert sum(total.values()) + sum(d.rows for d in made.result.splits.values()) == ROWS
