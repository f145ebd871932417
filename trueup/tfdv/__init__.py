"""Interchange with TensorFlow Data Validation and TFX (docs/tfdv.md).

``statistics`` writes a profile as TFDV's statistics proto and ``baseline`` reads one as the profile
of training data; ``schema`` and ``schema_in`` do the same for an InputSpec, and ``corrections``
lets a schema correct an inferred one. ``distances`` computes the numbers that TFDV also defines on
the same protos, and ``validation`` has TFDV itself infer a schema or find anomalies in a child
process. Only the protos (package ``tensorflow-metadata``) are imported into this process;
TensorFlow, Beam and TFDV never are.
"""
