"""Large JSON documents parsed in parts, so that other threads have their turn in between.

orjson holds the interpreter for as long as it parses: 30 MB of rows take 0.2 s, in which a server
answers nobody, whichever thread it is that parses. So long arrays that stand where a request has
its rows (``[…]`` under a name, or under a name of an object under a name) are cut at commas, their
pieces are parsed one by one, and the rest of the document is parsed without them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Bodies from here on are worth a thread of their own: smaller ones take 2 to 5 ms.
LARGE = 512 << 10

_PIECE = 256 << 10
_TURN_S = 0.0002
#: Containers that are looked at; a document with more of them at the top is none of ours.
_MOST_CONTAINERS = 10_000
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_MARKS = np.zeros(256, np.bool_)
_MARKS[list(b'[]{},"')] = True
_COMMA, _QUOTE = ord(","), ord('"')
_OUTER, _INNER = 2, 3

Parse = Callable[[bytes], Any]
Check = Callable[[tuple[str, ...], int], None]


class _Strange(Exception):
    """Not a document that can be cut: it is parsed as a whole, which says what is wrong."""


@dataclass(slots=True)
class LongArray:
    """An array within a document.

    :ivar start, stop: of what is between its brackets. :ivar commas: of its own.
    :ivar cuts: places of some of these commas.
    """

    start: int
    stop: int = -1
    commas: int = 0
    cuts: list[int] = field(default_factory=list)


def parse_in_parts(
    body: bytes,
    parse: Parse,
    *,
    max_depth: int,
    check: Check = lambda names, items: None,
) -> Any:
    """What ``parse(body)`` gives, or raises.

    :param parse: of a whole document; called in this thread with small ones, and with all of
        ``body`` where that cannot be cut or is no JSON.
    :param max_depth: a document that is deeper is parsed as a whole.
    :param check: called with the names under which a long array stands and the number of its items,
        before these are parsed; what it raises ends the parsing.
    """
    try:
        arrays = [array for array in _long_arrays(body, max_depth) if array.cuts]
        return _put_together(body, arrays, parse, check)
    except _Strange:
        return parse(body)


def _put_together(body: bytes, arrays: list[LongArray], parse: Parse, check: Check) -> Any:
    if not arrays:
        raise _Strange
    mark = f"{id(body):x}-{time.perf_counter_ns():x}-"
    if mark.encode() in body:
        raise _Strange
    rest, at = [], 0
    for number, array in enumerate(arrays):
        # In brackets as it was: a text alone could be the name of a member, and an array cannot.
        rest += [body[at : array.start], f'"{mark}{number}"'.encode()]
        at = array.stop
    rest.append(body[at:])
    document = _parsed(b"".join(rest), parse)
    if type(document) is not dict:
        raise _Strange
    marked = {f"{mark}{number}": array for number, array in enumerate(arrays)}
    # Of two members of one name the last one counts: the arrays of others are not looked at.
    found = list(_marked(document, (), marked))
    for name, value in document.items():
        if type(value) is dict:
            found += _marked(value, (name,), marked)
    for _, names, array in found:
        check(names, array.commas + 1)
    for holder, names, array in found:
        holder[names[-1]] = _items(body, array, parse)
    return document


def _marked(
    holder: dict[str, Any], names: tuple[str, ...], marked: dict[str, LongArray]
) -> Iterator[tuple[dict[str, Any], tuple[str, ...], LongArray]]:
    for name, value in holder.items():
        if type(value) is list and len(value) == 1 and type(value[0]) is str and value[0] in marked:
            yield holder, (*names, name), marked[value[0]]


def _items(body: bytes, array: LongArray, parse: Parse) -> list[Any]:
    items: list[Any] = []
    start = array.start
    for stop in (*array.cuts, array.stop):
        piece = _parsed(b"[%b]" % body[start:stop], parse)
        if not piece:
            raise _Strange  # a comma too many
        items += piece
        start = stop + 1
        time.sleep(_TURN_S)
    return items


def _parsed(text: bytes, parse: Parse) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise _Strange from None
    except Exception as error:
        raise _Strange from error


def _long_arrays(body: bytes, max_depth: int) -> Iterator[LongArray]:
    """The arrays of the two levels."""
    scan = _Scan(max_depth)
    at = 0
    while at < len(body):
        stop = min(at + _PIECE, len(body))
        while stop < len(body) and body[stop - 1] == ord("\\"):  # an escape stays in one piece
            stop += 1
        yield from scan.piece(body[at:stop], at)
        at = stop
    if scan.depth:
        raise _Strange


class _Scan:
    """Walks over a document, piece by piece, and looks at its marks: brackets, commas, quotes."""

    def __init__(self, max_depth: int) -> None:
        self.depth = 0
        self._max_depth = max_depth
        self._in_text = 0
        self._outer: LongArray | None = None  # that is open
        self._inner: LongArray | None = None
        self._in_object = False  # an object is open at the outer level
        self._containers = 0

    def piece(self, text: bytes, at: int) -> Iterator[LongArray]:
        if b"\\" in text:
            text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        codes = np.frombuffer(text, np.uint8)
        places = np.flatnonzero(_MARKS[codes])
        if not len(places):
            return
        codes = codes[places]
        in_text = np.bitwise_xor.accumulate((codes == _QUOTE).view(np.uint8))
        if self._in_text:
            in_text ^= 1
        outside = (in_text ^ 1).view(np.int8)
        steps = _STEPS[codes] * outside
        depths = np.cumsum(steps, dtype=np.int32)
        depths += self.depth
        if int(depths.max()) > self._max_depth or int(depths.min()) < 0:
            raise _Strange
        self._codes, self._places, self._steps, self._depths = codes, places + at, steps, depths
        self._commas = (codes == _COMMA) & outside.view(bool)
        yield from self._outer_level()
        self._in_text = int(in_text[-1])
        self.depth = int(depths[-1])

    def _outer_level(self) -> Iterator[LongArray]:
        start = 0
        for place in self._changes(_OUTER, 0, len(self._codes)):
            yield from self._within(start, place)
            if self._steps[place] > 0:
                if self._codes[place] == ord("["):
                    self._outer = LongArray(int(self._places[place]) + 1)
                else:
                    self._in_object = True
            elif self._outer is not None:
                yield self._closed(self._outer, place)
                self._outer = None
            else:
                self._in_object = False
            start = place + 1
        yield from self._within(start, len(self._codes))

    def _within(self, start: int, stop: int) -> Iterator[LongArray]:
        """Inside of what is open at the outer level, if anything is."""
        if self._outer is not None:
            self._count(self._outer, _OUTER, start, stop)
        elif self._in_object:
            yield from self._inner_level(start, stop)

    def _inner_level(self, start: int, stop: int) -> Iterator[LongArray]:
        for place in self._changes(_INNER, start, stop):
            if self._inner is not None:
                self._count(self._inner, _INNER, start, place)
            if self._steps[place] > 0:
                if self._codes[place] == ord("["):
                    self._inner = LongArray(int(self._places[place]) + 1)
            elif self._inner is not None:
                yield self._closed(self._inner, place)
                self._inner = None
            start = place + 1
        if self._inner is not None:
            self._count(self._inner, _INNER, start, stop)

    def _changes(self, level: int, start: int, stop: int) -> list[int]:
        """Where containers of ``level`` open and close: indices of marks, as all of these are."""
        steps, depths = self._steps[start:stop], self._depths[start:stop]
        opens = (steps > 0) & (depths == level)
        closes = (steps < 0) & (depths == level - 1)
        found = np.flatnonzero(opens | closes)
        self._containers += len(found)
        if self._containers > _MOST_CONTAINERS:
            raise _Strange
        return (found + start).tolist()

    def _count(self, array: LongArray, level: int, start: int, stop: int) -> None:
        found = np.flatnonzero(self._commas[start:stop] & (self._depths[start:stop] == level))
        if len(found):
            array.commas += len(found)
            array.cuts.append(int(self._places[start + int(found[-1])]))

    def _closed(self, array: LongArray, place: int) -> LongArray:
        if self._codes[place] != ord("]"):
            raise _Strange
        array.stop = int(self._places[place])
        return array
