"""What the head of a request must be like, beyond what the parser (llhttp) asks for.

Where two readings of a message are possible, a proxy in front may read it the other way and take
one request for two ("request smuggling"). So there is one reading, or none: RFC 9112, section 6.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from trueup.serving.http_body import ENCODINGS
from trueup.serving.http_message import Reply, Request, error_reply
from trueup.serving.http_state import Limits

#: Headers that may come once only: two of them could be read in two ways.
SINGLE = frozenset({"content-length", "host", "transfer-encoding", "content-encoding"})

_SPOKEN = ("1.0", "1.1")


def head_problem(request: Request, version: str, limits: Limits) -> Reply | None:
    """Why the connection ends with this head, or ``None``. A target of the absolute form is
    rewritten to its path, and its host becomes ``Host`` (RFC 9112, section 3.2.2).

    :param version: of HTTP, such as ``"1.1"``.
    """
    headers = request.headers
    if version not in _SPOKEN:
        return error_reply(400, f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    if not request.target.startswith(b"/"):
        problem = _other_form(request)
        if problem is not None:
            return problem
    if "host" not in headers and version == "1.1":
        return error_reply(400, "Missing header Host")
    return _framing_problem(headers, version, limits) or _coding_problem(headers)


def _other_form(request: Request) -> Reply | None:
    target = request.target.decode("latin-1")
    if target == "*" and request.method == "OPTIONS":
        return None
    try:
        url = urlsplit(target)
    except ValueError:
        url = None
    if url is None or url.scheme.lower() not in ("http", "https") or not url.netloc:
        return error_reply(400, f"Malformed request: {request.method} {target[:200]}")
    request.headers["host"] = url.netloc.rpartition("@")[2]
    path = url.path or "/"
    request.set_target((f"{path}?{url.query}" if url.query else path).encode("latin-1"))
    return None


def _framing_problem(headers: dict[str, str], version: str, limits: Limits) -> Reply | None:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None:
            return error_reply(400, "Both Content-Length and Transfer-Encoding are given")
        if coding.lower() != "chunked" or version != "1.1":
            return error_reply(400, "Transfer-Encoding may be chunked only, of HTTP/1.1")
    elif length is not None:
        if not length.isdecimal() or not length.isascii() or len(length) > 18:
            return error_reply(400, "Content-Length is no number")
        if int(length) > limits.max_body:
            return too_large(limits)
    return None


def _coding_problem(headers: dict[str, str]) -> Reply | None:
    packing = headers.get("content-encoding")
    if packing is not None and packing.lower() not in (*ENCODINGS, "identity", ""):
        return error_reply(
            415,
            f"Content-Encoding {packing[:100]} is not read here; gzip and deflate are",
            (("Accept-Encoding", "gzip, deflate"),),
        )
    expected = headers.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        return error_reply(417, "Expect may be 100-continue only")
    return None


def too_many_bytes() -> Reply:
    return error_reply(503, "Too many bytes of requests wait (setting serving.max_pending)")


def too_large(limits: Limits) -> Reply:
    return error_reply(
        413, f"The request body has more than {limits.max_body} bytes (setting serving.max_body)"
    )
