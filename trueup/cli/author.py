"""Who runs a command, for what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueup.store.registry import Author


def author(reason: str) -> Author:
    """The user of this process, now."""
    import getpass
    from datetime import datetime, timezone

    from trueup.store.registry import Author

    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        who = "unknown"
    return Author(who, reason, datetime.now(timezone.utc))
