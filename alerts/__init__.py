"""The life of an incident, the outbox, and the channels that tell people.

Imported as ``trueup.alerts`` only. Alerting itself comes with a later release; this package
exists so that the layout, the wheel and the import contracts hold from the start.
"""
