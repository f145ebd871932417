"""The input pipeline: each row once in a pass, in another order each time, from any position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trueup.records.training import Split, TrainingData
from trueup.trainer.input import Rows, batches

pytestmark = pytest.mark.heavy

ROWS = 1000


@pytest.fixture
def stream(make_job: Callable) -> Callable[..., list[int]]:
    """Numbers of the rows that a task reads."""
    folder = make_job(rows=ROWS, tune_rows=0, shards=3).folder
    data = TrainingData.model_validate_json((folder / "data" / "data.json").read_bytes())
    shards = data.splits[Split.TRAIN].shards

    def read(count: int, *, part: int = 0, parts: int = 1, position: int = 0) -> list[int]:
        import tensorflow as tf

        path = folder / "position"
        path.write_text(str(position))
        rows = Rows(folder / "data", shards, parts=parts, seed=7, position=path).stream(part)
        spec = {"z": tf.io.FixedLenFeature([], tf.float32)}
        found: list[int] = []
        parsed = batches(
            rows, 50, lambda batch: tf.io.parse_example(batch, spec), whole=True, threads=1
        )
        for batch in parsed.take(-(-count // 50)):
            found += [int(value) for value in batch["z"].numpy()]
        return found[:count]

    return read


def test_each_row_once_in_a_pass_and_passes_differ(stream: Callable) -> None:
    found = stream(3 * ROWS)
    passes = [found[n * ROWS : (n + 1) * ROWS] for n in range(3)]
    for one in passes:
        assert sorted(one) == list(range(ROWS))
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != sorted(passes[0])
    assert stream(3 * ROWS) == found


@pytest.mark.parametrize("position", [1, 333, 999, 1000, 2500])
def test_goes_on_where_it_was(stream: Callable, position: int) -> None:
    assert stream(600, position=position) == stream(position + 600)[position:]


@pytest.mark.parametrize("parts", [2, 3])
def test_tasks_share_a_pass_and_move_on(stream: Callable, parts: int) -> None:
    size = -(-ROWS // parts)
    found = [stream(parts * size, part=part, parts=parts) for part in range(parts)]
    for number in range(parts):
        together = [row for one in found for row in one[number * size : (number + 1) * size]]
        assert set(together) == set(range(ROWS))
        assert len(together) - ROWS < parts
    for one in found:  # a task alone comes to all rows, in as many passes as there are tasks
        assert set(one) == set(range(ROWS))


def test_tasks_go_on_where_all_together_were(stream: Callable) -> None:
    whole = stream(ROWS, part=1, parts=2)
    assert stream(200, part=1, parts=2, position=600) == whole[300:500]


def test_rows_once_for_metrics(make_job: Callable, tmp_path: Path) -> None:
    import tensorflow as tf

    folder = make_job("other", rows=130, tune_rows=0, shards=2).folder / "data"
    data = TrainingData.model_validate_json((folder / "data.json").read_bytes())
    rows = Rows(folder, data.splits[Split.TRAIN].shards, parts=1, seed=0).once()

    def sizes(batch: Any) -> Any:
        return tf.shape(batch)[0]

    found = [int(n) for n in batches(rows, 50, sizes, whole=False, threads=1)]
    assert found == [50, 50, 30]
