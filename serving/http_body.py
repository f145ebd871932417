"""Packed request bodies: gzip and deflate, unpacked within bounds.

A kilobyte can unpack to a megabyte, so the size is bounded while unpacking, and what takes long is
left to a thread of its own: the event loop goes on, and only one such body is unpacked at a time.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

from trueup.serving.http_message import Reply, error_reply

#: ``wbits`` of zlib by Content-Encoding (RFC 9110, section 8.4.1).
ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

#: Unpacked on the event loop up to here: about a millisecond.
INLINE_BYTES = 256 << 10

# gzip files may be several behind each other. Each costs some microseconds, also when empty.
_MAX_MEMBERS = 1024
_STEP = 64 << 10

_thread: ThreadPoolExecutor | None = None


def unpacking_thread() -> ThreadPoolExecutor:
    """Where large bodies are unpacked, one at a time."""
    global _thread
    if _thread is None:
        _thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="unpack")
    return _thread


def unpack(body: bytes, encoding: str, limit: int) -> bytes | Reply:
    """``body`` unpacked, or the refusal: 400 for what is damaged, 413 for what is too large.

    :param encoding: a key of :data:`ENCODINGS`.
    :param limit: of the result's size, in bytes.
    """
    wbits = ENCODINGS[encoding]
    found = bytearray()
    packed = memoryview(body)
    at = members = 0
    try:
        while at < len(packed):
            members += 1
            if members > _MAX_MEMBERS:
                return error_reply(400, f"The {encoding} body has more than {_MAX_MEMBERS} parts")
            member = zlib.decompressobj(wbits)
            while not member.eof and at < len(packed):
                step = packed[at : at + _STEP]
                found += member.decompress(step, limit + 1 - len(found))
                if len(found) > limit:
                    return error_reply(
                        413,
                        f"The unpacked request body has more than {limit} bytes "
                        "(setting serving.max_body)",
                    )
                # Nothing is held back below the limit but by an output that is full.
                at += len(step) - len(member.unused_data) - len(member.unconsumed_tail)
            if not member.eof:
                return error_reply(400, f"The {encoding} body ends too early")
    except zlib.error as error:
        return error_reply(400, f"The body is no {encoding}: {error}")
    return bytes(found)
