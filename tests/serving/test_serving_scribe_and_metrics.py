"""Frames before answers; and the numbers of all workers as Prometheus reads them."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from trueup.errors import CaptureFullError
from trueup.serving.attempt import Outcome
from trueup.serving.metrics import LATENCY_BOUNDS_S, MetricsFolder, ModelCounts, exposition
from trueup.serving.scribe import Scribe, Written

LONG_S = 20.0


class Capture:
    """Takes payloads, has no room, or drops them."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.mode = "takes"

    def append(self, payloads: Sequence[bytes], *, rows: int = 0) -> tuple[str, int] | None:
        if self.mode == "full" or b"too large" in payloads:
            raise CaptureFullError("the spool is full")
        if self.mode == "drops":
            return None
        self.payloads += payloads
        return "segment", len(self.payloads) - len(payloads)


def answered(mode: str, *written: Written) -> tuple[list[Outcome], Capture]:
    capture = Capture()
    capture.mode = mode
    got: queue.Queue[list[Outcome]] = queue.Queue()
    scribe = Scribe(capture, got.put)
    assert all(scribe.submit(each) for each in written)
    assert scribe.close(LONG_S)
    outcomes: list[Outcome] = []
    while not got.empty():
        outcomes += got.get()
    assert not scribe.submit(written[0])  # it is closed
    return outcomes, capture


def outcome(status: int = 400) -> Outcome:
    request: Any = object()
    return Outcome(request, status, b"{}")


def test_what_is_written_is_answered_as_it_was_to_be() -> None:
    first, second = outcome(), outcome(200)
    got, capture = answered("takes", Written(first, [b"a"]), Written(second, [b"b", b"c"]))
    assert got == [first, second]
    assert capture.payloads == [b"a", b"b", b"c"]


def test_without_room_the_answer_is_503_and_says_why() -> None:
    got, _ = answered("full", Written(outcome(), [b"a"]))
    assert [each.status for each in got] == [503]
    assert b"the capture has no room" in got[0].body


def test_one_that_has_no_room_does_not_refuse_the_others() -> None:
    large, good = outcome(), outcome()
    got, _ = answered("takes", Written(large, [b"too large"]), Written(good, [b"a"]))
    statuses = {id(each.request): each.status for each in got}
    assert statuses == {id(large.request): 503, id(good.request): 400}


def test_a_full_disk_is_waited_for_once_and_not_by_each_request() -> None:
    """Under ``when_full = "block"`` each try takes 30 s."""
    tries: list[int] = []

    class Full(Capture):
        def append(self, payloads: Sequence[bytes], *, rows: int = 0) -> None:
            tries.append(len(payloads))
            raise CaptureFullError("the spool is full")

    got: queue.Queue[list[Outcome]] = queue.Queue()
    capture = Full()
    scribe = Scribe(capture, got.put)
    with scribe._wake:  # so that all of them are one batch
        waiting = [Written(outcome(), [b"a" * size]) for size in range(1, 50)]
        scribe._waiting.extend(waiting)
        scribe._wake.notify()
    assert scribe.close(LONG_S)
    outcomes = got.get(timeout=LONG_S)
    assert {id(each.request) for each in outcomes} == {id(w.outcome.request) for w in waiting}
    assert {each.status for each in outcomes} == {503}
    assert tries == [49, 1]


def test_where_frames_are_dropped_another_answer_may_be_given() -> None:
    said = outcome(200)
    got, _ = answered("drops", Written(outcome(), [b"a"], dropped=said), Written(outcome(), [b"b"]))
    assert [each.status for each in got] == [200, 400]


def values(requests: int) -> dict[str, Any]:
    counts = ModelCounts()
    for _ in range(requests):
        counts.answered(2, [0.003])
    counts.answered(1, [99.0])
    counts.refused(400)
    counts.uncaptured(3)
    return {
        "process": {"connections": 5, "store_reachable": 1},
        "capture": {"frames_accepted": 7, "full": False},
        "replies": {"200": requests},
        "versions": [{"model": "m", "version": 1, "queue_rows": 4, **counts.values()}],
    }


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_scrape_of_one_worker_has_the_numbers_of_all(tmp_path: Path) -> None:
    MetricsFolder(tmp_path / "m", 1).write(values(1))
    (tmp_path / "m" / "worker-2.json").write_text("{torn")
    own = MetricsFolder(tmp_path / "m", 0)
    own.write(values(2))
    found = samples(exposition(own.all(values(3))))  # fresher than the file

    def of(worker: str, **more: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted({"worker": worker, "model": "m", "version": "1", **more}.items()))

    assert found["trueup_predict_requests_total", of("0")] == 4
    assert found["trueup_predict_requests_total", of("1")] == 2
    assert found["trueup_predict_rows_total", of("0")] == 7
    assert found["trueup_refused_requests_total", of("0", status="400")] == 1
    assert found["trueup_uncaptured_requests_total", of("0")] == 3
    assert found["trueup_queue_rows", of("0")] == 4
    assert found["trueup_predict_latency_seconds_count", of("0")] == 4
    assert found["trueup_predict_latency_seconds_bucket", of("0", le="0.005")] == 3
    assert (
        found["trueup_predict_latency_seconds_bucket", of("0", le=str(LATENCY_BOUNDS_S[-1]))] == 3
    )
    assert found["trueup_connections", (("worker", "1"),)] == 5
    assert found["trueup_capture_frames_total", (("worker", "1"),)] == 7
    assert found["trueup_http_replies_total", (("status", "200"), ("worker", "0"))] == 3
