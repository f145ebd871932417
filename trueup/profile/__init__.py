"""Mergeable statistics of a set of rows, per feature (docs/statistics.md, section 1).

``edges`` are frozen once from the training data (first pass); a ``Profile`` counts rows against
them (second pass, and the only pass over served rows). Profiles with one ``edges_id`` merge:
counts exactly, moments to 1e-12, sketches within their stated error.
"""
