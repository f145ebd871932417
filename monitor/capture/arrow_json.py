"""JSON documents as Arrow columns by Arrow's own parser: many times faster than by way of Python.

The parser is strict: a number where a string should be, an unknown key, a key that is there twice,
an integer out of range or a wrong surrogate is an error. Where it is not (it stops in silence
behind a bracket too many, and does not look at encodings), :func:`documents` looks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.json


def documents(
    texts: Sequence[bytes], schema: pa.Schema, *, unexpected: Literal["error", "ignore"] = "error"
) -> pa.Table | None:
    """One row per text, each a JSON object, with the columns of ``schema`` (null where a key is
    left out), in one chunk; ``None`` where they are not all such objects.

    :param unexpected: what to do with keys that ``schema`` does not have.
    """
    if not texts:
        return schema.empty_table()
    data = b"\n".join(texts)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return None
    try:
        found = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior=unexpected
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):  # the latter from a message of the former
        return None
    return found.combine_chunks() if found.num_rows == len(texts) else None
