"""Frame files: append-only logs of byte strings in TFRecord framing, safe against ``kill -9``."""
