"""A small model that real tests train in seconds: whether somebody bought, by price and kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

BASE = """\
[models.shop.training]
label = "bought"
model = "{model}"
epochs = {epochs}
batch_size = 256
learning_rate = {learning_rate}
{training}
[models.shop.training.data]
sources = ["rows.parquet"]
time = "at"
gate_period = "{gate_period}"
gate_share = 0.0
[models.shop.gate]
margin = {margin}
"""


def shop_config(*, more: str = "", **changes: Any) -> str:
    """``trueup.toml``.

    :param more: behind the rest, where ``[models.shop.gate]`` is open.
    :param changes: of the values in :data:`BASE`.
    """
    values = {
        "model": "linear", "epochs": 4, "learning_rate": 0.05, "training": "",
        "gate_period": "3d", "margin": 0.5, **changes,
    }  # fmt: skip
    return BASE.format(**values) + more


def shop_rows(*, days: int = 12, per_day: int = 300, seed: int = 1) -> pd.DataFrame:
    """``at``, ``price`` (5 % missing), ``kind`` and ``bought`` (0 or 1), by time from 2026 on."""
    chance = np.random.default_rng(seed)
    count = days * per_day
    price, kind = chance.normal(10.0, 3.0, count), chance.choice(["a", "b", "c"], count)
    odds = 0.8 * (price - 10.0) + np.where(kind == "a", 2.0, -1.0)
    seconds = np.sort(chance.integers(0, days * 86_400, count))
    return pd.DataFrame({
        "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(seconds, "s"),
        "price": np.where(chance.random(count) < 0.05, np.nan, price),
        "kind": kind,
        "bought": (chance.random(count) < 1.0 / (1.0 + np.exp(-odds))).astype(int),
    })  # fmt: skip
