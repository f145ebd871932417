"""From spool to Parquet and window profiles, and back to rows: compaction, retention, reading."""
