"""How raw variables become the numbers that a model learns from: constants from the profile, fixed
before training, and the same in the trainer's graph and in the server's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trueup.records.input_spec import Record, Variable
from trueup.records.training import Target


class Scaled(Record):
    """A number: ``(f(x) - mean) / sd``, clipped to ``[low, high]`` before; 0 where it is missing.
    Of several values of a fixed shape each is one; of a list of any length, their mean.

    :param log: ``f`` is ``sign(x) log1p(|x|)``; else it is the identity. ``mean`` and ``sd`` are of
        ``f(x)``, ``low`` and ``high`` of ``x``.
    """

    kind: Literal["scaled"] = "scaled"
    variable: str
    mean: float
    sd: float
    low: float
    high: float
    log: bool = False


class Bucketed(Record):
    """A number, by which of ``len(boundaries) + 1`` buckets it is in; one more for missing.

    :param embedding: its size in the deep part; 0: the wide part has it alone. So it is below.
    """

    kind: Literal["bucketed"] = "bucketed"
    variable: str
    boundaries: tuple[float, ...]
    embedding: int


class Vocabulary(Record):
    """A value by its place in ``values`` (strings; integers in decimal form), one more place for
    all others, one more for missing. Of a multi-valued variable the embeddings are averaged."""

    kind: Literal["vocabulary"] = "vocabulary"
    variable: str
    values: tuple[str, ...]
    embedding: int


class Hashed(Record):
    """A value by its hash (of strings as they are, of numbers in decimal form), one more place for
    missing."""

    kind: Literal["hashed"] = "hashed"
    variable: str
    buckets: int
    embedding: int


class Words(Record):
    """A text, by the hashes of its lower-cased words; their embeddings are averaged."""

    kind: Literal["words"] = "words"
    variable: str
    buckets: int
    embedding: int


class MissingFlag(Record):
    """1 where the variable is missing, else 0: for those that training saw missing."""

    kind: Literal["missing"] = "missing"
    variable: str


Feature = Annotated[
    Scaled | Bucketed | Vocabulary | Hashed | Words | MissingFlag, Field(discriminator="kind")
]


class Cross(Record):
    """Combinations of values, by the hash of them together; for the wide part. Of a variable that
    is in buckets, it is the bucket that is combined; missing is a value too."""

    variables: tuple[str, ...]
    buckets: int


class FeaturePlan(Record):
    """All that the graph needs to know; ``plan.json`` in a job's folder.

    :param inputs: the raw variables of the signature, in order; the label is not one. Those that
        training saw missing are ``optional``, with what the graph receives in ``missing.graph``.
    :param functions: the user's, ``package.module:function``.
    :param unused: variables of the training data that the model does not look at. The signature
        takes them all the same, and they may be left out: clients that send what they always sent
        are not refused.
    """

    inputs: tuple[Variable, ...]
    features: tuple[Feature, ...]
    crosses: tuple[Cross, ...] = ()
    functions: tuple[str, ...] = ()
    target: Target
    unused: tuple[Variable, ...] = ()

    @property
    def signature(self) -> tuple[Variable, ...]:
        """All raw variables that clients may send."""
        return self.inputs + self.unused
