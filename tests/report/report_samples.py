"""Hand-built reports for the tests of what users see; counts are drawn from seeded generators."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from trueup.records.input_spec import Kind, Role
from trueup.records.report import (
    CategoryShare,
    Cause,
    CauseKind,
    Evidence,
    FeatureSummary,
    Finding,
    Histogram,
    Interval,
    Level,
    Quantity,
    Report,
    Side,
    SideSummary,
    Verdict,
)

NOW = datetime(2013, 8, 1, 6, 0, tzinfo=timezone.utc)


def numeric_summary(
    name: str, *, before: float = 38.0, after: float = 80.0, sd: float = 9.0, unit: str = "°F",
    level: Level = Level.ALERT, rank: int | None = 1, seed: int = 0,
) -> FeatureSummary:  # fmt: skip
    random = np.random.default_rng(seed)
    training, serving = random.normal(before, sd, 4000), random.normal(after, sd, 1500)
    edges = np.linspace(min(training.min(), serving.min()), max(training.max(), serving.max()), 61)
    sides = [
        SideSummary(
            rows=len(values), missing=len(values) // 100, mean=float(values.mean()),
            sd=float(values.std()), minimum=float(values.min()), maximum=float(values.max()),
            distinct=float(len(values)), zeros=0,
        )
        for values in (training, serving)
    ]  # fmt: skip
    return FeatureSummary(
        feature=name, kind=Kind.NUMERIC, role=Role.FEATURE, unit=unit, level=level, rank=rank,
        training=sides[0], serving=sides[1],
        histogram=Histogram(
            edges=tuple(edges.tolist()),
            training=tuple(np.histogram(training, edges)[0].tolist()),
            serving=tuple(np.histogram(serving, edges)[0].tolist()),
        ),
        distances={"PSI": 0.4, "Jensen-Shannon": 0.2},
        minimum_detectable={"mean (sd)": 0.09, "missing (points)": 0.4},
    )  # fmt: skip


def category_summary(name: str, shares: dict[str, tuple[int, int]]) -> FeatureSummary:
    rows = [sum(pair[side] for pair in shares.values()) for side in (0, 1)]
    return FeatureSummary(
        feature=name, kind=Kind.CATEGORICAL, role=Role.FEATURE, level=Level.ALERT, rank=2,
        training=SideSummary(rows=rows[0], distinct=4.0),
        serving=SideSummary(rows=rows[1], distinct=4.0),
        categories=tuple(
            CategoryShare(value=value, training=before, serving=after, new=before == 0)
            for value, (before, after) in shares.items()
        ),
    )  # fmt: skip


def finding(
    feature: str, quantity: Quantity = Quantity.MEAN, *, effect: float = 2.31,
    level: Level = Level.ALERT, rank: int = 1, training: float | None = 38.0,
    serving: float | None = 80.1, value_unit: str = "°F", unit: str = "sd",
    reason: str = "mean rose from 38 °F to 80.1 °F (+2.31 sd)", cause: Cause | None = None,
) -> Finding:  # fmt: skip
    return Finding(
        feature=feature, quantity=quantity, effect=effect, unit=unit,
        effect_name="standardized mean difference" if unit else "PSI",
        interval=Interval(low=effect - 0.05, high=effect + 0.05, confidence=0.95),
        n_training=4000, n_serving=1500,
        evidence=Evidence(method="Welch z", statistic=80.0, p_value=1e-12, p_adjusted=1e-10),
        level=level, threshold=0.1, rank=rank, training=training, serving=serving,
        value_unit=value_unit, reason=reason, cause=cause,
    )  # fmt: skip


def report(
    findings: tuple[Finding, ...], features: tuple[FeatureSummary, ...], *,
    verdict: Verdict = Verdict.DRIFT, reasons: tuple[str, ...] = ("temp: mean rose",),
    names: tuple[str, str] = ("training.parquet", "serving.parquet"), notes: tuple[str, ...] = (),
) -> Report:  # fmt: skip
    sides = [
        Side(name=name, rows=rows, columns=len(features))
        for name, rows in zip(names, (4000, 1500), strict=True)
    ]
    return Report(
        check_id="check-1", created_at=NOW, rows=1500, baseline_id="0123456789abcdef",
        policy_hash="fedcba9876543210", verdict=verdict, reasons=reasons,
        training=sides[0], serving=sides[1], findings=findings, features=features, notes=notes,
    )  # fmt: skip


def typical_report() -> Report:
    """A drift of a temperature, new carriers, one watch, one column that is fine, one ignored."""
    unit = Cause(
        kind=CauseKind.UNIT, statement="serving ≈ 1.609 × training: kilometres instead of miles",
        remedy="convert distance back to miles", parameters={"factor": 1.609},
    )  # fmt: skip
    carriers = {"UA": (1500, 400), "B6": (1300, 500), "EV": (1200, 450), "ZZ": (0, 150)}
    return report(
        (
            finding("temp"),
            finding("distance", effect=0.8, rank=2, training=1041.0, serving=1675.2,
                    value_unit="miles", reason="mean of distance rose", cause=unit),
            finding("temp", Quantity.VARIANCE, effect=-0.61, rank=3, training=11.9, serving=8.8,
                    unit="ln ratio", reason="sd of temp fell"),
            finding("carrier", Quantity.UNSEEN, effect=10.0, rank=4, training=0.0, serving=10.0,
                    value_unit="%", unit="points", reason="10 % of carriers are new"),
            finding("dewp", effect=0.12, level=Level.WATCH, rank=5, training=41.0, serving=42.1,
                    reason="mean of dewp rose a little"),
            finding("dewp", Quantity.MISSING, effect=0.5, level=Level.OK, rank=6, training=1.0,
                    serving=1.5, value_unit="%", unit="points", reason="missing rose a little"),
            finding("humid", effect=0.001, level=Level.OK, rank=7, training=58.0, serving=58.01,
                    value_unit="%", reason="no change"),
        ),
        (
            numeric_summary("temp"),
            numeric_summary("distance", before=1041.0, after=1675.0, sd=300.0, unit="miles",
                            rank=2, seed=1),
            category_summary("carrier", carriers),
            numeric_summary("dewp", before=41.0, after=42.0, level=Level.WATCH, rank=5, seed=2),
            numeric_summary("humid", before=58.0, after=58.0, unit="%", level=Level.OK, rank=7,
                            seed=3),
            FeatureSummary(feature="tailnum", kind=Kind.CATEGORICAL, role=Role.ID,
                           role_reason="4,043 distinct values in 4,044 rows"),
        ),
        reasons=("distance: kilometres instead of miles", "temp: mean rose by 2.31 sd"),
        verdict=Verdict.FAULT,
    )  # fmt: skip
