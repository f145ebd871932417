"""``serving.max_request_rows``: a row of optional variables alone is ``{}``, three bytes of a body
and a hundred times that in tensors."""

from __future__ import annotations

from typing import Any

from trueup.serving.tensors import InvalidRequest


class TooManyRows(InvalidRequest):
    """A request of more rows than one may have: HTTP 413."""

    status = 413

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"the request has {rows} rows, and {most} are allowed (setting "
            "serving.max_request_rows): send it in parts"
        )


def most_rows(document: Any) -> int:
    """How many rows a request's document could be taken for, whatever else is wrong with it.

    >>> most_rows({"inputs": {"x": [1, 2], "y": 0}}), most_rows([1, 2, 3])
    (2, 0)
    """
    if type(document) is not dict:
        return 0
    inputs = document.get("inputs")
    columns = inputs.values() if type(inputs) is dict else (inputs,)
    return max(
        len(each) for each in (*columns, document.get("instances"), []) if type(each) is list
    )
