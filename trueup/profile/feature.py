"""One variable's state under construction: from Arrow arrays to a :class:`FeatureState`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trueup.profile import cast
from trueup.profile.arrow import is_list
from trueup.profile.category import CategoryBuilder
from trueup.profile.distinct import HllBuilder
from trueup.profile.edges import FeatureEdges
from trueup.profile.hashing import hash_numbers, hash_strings
from trueup.profile.lists import as_scalars, list_lengths
from trueup.profile.numeric import NumericBuilder
from trueup.profile.states import FeatureState, TextState
from trueup.profile.text import text_lengths, text_state
from trueup.records.input_spec import Kind, Variable

_HOUR_SECONDS = 3600


class FeatureBuilder:
    """Counts one variable's arrays against its edges; parts without edges count rows only."""

    def __init__(self, variable: Variable, edges: FeatureEdges) -> None:
        self._variable = variable
        self._distinct = HllBuilder()
        self._numeric = (
            None if edges.numeric is None else NumericBuilder(edges.numeric, self._distinct)
        )
        self._categories = None if edges.categories is None else CategoryBuilder(edges.categories)
        self._lengths = None if edges.lengths is None else NumericBuilder(edges.lengths, None)
        self._text: TextState | None = None
        self._hours = np.zeros(24, np.int64) if variable.kind is Kind.TIME else None
        self._rows = self._missing = self._type_errors = self._non_finite = 0
        self._elements = self._element_missing = 0

    def add_absent(self, rows: int) -> None:
        """Count ``rows`` rows that have no such column."""
        self._rows += rows
        self._missing += rows

    def add(self, array: pa.Array) -> cast.Numbers | None:
        """Count one array.

        :returns: its numbers, where the variable is a scalar number, for the co-moments.
        """
        self._rows += len(array)
        if self._variable.multi_valued:
            self._add_lists(array)
            return None
        if is_list(array.type):
            array, too_many = as_scalars(array)
            self._type_errors += too_many
            self._missing -= too_many  # they are null in what remains
        missing, errors, found = self._add_values(array)
        self._missing += missing
        self._type_errors += errors
        return found

    def _add_lists(self, array: pa.Array) -> None:
        if pa.types.is_null(array.type):
            self._missing += len(array)
            return
        if is_list(array.type):
            lengths, elements = list_lengths(array)
            self._missing += len(array) - lengths.size
        else:  # scalars where lists were declared: lists of one
            elements = array.drop_null()
            self._missing += len(array) - len(elements)
            lengths = np.ones(len(elements), np.int64)
        if self._lengths is not None:
            self._lengths.add(lengths)
        missing, errors, _ = self._add_values(elements)
        self._elements += len(elements)
        self._element_missing += missing
        self._type_errors += min(errors, lengths.size)

    def _add_values(self, array: pa.Array) -> tuple[int, int, cast.Numbers | None]:
        """Count values; how many are missing, how many of a wrong type, and numbers if any."""
        kind = self._variable.kind
        if kind is Kind.CATEGORICAL:
            found = cast.labels(array, self._variable)
            self._add_labels(found)
            return found.missing, found.type_errors, None
        if kind is Kind.TEXT:
            texts = cast.texts(array, self._variable)
            self._add_texts(texts.values)
            return texts.missing, texts.type_errors, None
        numbers = cast.numbers(array, self._variable)
        self._add_numbers(numbers)
        return numbers.missing, numbers.type_errors, numbers

    def _add_numbers(self, numbers: cast.Numbers) -> None:
        self._non_finite += numbers.non_finite
        if self._numeric is not None:
            self._numeric.add(numbers.values)
        elif numbers.values.size:
            self._distinct.add(hash_numbers(numbers.values.astype(np.float64)))
        if self._hours is not None:
            with np.errstate(invalid="ignore"):  # beyond 10**18 s there are no hours
                seconds = np.floor(numbers.values).astype(np.int64)
            self._hours += np.bincount(seconds // _HOUR_SECONDS % 24, minlength=24)

    def _add_labels(self, found: cast.Labels) -> None:
        self._distinct.add(hash_strings(found.values))
        if self._categories is not None:
            self._categories.add(found.values, found.counts)
        if self._lengths is not None and not self._variable.multi_valued:
            self._lengths.add(np.repeat(found.lengths, found.counts))

    def _add_texts(self, texts: pa.Array) -> None:
        self._distinct.add(hash_strings(texts))
        found = text_state(texts)
        self._text = found if self._text is None else self._text.merge(found)
        if self._lengths is not None and not self._variable.multi_valued:
            self._lengths.add(text_lengths(texts, self._variable))

    def state(self) -> FeatureState:
        """What was counted; the builder is used up."""
        numeric = self._numeric.state() if self._numeric is not None else None
        return FeatureState(
            rows=self._rows,
            missing=self._missing,
            type_errors=self._type_errors,
            non_finite=self._non_finite,
            elements=self._elements,
            element_missing=self._element_missing,
            numeric=numeric,
            categories=self._categories.state() if self._categories is not None else None,
            lengths=self._lengths.state() if self._lengths is not None else None,
            text=self._text,
            hours=self._hours,
            distinct=self._distinct.sketch(),
        )
