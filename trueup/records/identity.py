"""Who a row is: ``row_id`` = segment id + frame + row, minted by the server.

A client's ``X-Request-Id`` is another, non-unique column, because retries reuse it. The guarantee
of the capture is per *attempt*: every answered attempt is in it exactly once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trueup.errors import BadInputError

_ROW_ID = re.compile(r"(?P<segment>[0-9a-z]{8,40})-(?P<frame>\d+)-(?P<row>\d+)")


@dataclass(frozen=True, slots=True, order=True)
class RowId:
    """The identity of one captured row.

    :param segment: lower-case id of the segment file, unique per writer and file.
    :param frame: index of the frame (request attempt) in the segment, from 0.
    :param row: index of the row (instance) in the frame, from 0.

    >>> str(RowId("01hx3k9d", 7, 0))
    '01hx3k9d-7-0'
    >>> RowId.parse("01hx3k9d-7-0").frame
    7
    """

    segment: str
    frame: int
    row: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-z]{8,40}", self.segment) or self.frame < 0 or self.row < 0:
            raise BadInputError(
                f"row id {self.segment!r}-{self.frame}-{self.row} is malformed",
                remedy="a row id is SEGMENT-FRAME-ROW, as found in the capture",
            )

    def __str__(self) -> str:
        return f"{self.segment}-{self.frame}-{self.row}"

    @classmethod
    def parse(cls, text: str) -> RowId:
        """The row id that ``str`` wrote; :class:`BadInputError` on any other text."""
        match = _ROW_ID.fullmatch(text)
        if match is None:
            raise BadInputError(
                f"row id {text!r} is malformed",
                remedy="a row id is SEGMENT-FRAME-ROW, as found in the capture",
            )
        return cls(match["segment"], int(match["frame"]), int(match["row"]))
