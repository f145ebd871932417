"""Launchers, one kind of cluster each."""
