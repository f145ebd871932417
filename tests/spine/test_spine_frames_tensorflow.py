"""TensorFlow reads our frame files, and we read TensorFlow's."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from trueup.frames.reader import FrameReader, recover
from trueup.frames.writer import FrameWriter

PAYLOADS = [b"", b"abc", bytes(range(256)) * 100]

CHILD = """
import sys
import tensorflow as tf
read = [bytes(item) for item in tf.data.TFRecordDataset(sys.argv[1]).as_numpy_iterator()]
with tf.io.TFRecordWriter(sys.argv[2]) as writer:
    for payload in read:
        writer.write(payload)
print(len(read))
"""


@pytest.mark.heavy
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.seg", tmp_path / "theirs.tfrecord"
    with FrameWriter(ours) as writer:
        writer.append(PAYLOADS)
    with ours.open("ab") as file:
        file.write(b"torn")
    recover(ours)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ours), str(theirs)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["3"]
    assert list(FrameReader(theirs)) == PAYLOADS
    assert theirs.read_bytes() == ours.read_bytes()
