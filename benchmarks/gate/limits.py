"""How often one-sided 95 % limits miss, by simulation with fixed seeds: ours and percentile limits.

    python benchmarks/gate/limits.py [--seeds 600]

A mean over rows in blocks whose true value is 0; rows of a block share a part (sd .3 of 1) that may
depend on the block before. Printed is the share of seeds whose lower limit is above 0 / whose upper
limit is below 0, in %: 5 would be right.
"""

from __future__ import annotations

import argparse
from datetime import timedelta

import numpy as np

from trueup.trainer.gate.blocks import by_time, merged
from trueup.trainer.gate.bootstrap import Drawings, estimate
from trueup.trainer.gate.evidence import row_influence
from trueup.trainer.gate.metrics import mean_of

HOUR_S = 3600.0
CONFIDENCE = 0.95
SHARED = 0.3
#: Blocks, correlation of a block's part with that of the block before, rows of a block.
SIZES = (
    (6, 0.0, 50), (8, 0.0, 50), (12, 0.0, 50), (20, 0.0, 50), (168, 0.0, 20),
    (168, 0.3, 20), (168, 0.6, 20), (168, 0.9, 20), (48, 0.6, 50),
)  # fmt: skip
SHAPES = ("normal", "t3", "lognormal", "2 % ones")


def values(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """``(n,)`` of mean 0 and variance 1."""
    if shape == "t3":
        return rng.standard_t(3, n) / np.sqrt(3)
    if shape == "lognormal":
        variance = np.expm1(2.25) * np.exp(2.25)
        return (rng.lognormal(0.0, 1.5, n) - np.exp(1.125)) / np.sqrt(variance)
    if shape == "2 % ones":
        return ((rng.random(n) < 0.02) - 0.02) / np.sqrt(0.02 * 0.98)
    return rng.standard_normal(n)


def misses(shape: str, size: tuple[int, float, int], seeds: int) -> np.ndarray:
    """Shares ``(2, 2)``: ours, percentile; lower limit above 0, upper limit below 0."""
    count, rho, per_block = size
    missed = np.zeros((2, 2))
    for seed in range(seeds):
        rng = np.random.default_rng([seed, count])
        rate = per_block * np.exp(0.5 * np.sin(np.arange(count) * 2 * np.pi / 24))
        of_row = np.repeat(np.arange(count), np.maximum(rng.poisson(rate), 1))
        part = np.empty(count)
        part[0] = rng.standard_normal()
        for block in range(1, count):
            part[block] = rho * part[block - 1] + np.sqrt(1 - rho**2) * rng.standard_normal()
        statistic = mean_of(values(shape, len(of_row), rng) + SHARED * part[of_row])
        hours = by_time(of_row * HOUR_S, timedelta(hours=1))
        blocks = merged(hours, row_influence(statistic))
        found = estimate(statistic, blocks, Drawings(blocks.count, seed, draws=1000))
        assert found is not None
        missed[0] += found.low(CONFIDENCE) > 0, found.high(CONFIDENCE) < 0
        drawn = statistic.value(
            Drawings(hours.count, seed, draws=1000).counts @ hours.sums(statistic.columns)
        )
        low, high = np.quantile(drawn, [1 - CONFIDENCE, CONFIDENCE])
        missed[1] += low > 0, high < 0
    return 100 * missed / seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=600)
    seeds = parser.parse_args().seeds
    print("| values | blocks | ρ | ours: low / high | percentile of hours: low / high |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for shape in SHAPES:
        for size in SIZES:
            ours, percentile = misses(shape, size, seeds)
            cells = " | ".join(f"{low:.1f} / {high:.1f}" for low, high in (ours, percentile))
            print(f"| {shape} | {size[0]} | {size[1]} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
