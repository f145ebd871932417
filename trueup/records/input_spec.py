"""InputSpec: the one description of a model's raw variables, for graph, server, compactor,
profile and trainer (docs/architecture.md, section 4).
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Dtype = Literal[
    "float16", "float32", "float64",
    "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
    "bool", "string", "bytes", "timestamp",
]  # fmt: skip

FLOAT_DTYPES = frozenset({"float16", "float32", "float64"})
INTEGER_DTYPES = frozenset(
    {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)


class Kind(str, Enum):
    """How a variable is measured, which decides the statistics that are kept of it."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    TEXT = "text"
    TIME = "time"


class Role(str, Enum):
    """What a variable is for. Only ``feature`` and ``label`` are profiled and compared."""

    FEATURE = "feature"
    ID = "id"
    TIME = "time"
    LABEL = "label"
    IGNORED = "ignored"


class Record(BaseModel):
    """A frozen, validated record; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class NumericDomain(Record):
    """Values outside ``[low, high]`` (either may be absent) are out of range."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> NumericDomain:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"domain low {self.low} is above high {self.high}")
        return self


class CategoricalDomain(Record):
    """The values that may occur; any other is out of range."""

    values: tuple[str, ...]


class Missing(Record):
    """How a missing value is written in each transport.

    The graph receives ``graph``: NaN for floats (``None`` here stands for NaN), ``""`` for
    strings, a sentinel for integers. Sentinels are values that *mean* missing in the data
    itself (``-999``, ``"NA"``); they count as missing in every profile.
    """

    json_null: bool = True
    json_absent: bool = True
    nan: bool = True
    empty_string: bool = False
    sentinels: tuple[str | float, ...] = ()
    graph: str | int | float | None = None


class Variable(Record):
    """One raw input variable.

    :param shape: of one row; ``()`` is a scalar, ``(-1,)`` a multi-valued variable.
    :param unit: shown with every number of this variable, such as ``"°F"``.
    :param reason: why the role was chosen; always given for ``ignored``.
    """

    name: Annotated[str, Field(min_length=1)]
    dtype: Dtype
    kind: Kind
    shape: tuple[int, ...] = ()
    role: Role = Role.FEATURE
    reason: str = ""
    optional: bool = False
    missing: Missing = Missing()
    domain: NumericDomain | CategoricalDomain | None = None
    unit: str = ""

    @model_validator(mode="after")
    def _ignored_has_reason(self) -> Variable:
        if self.role is Role.IGNORED and not self.reason:
            raise ValueError(f"variable {self.name!r} is ignored without a reason")
        if self.kind is Kind.NUMERIC and self.dtype in ("string", "bytes", "timestamp"):
            raise ValueError(f"variable {self.name!r}: kind numeric does not fit {self.dtype}")
        return self

    @property
    def multi_valued(self) -> bool:
        return bool(self.shape)

    @property
    def compared(self) -> bool:
        return self.role in (Role.FEATURE, Role.LABEL)


class InputSpec(Record):
    """All raw variables of a model, in order; names are unique."""

    variables: tuple[Variable, ...]

    @field_validator("variables")
    @classmethod
    def _unique(cls, variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
        names = [variable.name for variable in variables]
        twice = (
            sorted({name for name in names if names.count(name) > 1})
            if len(set(names)) != len(names)
            else []
        )
        if twice:
            raise ValueError(f"variable {twice[0]!r} is declared twice")
        return variables

    def __getitem__(self, name: str) -> Variable:
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Variable]:
        return {variable.name: variable for variable in self.variables}

    def with_role(self, role: Role) -> tuple[Variable, ...]:
        return tuple(variable for variable in self.variables if variable.role is role)

    @property
    def spec_id(self) -> str:
        """Hex SHA-256 (first 16 digits) of the canonical JSON form. What is left at its default is
        not in it, so that a key of later releases does not change the ids of specs without it."""
        canonical = self.model_dump_json(exclude_defaults=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
