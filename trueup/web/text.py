"""Text that comes from clients, made safe to show: names of columns, values of categories.

Escaping for HTML is the template engine's work. This module takes care of what escaping leaves:
control characters, bidirectional overrides (which can make ``eno`` read as ``one``) and lone
surrogates (which cannot be encoded) become visible escapes, and endless values are cut.
"""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a shape of their own: control, format, surrogate, private use,
unassigned, line and paragraph separators."""

_JOINERS = frozenset("\u200c\u200d")
"""Zero-width (non-)joiners belong to the spelling of Persian, Hindi and of emoji."""


def visible(value: str, limit: int = 80) -> str:
    """``value`` with hidden characters as escapes, cut to ``limit`` characters.

    An empty value is shown as ``(empty)``, one of blanks only in quotes.

    >>> visible("a\\tb")
    'a\\\\x09b'
    >>> visible("x" * 100, limit=5)
    'xxxx…'
    >>> visible("   ")
    '"   "'
    """
    if not value:
        return "(empty)"
    if value.isspace() and value.isprintable():
        value = f'"{value}"'
    cut = value[: limit + 1]
    shown = "".join(map(_shown, cut))
    if len(shown) <= limit and len(value) <= limit:
        return shown
    return shown[: limit - 1] + ELLIPSIS


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
