"""What an error of the operating system says, in its own words."""

from __future__ import annotations

import re


def why(error: OSError) -> str:
    """The reason alone, also of pyarrow's errors, which have no ``strerror``.

    >>> why(OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"))
    'No space left on device'
    """
    told = re.search(r"\[errno \d+\] (.+)", str(error))
    return told[1] if told else error.strerror or str(error)
