"""The capture as the server writes it: spool and segments, full-disk policies, column policies."""
