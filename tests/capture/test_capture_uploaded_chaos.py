"""Servers that stop and upload, and compactors, killed at random moments."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.capture.conftest import Lab
from tests.capture.test_capture_chaos import kill, start
from tests.capture.test_capture_compact import attempts
from tests.capture.test_capture_uploaded import keys, nothing_left
from trueup.frames.segment_files import sealed_segments

ROUNDS, SEGMENTS, FRAMES = 8, 25, 20

UPLOADER = """
import sys
from pathlib import Path
from time import monotonic
from trueup.serving.upload import Upload
from trueup.store.blobs import BlobRoot
spool, blobs = Path(sys.argv[1]), BlobRoot(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while True:
    Upload(spool, blobs, monotonic() + 60).run()
"""


@pytest.mark.chaos
def test_uploads_and_compactions_killed_at_random(any_lab: Lab) -> None:
    lab, rng = any_lab, random.Random(12)
    ids: list[str] = []
    interrupted = 0
    for _ in range(ROUNDS):
        ids += [lab.segment(attempts(FRAMES, number)) for number in range(SEGMENTS)]
        uploader = subprocess.Popen(
            [sys.executable, "-c", UPLOADER, lab.settings.spool_dir, lab.settings.blob_root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert uploader.stdin is not None and uploader.stdout is not None
        assert uploader.stdout.readline() == b"ready\n"
        compactor = start(lab)
        assert compactor.stdout is not None and compactor.stdout.readline() == b"ready\n"
        uploader.stdin.write(b"go\n")
        uploader.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # the moment of death is what is random here
            uploader.wait(timeout=rng.uniform(0.0, 0.1))
        interrupted += bool(sealed_segments(lab.settings.spool_dir))
        kill(uploader)
        kill(compactor)
    assert interrupted
    deadline = time.monotonic() + 60
    while not nothing_left(lab):
        assert time.monotonic() < deadline
        assert not lab.compact().failed
    found = keys(lab)
    assert len(found) == len(ids) * FRAMES
    assert set(found) == {(name, frame) for name in ids for frame in range(FRAMES)}
