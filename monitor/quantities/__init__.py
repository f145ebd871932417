"""One file per question that is asked of a feature (docs/statistics.md, section 2)."""
