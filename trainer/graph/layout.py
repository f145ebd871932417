"""Where each feature lies: columns of numbers, and places of categories in few large tables."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.records.features import (
    Bucketed,
    Cross,
    Feature,
    FeaturePlan,
    Hashed,
    Vocabulary,
    Words,
)
from trueup.records.input_spec import Variable

Category = Bucketed | Vocabulary | Hashed | Words | Cross


@dataclass(frozen=True)
class Column:
    """A feature that is one of ``size`` places, or several of them.

    :param offset: of its first place in the table of the wide part, which holds all columns.
    :param embedding: size in the deep part; 0: it is not there.
    :param bag: whether a row has any number of values, which are averaged.
    """

    feature: Category
    size: int
    offset: int
    embedding: int
    bag: bool


def columns_of(plan: FeaturePlan) -> tuple[Column, ...]:
    """The categories, in the order of the plan, crosses last."""
    by_name = {variable.name: variable for variable in plan.inputs}
    found: list[Column] = []
    offset = 0
    for feature in (*plan.features, *plan.crosses):
        if not isinstance(feature, (Bucketed, Vocabulary, Hashed, Words, Cross)):
            continue
        size = category_size(feature)
        bag = not isinstance(feature, Cross) and is_bag(feature, by_name[feature.variable])
        embedding = 0 if isinstance(feature, Cross) else feature.embedding
        found.append(Column(feature, size, offset, embedding, bag))
        offset += size
    return tuple(found)


def category_size(feature: Category) -> int:
    """Number of its places; the last one is missing, but of words and crosses, which have none."""
    if isinstance(feature, Bucketed):
        return len(feature.boundaries) + 2
    if isinstance(feature, Vocabulary):
        return len(feature.values) + 2
    return feature.buckets + (1 if isinstance(feature, Hashed) else 0)


def is_bag(feature: Feature, variable: Variable) -> bool:
    return isinstance(feature, Words) or variable.multi_valued
