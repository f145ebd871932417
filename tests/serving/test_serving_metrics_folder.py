"""Numbers of servers that share a spool do not mix, and those of the dead are gone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import LONG_S, Site, until
from tests.serving.in_process import serving
from trueup.serving.metrics import MetricsFolder
from trueup.serving.metrics_folder import ServerFolder
from trueup.serving.supervisor import Supervisor

HOLD = """
import sys
from collections import Counter
from pathlib import Path
from trueup.serving.metrics import MetricsFolder
from trueup.serving.metrics_folder import ServerFolder
server = ServerFolder(Path(sys.argv[1]))
MetricsFolder(server.folder, 0).write({"by": "the other"})
print(server.name, flush=True)
sys.stdin.read()
"""


def test_servers_of_one_spool_see_their_own_workers_only(tmp_path: Path) -> None:
    first, second = ServerFolder(tmp_path), ServerFolder(tmp_path)
    for server, number in ((first, 1), (second, 2)):
        for worker in (0, 1):
            MetricsFolder(server.folder, worker).write({"number": number})
    assert MetricsFolder(first.folder, 0).all({"own": 1}) == {0: {"own": 1}, 1: {"number": 1}}
    assert MetricsFolder(second.folder, 1).all({"own": 2}) == {0: {"number": 2}, 1: {"own": 2}}
    second.close()
    assert MetricsFolder(first.folder, 0).all({})[1] == {"number": 1}
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_folders_of_dead_servers_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    others = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    names = [other.stdout.readline().strip() for other in others if other.stdout]
    others[0].kill()
    others[0].wait(LONG_S)
    (tmp_path / "worker-3.json").write_text("{}")  # of an earlier release
    (tmp_path / "stray").mkdir()
    own = ServerFolder(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[1], f"{names[1]}.lock", own.name, f"{own.name}.lock"}
    own.close()
    others[1].communicate(timeout=LONG_S)
    ServerFolder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_a_worker_go_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ServerFolder(tmp_path)
    MetricsFolder(folder.folder, 0).write({"connections": 9})
    MetricsFolder(folder.folder, 1).write({"connections": 1})
    real = subprocess.Popen
    ended: list[int] = []

    def short(*arguments: Any, **options: Any) -> Any:
        if ended:
            raise KeyboardInterrupt  # enough: the supervisor has no other end here
        return real([sys.executable, "-c", "pass"])

    def forget(worker: int) -> None:
        ended.append(worker)
        folder.forget(worker)

    monkeypatch.setattr(subprocess, "Popen", short)
    with socket.socket() as listening:
        supervisor = Supervisor(listening, 1, [], drain_s=1.0, ended=forget)
        with pytest.raises(KeyboardInterrupt):
            supervisor.run()
    assert ended == [0]
    assert MetricsFolder(folder.folder, 1).all({}).keys() == {1}
    folder.close()


def test_every_reply_is_counted_once(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        answers = [
            server.post(b'{"instances": [{"x": 1}]}'),
            server.post(b'{"instances": 1}'),
            server.post(b"{}", path="/nowhere"),
            server.post(b"{}", path="/v1/models/m:classify"),
            server.post(b"{}", path="/trueup/v1/labels"),
            server.post(b"x", **{"Content-Encoding": "gzip"}),
            server.get("/livez", **{"Content-Length": "1", "Transfer-Encoding": "chunked"}),
        ]
        for path in ("/livez", "/readyz", "/metrics", "/v1/models/m", "/v1/models/n"):
            answers.append(server.get(path))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses.keys() == {200, 400, 404, 501}
        assert server.state.replies == statuses


@pytest.mark.heavy
def test_two_servers_on_one_spool(site: Site) -> None:
    first, second = site.serve("--workers", "2"), site.serve()
    until("both of its workers", lambda: requests_of(first).keys() == {0, 1})
    until("its worker", lambda: requests_of(second).keys() == {0})
    before = sum(requests_of(first).values())
    for _ in range(10):
        assert second.get("/livez").status_code == 200
    assert requests_of(second)[0] >= 10
    assert sum(requests_of(first).values()) <= before + 10  # its own scrapes
    assert requests_of(first).keys() == {0, 1}
    assert first.stop() == 0
    assert requests_of(second).keys() == {0}
    assert second.stop() == 0
    assert list((site.spool / ".metrics").iterdir()) == []


def requests_of(server: Any) -> dict[int, float]:
    """Requests by worker, as one scrape tells."""
    start = 'trueup_http_requests_total{worker="'
    lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith(start)]
    return {int(line[len(start)]): float(line.split()[-1]) for line in lines}
