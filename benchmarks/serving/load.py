"""Load by ``wrk``: one thread, requests of one body over and over from many connections."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from model import NUMBERS, STRINGS, WORDS

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{path}", "rb")
wrk.body = file:read("*a")
file:close()
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw.

    :param failed: answers other than 2xx, and errors of sockets.
    :param generator_cpu_s: of wrk itself.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int
    generator_cpu_s: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def require_wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is not installed; bring it with: apt-get install wrk")
    return found


def body(rows: int) -> bytes:
    """A predict request of ``rows`` seeded random rows."""
    chance = random.Random(rows)
    return json.dumps(
        {
            "instances": [
                {
                    **{name: round(chance.gauss(1.0, 2.0), 4) for name in NUMBERS},
                    **{name: f"v{chance.randrange(WORDS)}" for name in STRINGS},
                }
                for _ in range(rows)
            ]
        }
    ).encode()


def run(url: str, rows: int, connections: int, seconds: float, folder: Path) -> Load:
    """One run of wrk against ``url``."""
    data = folder / f"body-{rows}.json"
    data.write_bytes(body(rows))
    script = folder / f"post-{rows}.lua"
    script.write_text(_SCRIPT.format(path=data))
    command = [
        require_wrk(), "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s",
        "--latency", "-s", str(script), url,
    ]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert child.stdout is not None
    output = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"wrk failed: {output}")
    return read(output, usage.ru_utime + usage.ru_stime)


def read(output: str, generator_cpu_s: float) -> Load:
    """What wrk printed.

    >>> text = '''  50%    2.50ms
    ...  99%    1.20s
    ...  100 requests in 2.00s, 1MB read
    ...  Socket errors: connect 0, read 2, write 0, timeout 1
    ...  Non-2xx or 3xx responses: 4'''
    >>> read(text, 1.0)
    Load(requests=100, seconds=2.0, p50_ms=2.5, p99_ms=1200.0, failed=7, generator_cpu_s=1.0)
    """
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", output)
    percentiles = {
        int(share): float(value) * _UNITS[unit]
        for share, value, unit in re.findall(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s|m)$", output, re.M)
    }
    if done is None or percentiles.keys() != {50, 99}:
        raise RuntimeError(f"wrk said something else:\n{output}")
    failed = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", output))
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output
    )
    if errors:
        failed += sum(int(each) for each in errors.groups())
    seconds = float(done[2]) * _UNITS[done[3]] / 1e3
    return Load(
        int(done[1]), seconds, percentiles[50], percentiles[99], failed, round(generator_cpu_s, 2)
    )
