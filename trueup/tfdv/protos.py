"""The generated protos of tensorflow-metadata, imported late: the base install may lack them."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from trueup.errors import UnsupportedError

INSTALL = 'run: pip install "trueup[tfdv]"'


class Protos(NamedTuple):
    """The proto modules; importing them costs a few hundredths of a second, no TensorFlow."""

    statistics: ModuleType
    schema: ModuleType
    anomalies: ModuleType


@lru_cache(maxsize=1)
def protos() -> Protos:
    """The proto modules; :class:`UnsupportedError` when tensorflow-metadata is not installed."""
    try:
        return Protos(
            *(
                import_module(f"tensorflow_metadata.proto.v0.{name}_pb2")
                for name in ("statistics", "schema", "anomalies")
            )
        )
    except ImportError as error:
        raise UnsupportedError(
            f"TFDV protos need the package tensorflow-metadata ({error})", remedy=INSTALL
        ) from error
