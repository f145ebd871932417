"""Trueup keeps TensorFlow models true to the data they serve.

The public names are loaded on first use, so that ``import trueup`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trueup.comparison import Comparison, compare

__all__ = ["Comparison", "__version__", "compare"]

_DEFINED_IN = {"compare": "trueup.comparison", "Comparison": "trueup.comparison"}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'trueup' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_DEFINED_IN[name]), name)
