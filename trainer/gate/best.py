"""Which version was the best ever: what the ratchet is measured against."""

from __future__ import annotations

from collections.abc import Iterable

from trueup.records.gate import GateReport


def best_version(promoted: Iterable[GateReport]) -> int | None:
    """The best of the versions that went live, by the chain of their gates.

    Metrics of different gates are of different rows and cannot be compared; improvements over the
    live version of the same rows can be added up. Each counts as a share of the live version's
    metric: ``level = level of the one before + improvement / metric``; of equal levels the older
    version is the best. A version without a comparison starts a new chain.

    :param promoted: reports of the versions that were promoted, in that order.
    :return: ``None`` where there are none.
    """
    levels: dict[int, float] = {}
    for report in promoted:
        if report.candidate is None:
            continue
        compared = report.against_live
        if compared is None or report.live is None:
            levels = {report.candidate: 0.0}
            continue
        base = levels.setdefault(report.live, 0.0)
        size = abs(compared.other)
        gain = compared.improvement / size if size else compared.improvement
        levels[report.candidate] = base + gain
    return max(levels, key=lambda version: (levels[version], -version)) if levels else None
