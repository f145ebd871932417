"""Whether a candidate may go live: paired comparisons on rows that no version has seen, floors,
and the replay in a real server (docs/training.md, section "The gate")."""
