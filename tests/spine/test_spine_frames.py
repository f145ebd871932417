"""Frame files: what is written is read, torn tails are cut, damage is never passed over."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup.errors import FrameError
from trueup.frames.format import OVERHEAD_BYTES, encode, masked_crc32c
from trueup.frames.held import HeldFile
from trueup.frames.reader import FrameReader, recover
from trueup.frames.walk import TailKind
from trueup.frames.writer import FrameWriter

SAME_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PAYLOADS = st.lists(st.binary(max_size=40), max_size=6)


def read(path: Path) -> list[bytes]:
    return list(FrameReader(path))


def write(path: Path, payloads: list[bytes]) -> None:
    with FrameWriter(path) as writer:
        writer.append(payloads)


def test_appended_batches_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    with FrameWriter(path) as writer:
        assert writer.append([b"one", b""]) == 0
        assert writer.append([b"three" * 1000]) == 2
        assert read(path) == [b"one", b"", b"three" * 1000]  # also while it is being written
    with FrameWriter(path, sync=True) as again:
        assert again.recovery.frames == 3
        assert again.append([b"four"]) == 3
    reader = FrameReader(path)
    assert len(list(reader)) == 4
    assert (reader.frames, reader.end, reader.tail) == (4, path.stat().st_size, TailKind.CLEAN)


def test_a_batch_is_one_write_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = os.write
    with FrameWriter(tmp_path / "a.seg") as writer:

        def counted(fd: int, data: bytes) -> int:
            calls.append(fd)
            return real(fd, data)

        monkeypatch.setattr(os, "write", counted)
        writer.append([b"x" * 100] * 50)
        monkeypatch.undo()
    assert len(calls) == 1


@SAME_FOLDER
@given(payloads=PAYLOADS)
def test_truncated_at_every_byte_whole_frames_stay(tmp_path: Path, payloads: list[bytes]) -> None:
    path = tmp_path / "a.seg"
    data = encode(payloads)
    ends = [0]
    for payload in payloads:
        ends.append(ends[-1] + OVERHEAD_BYTES + len(payload))
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends) - 1
        found = recover(path)
        assert found.frames == whole
        assert found.cut_bytes == cut - ends[whole]
        assert found.tail is (TailKind.CLEAN if cut == ends[whole] else TailKind.TORN)
        assert read(path) == payloads[:whole]
        assert recover(path).cut_bytes == 0


@SAME_FOLDER
@given(payloads=st.lists(st.binary(max_size=30), min_size=1, max_size=5), data=st.data())
def test_a_flipped_bit_never_gives_a_wrong_payload(
    tmp_path: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path / "a.seg"
    content = bytearray(encode(payloads))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    salvaged = FrameReader(path, salvage=True)
    kept = list(salvaged)
    lost = len(payloads) - len(kept)
    hit = 0
    offset = 0
    while place >= offset + OVERHEAD_BYTES + len(payloads[hit]):
        offset += OVERHEAD_BYTES + len(payloads[hit])
        hit += 1
    assert lost == 1
    assert kept == payloads[:hit] + payloads[hit + 1 :]
    last = hit == len(payloads) - 1
    assert (salvaged.damaged_bytes == 0) is last
    if last:
        assert salvaged.tail is TailKind.CORRUPT
        assert recover(path).tail is TailKind.CORRUPT
    else:
        with pytest.raises(FrameError, match=r"a\.seg is damaged: \d+ bytes at offset"):
            read(path)
        with pytest.raises(FrameError, match="is damaged"):
            recover(path)
        assert path.read_bytes() == bytes(content)
        found = recover(path, salvage=True)
        assert (found.frames, found.damaged_spans) == (len(kept), 1)


def test_damage_then_a_torn_tail_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    frames = [encode([bytes([letter]) * 50]) for letter in b"abcd"]
    broken = bytearray(frames[1])
    broken[20] ^= 1
    path.write_bytes(frames[0] + bytes(broken) + frames[2] + frames[3][:30])
    reader = FrameReader(path, salvage=True)
    assert [payload[:1] for payload in reader] == [b"a", b"c"]
    assert (reader.damaged_spans, reader.damaged_bytes) == (1, len(broken))
    assert (reader.tail, reader.tail_bytes) == (TailKind.TORN, 30)


def test_zeros_behind_the_frames_are_a_corrupt_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    good = encode([b"abc"])
    path.write_bytes(good + bytes(3_000_000))  # what a file system leaves after power loss
    found = recover(path)
    assert (found.frames, found.cut_bytes, found.tail) == (1, 3_000_000, TailKind.CORRUPT)
    assert path.read_bytes() == good


def test_frames_behind_megabytes_of_damage_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    noise = os.urandom(1 << 12) * 700
    path.write_bytes(encode([b"abc"]) + noise + bytes(9) + encode([b"def"]))
    reader = FrameReader(path, salvage=True)
    assert list(reader) == [b"abc", b"def"]
    assert reader.damaged_bytes == len(noise) + 9


def test_frames_inside_a_torn_payload_are_not_taken_for_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    forged = encode([b"forged"])
    path.write_bytes(encode([b"real"]) + encode([forged * 3 + b"rest"])[:-6])
    assert list(FrameReader(path, salvage=True)) == [b"real"]
    assert recover(path).tail is TailKind.TORN


@pytest.mark.parametrize("length", [1 << 40, 2**64 - 1, 1 << 29])
def test_an_absurd_length_costs_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.seg"
    header = struct.pack("<Q", length)
    header += struct.pack("<I", masked_crc32c(header))
    path.write_bytes(encode([b"abc"]) + header + b"x" * 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert recover(path).cut_bytes == 112
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert read(path) == [b"abc"]


def test_an_empty_file_and_one_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    path.touch()
    assert recover(path).frames == 0
    assert read(path) == []
    with pytest.raises(FrameError, match=r"none\.seg cannot be opened"):
        recover(tmp_path / "none.seg")
    with pytest.raises(FrameError, match=r"none\.seg cannot be read"):
        read(tmp_path / "none.seg")
    with pytest.raises(FrameError, match="cannot be opened"):
        FrameWriter(tmp_path / "no-folder" / "a.seg")


HOLD = """
import sys
from pathlib import Path
from trueup.frames.writer import FrameWriter
writer = FrameWriter(Path(sys.argv[1]))
writer.append([b"mine"])
print("held", flush=True)
sys.stdin.read()
"""


def test_of_two_processes_one_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for attempt in (FrameWriter, recover):
            with pytest.raises(FrameError, match=r"a\.seg is held by another process") as caught:
                attempt(path)
            assert caught.value.retry
        other.send_signal(signal.SIGKILL)
    write(path, [b"after"])
    assert read(path) == [b"mine", b"after"]


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    reads, writes = os.pipe()
    ready, say_ready = os.pipe()
    writer = FrameWriter(path)
    child = os.fork()
    if child == 0:
        os.close(writes)
        os.write(say_ready, b"!")
        os.read(reads, 1)  # lives until the parent lets it go
        os._exit(0)
    assert os.read(ready, 1) == b"!"
    writer.close()
    try:
        write(path, [b"abc"])
    finally:
        os.close(writes)
        os.waitpid(child, 0)
        for fd in (reads, ready, say_ready):
            os.close(fd)


def test_a_file_deleted_by_its_former_holder_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"old"])
    held = HeldFile(path)
    path.unlink()
    with FrameWriter(path) as writer:  # a new file of that name
        writer.append([b"new"])
    held.close()
    assert read(path) == [b"new"]


FULL = """
import resource, sys
from pathlib import Path
from trueup.errors import FrameError
from trueup.frames.writer import FrameWriter
path, limit = Path(sys.argv[1]), int(sys.argv[2])
writer = FrameWriter(path)
writer.append([b"first"])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    writer.append([b"x" * 100] * 10)
except FrameError as error:
    assert error.retry and "10 frames could not be written" in str(error), error
else:
    raise SystemExit("the limit did not hold")
assert path.stat().st_size == writer.size, (path.stat().st_size, writer.size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert writer.append([b"last"]) == 1
"""


@pytest.mark.parametrize("limit", [22, 30, 500, 1000])
def test_a_full_disk_leaves_no_half_frame(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.seg"
    subprocess.run([sys.executable, "-c", FULL, str(path), str(limit)], check=True)
    assert read(path) == [b"first", b"last"]


def test_after_a_failed_fsync_the_writer_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.seg"
    with FrameWriter(path, sync=True) as writer:
        writer.append([b"abc"])

        def fail(fd: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(FrameError, match="could not be made durable"):
            writer.append([b"lost"])
        monkeypatch.undo()
        with pytest.raises(FrameError, match="takes no more frames"):
            writer.append([b"def"])
    assert read(path) == [b"abc"]


def test_a_frame_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.frames.format.MAX_PAYLOAD_BYTES", 10)
    with FrameWriter(tmp_path / "a.seg") as writer:
        with pytest.raises(FrameError, match="a frame of 11 bytes is over the limit"):
            writer.append([b"ok", b"x" * 11])
        writer.append([b"x" * 10])
    assert read(tmp_path / "a.seg") == [b"x" * 10]
