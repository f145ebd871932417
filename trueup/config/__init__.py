"""The configuration: validated records of what ``trueup.toml`` says."""
