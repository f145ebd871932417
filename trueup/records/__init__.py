"""Frozen records that cross the borders between parts (docs/architecture.md, section 4)."""
