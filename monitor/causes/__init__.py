"""One file per diagnosis: what can explain a finding that is an alert."""
