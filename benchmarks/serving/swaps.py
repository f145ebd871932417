"""Versions swapped under load: failed requests, latency while swapping, memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import load
import servers

CONNECTIONS = 64
STEADY_S = 8.0
SLICE_S = 2.0
_SWAP_LIMIT_S = 60


def measure(
    site: Path, model: Path, count: int, ports: Iterator[int], folder: Path
) -> dict[str, Any]:
    """``count`` promotions, each as soon as the one before is live, with 64 connections asking."""
    site.mkdir()
    for _ in range(2):
        _trueup(site, "import", "bench", "--saved-model", str(model))
    port = next(ports)
    with servers.running(servers.trueup(site, capture=True, port=port), port, folder) as running:
        load.run(running.url, 1, CONNECTIONS, 2.0, folder)
        steady = load.run(running.url, 1, CONNECTIONS, STEADY_S, folder)
        slices: list[load.Load] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                slices.append(load.run(running.url, 1, CONNECTIONS, SLICE_S, folder))

        thread = threading.Thread(target=ask)
        thread.start()
        memory, seconds = [], []
        try:
            for number in range(count):
                start = time.perf_counter()
                _swap(site, port, 2 - number % 2)
                seconds.append(time.perf_counter() - start)
                memory.append(running.rss_mb())
        finally:
            stop.set()
            thread.join()
    return {
        "count": count,
        "steady_p99_ms": steady.p99_ms,
        "steady_per_second": round(steady.per_second, 1),
        "swapping_p99_ms": statistics.median(each.p99_ms for each in slices),
        "worst_slice_p99_ms": max(each.p99_ms for each in slices),
        "swapping_per_second": round(
            sum(each.requests for each in slices) / sum(each.seconds for each in slices), 1
        ),
        "requests": sum(each.requests for each in slices),
        "failed": sum(each.failed for each in slices) + steady.failed,
        "median_swap_s": round(statistics.median(seconds), 2),
        "rss_mb": [round(each) for each in memory],
    }


def _swap(site: Path, port: int, version: int) -> None:
    """Promote, and wait until the server has closed the other version."""
    _trueup(site, "promote", "bench", str(version))
    deadline = time.monotonic() + _SWAP_LIMIT_S
    while time.monotonic() < deadline:
        url = f"http://127.0.0.1:{port}/v1/models/bench"
        with urllib.request.urlopen(url, timeout=30) as answer:
            states = json.load(answer)["model_version_status"]
        available = [each["version"] for each in states if each["state"] == "AVAILABLE"]
        loading = [each for each in states if each["state"] in ("LOADING", "UNLOADING")]
        if available == [str(version)] and not loading:
            return
        time.sleep(0.1)
    raise RuntimeError(f"version {version} was not live within {_SWAP_LIMIT_S} s")


def _trueup(site: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, *servers.TRUEUP, *arguments], cwd=site, check=True, capture_output=True
    )
