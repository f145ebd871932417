"""What the capture costs: two servers side by side, one captures, loaded in turn.

A machine's speed changes within seconds by more than the capture costs. So both servers are up all
the time (one that nobody asks takes no processor), each pair of runs is short and in random order,
and what counts is the median of the pairs' ratios. One process of a server is some percent faster
than another of the same, for as long as it lives, so both are started anew several times.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import load
import servers


def measure(
    on: tuple[servers.Server, int],
    off: tuple[servers.Server, int],
    starts: int,
    pairs: int,
    seconds: int,
    folder: Path,
) -> dict[str, Any]:
    """Requests per second of each, by pairs; 64 connections, one row.

    :param starts: of the servers, with ``pairs`` each.
    """
    chance = random.Random(starts)
    found: list[dict[str, float]] = []
    for start in range(starts):
        with ExitStack() as stack:
            running = {
                name: stack.enter_context(servers.running(server, port, folder))
                for name, (server, port) in (("on", on), ("off", off))
            }
            for each in running.values():
                load.run(each.url, 1, 64, 2, folder)  # warm
            for _ in range(pairs):
                pair: dict[str, float] = {"start": start}
                for name in chance.sample(sorted(running), 2):
                    seen = load.run(running[name].url, 1, 64, seconds, folder)
                    pair[name] = round(seen.per_second, 1)
                found.append(pair)
    return {"pairs": found, "seconds": seconds, "starts": starts}
