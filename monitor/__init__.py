"""Decides what changed between two profiles, whether it counts, and why: pure functions."""
