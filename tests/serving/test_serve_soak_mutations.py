"""Ten thousand requests with something wrong with them, against a real server."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import HERE, LONG_S, QUIET, Site
from tests.serving.soak_clients import JSON, Answer, ask, connect, resident

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

REQUESTS = 10_000
MAX_BODY = 64 << 10
VARIABLES = ("weight", "order", "express", "city", "photo_bytes", "grid")
#: What docs/http-api.md has for a client's mistakes; of a server's only "not yet" (501).
DOCUMENTED = {200, 400, 404, 405, 408, 413, 415, 417, 431, 501}

Case = tuple[bytes, str, dict[str, str], str]
"""Body, path, headers, and the variable that is to be named ("" where none is to blame)."""

PATH = "/v1/models/kinds:predict"
LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, -0.0, 1e39, 1e308,
    float("nan"), float("inf"), "", "1", "true", "NaN", "ü\u0000\U0001f600", "\ud800", "x" * 5000,
    [], [[]], [None], [1, [2]], {}, {"b64": ""}, {"b64": "AA=="}, {"b64": "A"}, {"b64": "%%%"},
    {"b64": 7}, {"b64": None}, {"b64": "AA==", "more": 1}, {"x": 1}, [[1.0] * 3] * 2,
    [[1.0] * 2] * 3, [[[1.0] * 3] * 2], [[1.0] * 3, [1.0] * 2],
)  # fmt: skip


def good_row(chance: random.Random) -> dict[str, Any]:
    return {
        "weight": chance.uniform(-10, 10),
        "order": chance.randrange(10**6),
        "express": chance.random() < 0.5,
        "city": chance.choice(["Oslo", "Łódź", "東京", ""]),
        "photo_bytes": {"b64": base64.b64encode(chance.randbytes(8)).decode()},
        "grid": [[chance.random() for _ in range(3)] for _ in range(2)],
    }


def good(chance: random.Random) -> dict[str, Any]:
    rows = [good_row(chance) for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.3:
        return {"inputs": {name: [row[name] for row in rows] for name in VARIABLES}}
    return {"instances": rows}


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


def one_wrong_value(chance: random.Random) -> Case:
    """A value that certainly is none of its variable's."""
    name, wrong = chance.choice([
        ("weight", "heavy"), ("weight", [1.0]), ("weight", True), ("weight", {"a": 1}),
        ("order", 1.5), ("order", "7"), ("order", 2**64), ("order", False), ("order", None),
        ("express", 1), ("express", "true"), ("city", 5), ("city", ["Oslo"]), ("city", None),
        ("photo_bytes", {"b64": "A"}), ("photo_bytes", {"b64": "%%%"}), ("photo_bytes", 3),
        ("grid", 1.0), ("grid", [[1.0] * 2] * 2), ("grid", [["a"] * 3] * 2), ("grid", []),
        ("grid", [[1.0] * 3, [1.0] * 2]), ("grid", [[1.0, None, 1.0]] * 2),
    ])  # fmt: skip
    document = good(chance)
    if "instances" in document:
        chance.choice(document["instances"])[name] = wrong
    else:
        column = document["inputs"][name]
        column[chance.randrange(len(column))] = wrong
    return text(document), PATH, JSON, name


def one_missing(chance: random.Random) -> Case:
    document, name = good(chance), chance.choice(VARIABLES)
    if "instances" in document:
        for row in document["instances"]:
            del row[name]
    else:
        del document["inputs"][name]
    return text(document), PATH, JSON, name


def one_unknown(chance: random.Random) -> Case:
    """In a row; among columns it is passed over, as in TensorFlow Serving."""
    document = {"instances": [good_row(chance) for _ in range(3)]}
    chance.choice(document["instances"])["stowaway"] = chance.choice(LEAVES[:20])
    return text(document), PATH, JSON, "stowaway"


def some_leaf(chance: random.Random) -> Case:
    """Anything in the place of anything."""
    document: Any = good(chance)
    for _ in range(chance.randint(1, 2)):
        places = list(walk(document))
        holder, key = chance.choice(places)
        holder[key] = deepcopy(chance.choice(LEAVES))
    return text(document), PATH, JSON, ""


def walk(value: Any) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        yield value, key
        if isinstance(inner, dict | list):
            yield from walk(inner)


def broken_text(chance: random.Random) -> Case:
    """JSON with bytes cut out, doubled, replaced or put in."""
    body = bytearray(text(good(chance)))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body) + 1)
        what = chance.randrange(5)
        if what == 0:
            del body[at:]
        elif what == 1:
            del body[at : at + chance.randint(1, 20)]
        elif what == 2:
            body[at:at] = chance.randbytes(chance.randint(1, 4))
        elif what == 3:
            body[at:at] = body[at : at + chance.randint(1, 50)]
        else:
            body[at:at] = chance.choice([b",", b"}", b"]", b"[", b"{", b'"', b"\\", b"NaN", b"\0"])
    return bytes(body), PATH, JSON, ""


def deep(chance: random.Random) -> Case:
    depth = chance.choice([10, 63, 64, 65, 500, 5_000, 30_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    if len(opening) * depth > MAX_BODY // 2:
        depth = MAX_BODY // 2 // len(opening)
    inner = opening * depth + b"1" + closing * (depth if chance.random() < 0.5 else 0)
    around = chance.choice([b"%s", b'{"instances":[{"weight":%s}]}', b'{"inputs":%s}'])
    return around % inner, PATH, JSON, ""


def other_characters(chance: random.Random) -> Case:
    body = json.dumps(good(chance), ensure_ascii=False)
    encoding = chance.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-le", "cp500"])
    return body.encode(encoding, "replace"), PATH, JSON, ""


def packed(chance: random.Random) -> Case:
    body = text(good(chance))
    kind = chance.randrange(8)
    encoding = chance.choice(["gzip", "x-gzip", "deflate", "br", "GZIP", "identity", "gzip, gzip"])
    if kind == 0:
        data = gzip.compress(body)
    elif kind == 1:
        data = zlib.compress(body)
    elif kind == 2:
        data = gzip.compress(body)[: chance.randint(0, 40)]
    elif kind == 3:
        data = gzip.compress(b" " * (MAX_BODY * 4))
    elif kind == 4:
        data = gzip.compress(body) + chance.randbytes(9)
    elif kind == 5:
        damaged = bytearray(gzip.compress(body))
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        data = bytes(damaged)
    elif kind == 6:
        data = b"".join(gzip.compress(part) for part in (body[:9], b"", body[9:]))
    else:
        data = body
    return data, PATH, {**JSON, "Content-Encoding": encoding}, ""


def too_large(chance: random.Random) -> Case:
    return (
        text({"instances": [{"city": "x" * chance.randint(MAX_BODY, MAX_BODY * 2)}]}),
        PATH,
        JSON,
        "",
    )


def other_path(chance: random.Random) -> Case:
    path = chance.choice([
        "/v1/models/kinds/versions/9:predict",
        "/v1/models/kinds/versions/99999999999999999999:predict",
        "/v1/models/kinds/labels/canary:predict", "/v1/models/no:predict",
        "/v1/models/kinds:classify",
        "/v1/models/kinds:Predict", "/v1/models/%00:predict", "/v1/models/kinds%2Fx:predict",
        "/v1//models/kinds:predict", "/v2/models/kinds/infer", "/v1/models/kinds", "/",
        "/v1/models/kinds/versions/-1:predict", "/trueup/v1/nothing", "/metrics",
    ])  # fmt: skip
    return text(good(chance)), path, JSON, ""


def odd_headers(chance: random.Random) -> Case:
    name, value = chance.choice([
        ("X-Request-Id", "a" * 201), ("X-Request-Id", "\u00e9\u00a0"),
        ("X-Event-Time", "yesterday"), ("X-Event-Time", "1e400"), ("X-Event-Time", ""),
        ("X-Event-Time", "99999-01-01"), ("Expect", "200-ok"), ("X-Long", "x" * 40_000),
        ("Content-Type", "text/plain; charset=\u00fc"),
    ])  # fmt: skip
    return text(good(chance)), PATH, {**JSON, name: value}, ""


def signature(chance: random.Random) -> Case:
    document = good(chance)
    document["signature_name"] = chance.choice(["", "none", 7, None, [], {}, "x" * 9000])
    if chance.random() < 0.3:
        document["inputs"] = document["instances"] = chance.choice([1, None, "a", [], {}])
    return text(document), PATH, JSON, ""


def fine(chance: random.Random) -> Case:
    return text(good(chance)), PATH, JSON, ""


#: How often each is chosen.
KINDS: dict[Callable[[random.Random], Case], int] = {
    one_wrong_value: 20, one_missing: 8, one_unknown: 5, some_leaf: 25, broken_text: 20, deep: 3,
    other_characters: 4, packed: 8, too_large: 1, other_path: 4, odd_headers: 3, signature: 4,
    fine: 5,
}  # fmt: skip


def check(kind: str, case: Case, answer: Answer) -> None:
    told = f"{kind}: {case[0][:300]!r} {case[1]} {case[2]}: {answer}"[:1000]
    assert answer.status in DOCUMENTED, told
    if answer.status != 200:
        assert answer.error, told
        assert len(answer.body) < 4096, told
    if kind in ("one_wrong_value", "one_missing", "one_unknown"):
        assert answer.status == 400, told
        assert case[3] in answer.error, told
    if kind == "fine":
        assert answer.status == 200, told
    if kind == "deep":
        assert answer.status == 400, told


def test_ten_thousand_wrong_requests(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    subprocess.run(
        [sys.executable, str(HERE / "soak_model.py"), str(folder)],
        check=True, timeout=LONG_S, env={**os.environ, **QUIET},
    )  # fmt: skip
    site.configure(f"[serving]\nmax_body = {MAX_BODY}\n")
    site.trueup("import", "kinds", "--saved-model", str(folder), "--promote")
    server = site.serve_ready()
    (worker,) = server.workers()
    chance = random.Random(20130701)
    connection = connect(server.url)
    seen: Counter[tuple[str, int]] = Counter()
    early = 0
    for number in range(REQUESTS):
        (make,) = chance.choices([*KINDS], [*KINDS.values()])
        case = make(chance)
        answer = ask(connection, *case[:3])
        check(make.__name__, case, answer)
        seen[make.__name__, answer.status] += 1
        if number == REQUESTS // 5:
            early = resident(worker)
    late = resident(worker)
    statuses = {status for _, status in seen}
    assert {200, 400, 404, 413, 415, 417, 431, 501} <= statuses
    assert server.workers() == [worker]
    assert late <= 1.1 * early, f"{early >> 20} MiB became {late >> 20} MiB"
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
    report = site.compact()
    assert not report["failed"]
    assert report["lost_bytes"] == 0
