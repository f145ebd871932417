"""Retraining: training data, the distributed task, launchers, tuning, gate, policy, rollout.

Imported as ``trueup.trainer`` only: a top-level ``trainer`` belongs to users' own packages.
The trainer itself comes with a later release; this package exists so that the layout, the
wheel and the import contracts hold from the start.
"""
