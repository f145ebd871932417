"""A user's own model, which fails."""

from __future__ import annotations


def build(plan: object, settings: object) -> object:
    raise KeyError("weekday")
