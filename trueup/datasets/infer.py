"""The InputSpec of a data set: what each column is, and what it is for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from trueup.datasets.roles import (
    FEW_ROWS,
    PARSES,
    TimeForm,
    calendar_parts,
    main_time,
    role_of,
    time_form,
)
from trueup.datasets.sample import ColumnFacts, facts_of, sample
from trueup.datasets.spec_toml import SpecOverrides, apply_overrides
from trueup.datasets.times import zones_of
from trueup.datasets.written_numbers import written_number
from trueup.errors import DataError
from trueup.records.dataset import Dataset
from trueup.records.input_spec import InputSpec, Kind, Role, Variable

LONG_TEXT = 40
"""Mean number of characters from which strings are free text."""

_DTYPES = {
    pa.float64(): "float64", pa.float32(): "float32", pa.bool_(): "bool",
    pa.int8(): "int8", pa.int16(): "int16", pa.int32(): "int32", pa.int64(): "int64",
    pa.uint8(): "uint8", pa.uint16(): "uint16", pa.uint32(): "uint32", pa.uint64(): "uint64",
    pa.string(): "string", pa.binary(): "bytes", pa.null(): "string",
}  # fmt: skip


def infer_spec(
    dataset: Dataset,
    *,
    overrides: SpecOverrides | Mapping[str, Mapping[str, Any]] | None = None,
    time: str | None = None,
    label: str | None = None,
    keys: Sequence[str] = (),
) -> InputSpec:
    """What the columns of ``dataset`` are, from up to 200,000 rows spread over it.

    Every column is in the result, in order; one that is not compared says why in ``reason``.

    :param overrides: what the user corrects (see :mod:`trueup.datasets.spec_toml`).
    :param time, label, keys: columns whose role the user gave.
    :raises DataError: when one of these is not there, or ``time`` holds no times.
    :raises ConfigError: when an override names an unknown variable or a wrong value.

    >>> import pandas
    >>> from trueup.datasets.open import open_dataset
    >>> frame = pandas.DataFrame({"temp": [31.5, 40.0], "origin": ["EWR", "JFK"]})
    >>> [(v.name, v.dtype, v.kind.value) for v in infer_spec(open_dataset(frame)).variables]
    [('temp', 'float64', 'numeric'), ('origin', 'string', 'categorical')]
    """
    names = dataset.schema.names
    given = [("time", time), ("label", label), *(("key", key) for key in keys)]
    for what, column in given:
        if column is not None and column not in names:
            raise DataError(
                f"the {what} column {column!r} is not in {dataset.name}",
                remedy=closest(column, names),
            )
    facts = facts_of(dataset, sample(dataset))
    forms = {name: form for name, column in facts.items() if (form := time_form(column))}
    if time is not None:
        forms[time] = _asked_time(dataset.name, facts[time])
    else:
        time = main_time(
            {name: form for name, form in forms.items() if name != label and name not in keys},
            facts,
        )
    calendar = calendar_parts(facts.values(), time) - {label, *keys}
    variables = []
    for name, known in facts.items():
        role, reason = role_of(known, time, label, keys, calendar, forms.get(name))
        variables.append(_variable(known, role, reason, forms.get(name)))
    spec = InputSpec(variables=tuple(variables))
    return spec if overrides is None else apply_overrides(spec, overrides)


def closest(name: str, names: Iterable[str]) -> str:
    """A remedy that names the column which was probably meant."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]!r}?" if near else "check the name"


def _asked_time(source: str, facts: ColumnFacts) -> TimeForm:
    form = time_form(facts, asked=True)
    if form is None:
        example = facts.values[0].as_py() if facts.n else None
        holds = "only missing values" if example is None else f"values such as {example!r}"
        raise DataError(
            f"the time column {facts.name!r} of {source} holds {holds}, which are no times",
            remedy="give timestamps, ISO 8601 strings, or seconds since 1970",
        )
    return form


def _variable(facts: ColumnFacts, role: Role, reason: str, form: TimeForm | None) -> Variable:
    dtype, kind, why = _kind(facts, form)
    reasons = [part for part in (reason, why) if part]
    return Variable(
        name=facts.name,
        dtype=dtype,  # type: ignore[arg-type]  # one of Dtype by construction
        kind=kind,
        shape=(-1,) if facts.multi_valued else (),
        role=role,
        reason="; ".join(reasons),
        optional=facts.has_nulls,
        unit=form.unit if form is not None else "",
    )


def _kind(facts: ColumnFacts, form: TimeForm | None) -> tuple[str, Kind, str]:
    """dtype, kind, and why where it does not speak for itself."""
    element = facts.element_type
    if form is not None or pa.types.is_timestamp(element):
        zones = zones_of(facts.values) if facts.is_string else set()
        why = "those without a zone are taken as UTC" if "naive" in zones else ""
        return (_DTYPES[element] if form and form.unit else "timestamp"), Kind.TIME, why
    dtype = _DTYPES[element]
    if pa.types.is_null(element):
        return dtype, Kind.CATEGORICAL, "all values are missing"
    if pa.types.is_boolean(element):
        return dtype, Kind.CATEGORICAL, ""
    if pa.types.is_binary(element):
        if facts.mean_length > LONG_TEXT:
            return dtype, Kind.TEXT, f"long: {facts.mean_length:,.0f} bytes on average"
        return dtype, Kind.CATEGORICAL, ""
    if not pa.types.is_string(element):
        return dtype, Kind.NUMERIC, ""
    if facts.number_share >= PARSES and not facts.code_share:
        return "float64", Kind.NUMERIC, f"{_percent(facts.number_share)} of its strings are numbers"
    if example := written_number(facts.values):
        return dtype, Kind.CATEGORICAL, f"numbers written for people, such as {example!r}"
    if facts.mean_length > LONG_TEXT:
        return dtype, Kind.TEXT, f"free text: {facts.mean_length:.0f} characters on average"
    words = facts.n >= FEW_ROWS and facts.distinct > facts.n / 2 and facts.spaced_share > 0.5
    if words and not facts.multi_valued:
        return dtype, Kind.TEXT, "free text: mostly different strings of several words"
    return dtype, Kind.CATEGORICAL, ""


def _percent(share: float) -> str:
    """A share that is not quite all is never shown as 100 %."""
    return "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"
