"""Numbers of ``/metrics``: plain counters on the hot path, one file per worker, Prometheus' text.

Workers share a port, so that a scrape reaches any one of them. Each writes its numbers to a file
every second; who is asked reads the files of all, its own numbers fresh. Series carry the label
``worker``; a worker that ends takes its series with it, and one that is started anew begins at 0,
which Prometheus' ``rate`` understands.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trueup.frames.whole import write_whole

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds of the latency histogram, seconds.
LATENCY_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class ModelCounts:
    """Of one model version in one worker. ``answered`` is for its lane's thread alone."""

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.latency_sum_s = 0.0
        self.latency_counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._refused: dict[int, int] = {}
        self._uncaptured = 0
        self._lock = threading.Lock()

    def answered(self, rows: int, latencies_s: Sequence[float]) -> None:
        """A batch, with ``rows`` in all and the latency of each request."""
        self.requests += len(latencies_s)
        self.rows += rows
        self.latency_sum_s += sum(latencies_s)
        counts = self.latency_counts
        for latency_s in latencies_s:
            counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def refused(self, status: int) -> None:
        with self._lock:
            self._refused[status] = self._refused.get(status, 0) + 1

    def uncaptured(self, frames: int) -> None:
        """Answers turned into 503 because their frames could not be written."""
        with self._lock:
            self._uncaptured += frames

    def values(self) -> dict[str, Any]:
        with self._lock:
            refused = {str(status): count for status, count in sorted(self._refused.items())}
            uncaptured = self._uncaptured
        return {
            "requests": self.requests,
            "rows": self.rows,
            "latency_sum_s": self.latency_sum_s,
            "latency_counts": list(self.latency_counts),
            "refused": refused,
            "uncaptured": uncaptured,
        }


def file_of(worker: int) -> str:
    return f"worker-{worker}.json"


class MetricsFolder:
    """The numbers of all workers of one server, a file each.

    :param folder: of this server alone (:class:`trueup.serving.metrics_folder.ServerFolder`).
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        with suppress(OSError):  # the first write says what is wrong
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, values: Mapping[str, Any]) -> None:
        write_whole(self._folder / file_of(self._worker), orjson.dumps(values))

    def all(self, own: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
        """Values by worker; this worker's are ``own``."""
        found: dict[int, Mapping[str, Any]] = {}
        for path in sorted(self._folder.glob("worker-*.json")):
            try:
                found[int(path.stem.removeprefix("worker-"))] = orjson.loads(path.read_bytes())
            except (OSError, ValueError):  # just being replaced, or none of ours
                continue
        found[self._worker] = own
        return dict(sorted(found.items()))


def exposition(workers: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Prometheus' text format of the values of all workers."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Values:
        def collect(self) -> Iterator[Metric]:
            yield from _families(workers)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Values())  # type: ignore[arg-type]
    return bytes(generate_latest(registry))


#: Name, kind, help, key in a worker's ``process`` values.
_PROCESS = (
    ("trueup_connections", "gauge", "Open connections.", "connections"),
    ("trueup_pending_bytes", "gauge", "Request bodies being received.", "pending_bytes"),
    ("trueup_http_requests", "counter", "Requests, of any kind.", "http_requests"),
    ("trueup_store_reachable", "gauge", "1 where the store answers.", "store_reachable"),
    ("trueup_registry_age_seconds", "gauge", "Age of the registry's snapshot.", "registry_age_s"),
    ("trueup_resident_bytes", "gauge", "Resident memory.", "resident_bytes"),
)
_CAPTURE = (
    ("trueup_capture_frames", "counter", "Frames written.", "frames_accepted"),
    ("trueup_capture_durable_frames", "counter", "Frames that are on disk.", "frames_durable"),
    ("trueup_capture_rows", "counter", "Rows written.", "rows_accepted"),
    ("trueup_capture_bytes", "counter", "Bytes written.", "bytes_accepted"),
    ("trueup_capture_dropped_frames", "counter", "Answered, not captured.", "frames_dropped"),
    ("trueup_capture_rejected_frames", "counter", "Answered 503: no room.", "frames_rejected"),
    ("trueup_capture_lost_frames", "counter", "In segments somebody deleted.", "frames_lost"),
    ("trueup_capture_write_failures", "counter", "Writes that failed.", "write_failures"),
    ("trueup_capture_sealed_segments", "counter", "Segments sealed.", "segments_sealed"),
    ("trueup_capture_unsealed_segments", "gauge", "Segments not sealed.", "segments_unsealed"),
    ("trueup_capture_unsealed_age_seconds", "gauge", "Of the oldest one.", "oldest_unsealed_s"),
    ("trueup_capture_spool_bytes", "gauge", "Size of the spool.", "spool_bytes"),
    ("trueup_capture_free_bytes", "gauge", "Free on the spool's disk.", "free_bytes"),
    ("trueup_capture_full", "gauge", "1 while there is no room.", "full"),
)
_MODEL = (
    ("trueup_predict_requests", "counter", "Answered predict requests.", "requests"),
    ("trueup_predict_rows", "counter", "Rows predicted.", "rows"),
    ("trueup_uncaptured_requests", "counter", "Answered 503: no room in the spool.", "uncaptured"),
    ("trueup_queue_rows", "gauge", "Rows that wait.", "queue_rows"),
    ("trueup_batches", "counter", "Calls of the model.", "batches"),
    ("trueup_cancelled_requests", "counter", "Clients that left before.", "cancelled"),
)


def _families(workers: Mapping[int, Mapping[str, Any]]) -> Iterator[Metric]:
    yield from _simple(_PROCESS, workers, "process")
    yield from _simple(_CAPTURE, workers, "capture")
    yield from _by_model(workers)
    yield from _histogram(workers)
    yield from _by_status(workers)


def _simple(
    rows: tuple[tuple[str, str, str, str], ...],
    workers: Mapping[int, Mapping[str, Any]],
    part: str,
) -> Iterator[Metric]:
    for name, kind, text, key in rows:
        family = _family(name, kind, text, ["worker"])
        for worker, values in workers.items():
            value = values.get(part, {}).get(key)
            if value is not None:
                family.add_metric([str(worker)], float(value))
        yield family


def _by_model(workers: Mapping[int, Mapping[str, Any]]) -> Iterator[Metric]:
    for name, kind, text, key in _MODEL:
        family = _family(name, kind, text, ["worker", "model", "version"])
        for worker, model, version, values in _versions(workers):
            family.add_metric([str(worker), model, version], float(values.get(key, 0)))
        yield family


def _histogram(workers: Mapping[int, Mapping[str, Any]]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "trueup_predict_latency_seconds",
        "From the complete request to the encoded answer.",
        labels=["worker", "model", "version"],
    )
    bounds = [*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf"]
    for worker, model, version, values in _versions(workers):
        total, buckets = 0, []
        for bound, count in zip(bounds, values["latency_counts"], strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([str(worker), model, version], buckets, values["latency_sum_s"])
    yield family


def _by_status(workers: Mapping[int, Mapping[str, Any]]) -> Iterator[Metric]:
    refused = _family(
        "trueup_refused_requests", "counter", "Requests that reached a model and were refused.",
        ["worker", "model", "version", "status"],
    )  # fmt: skip
    for worker, model, version, values in _versions(workers):
        for status, count in values["refused"].items():
            refused.add_metric([str(worker), model, version, status], count)
    yield refused
    http = _family("trueup_http_replies", "counter", "Replies by status.", ["worker", "status"])
    for worker, values in workers.items():
        for status, count in values.get("replies", {}).items():
            http.add_metric([str(worker), status], count)
    yield http


def _versions(
    workers: Mapping[int, Mapping[str, Any]],
) -> Iterator[tuple[int, str, str, Mapping[str, Any]]]:
    for worker, values in workers.items():
        for version in values.get("versions", ()):
            yield worker, version["model"], str(version["version"]), version


def _family(name: str, kind: str, text: str, labels: list[str]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    return family(name, text, labels=labels)
