"""One TFDV child process for all tests (importing TFDV costs 5 to 15 s), and frames to profile."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from trueup.datasets.flights import flights_with_weather
from trueup.datasets.infer import infer_spec
from trueup.datasets.open import open_dataset
from trueup.profile.edges import Edges
from trueup.profile.mapreduce import first_pass_dataset, profile_dataset
from trueup.profile.states import Profile
from trueup.tfdv.process import TfdvProcess
from trueup.tfdv.protos import protos

COLUMNS = [
    "dep_delay", "air_time", "distance", "flight", "temp", "precip", "carrier", "origin", "dest",
]  # fmt: skip


@pytest.fixture(scope="session")
def tfdv() -> Iterator[TfdvProcess]:
    """TFDV itself; tests that use it are heavy."""
    command = (sys.executable, str(Path(__file__).with_name("child_with_more.py")))
    with TfdvProcess(command=command) as process:
        yield process


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """10,000 flights from all the year: floats with nulls, integers, strings, a boolean."""
    frame = flights_with_weather()[COLUMNS].sample(10_000, random_state=7).sort_index()
    frame = frame.reset_index(drop=True)
    frame["late"] = frame["dep_delay"].fillna(0) > 15
    return frame


@pytest.fixture(scope="session")
def lists() -> pd.DataFrame:
    """Lists of numbers and of strings: some absent, some empty."""
    n = 400
    return pd.DataFrame(
        {
            "scores": [list(np.arange(i % 4) * 1.5) if i % 7 else None for i in range(n)],
            "tags": [[f"t{i % 5}", "x"][: i % 3] if i % 11 else None for i in range(n)],
        }
    )


ProfileOf = Callable[..., Profile]


@pytest.fixture(scope="session")
def profile_of() -> ProfileOf:
    """The profile of a frame, against given edges or its own."""

    def profile(frame: pd.DataFrame, edges: Edges | None = None) -> Profile:
        data = open_dataset(frame)
        if edges is None:
            edges = first_pass_dataset(data, infer_spec(data), workers=1)
        return profile_dataset(data, edges, workers=1)

    return profile


Generate = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="session")
def generate(tfdv: TfdvProcess, tmp_path_factory: pytest.TempPathFactory) -> Generate:
    """What ``tfdv.generate_statistics_from_dataframe`` says of a frame."""
    path = tmp_path_factory.mktemp("frames") / "frame.parquet"

    def generated(frame: pd.DataFrame) -> Any:
        frame.to_parquet(path)
        output = tfdv.run("generate", {}, {"frame": str(path)})
        return protos().statistics.DatasetFeatureStatisticsList.FromString(output)

    return generated


class Halves(NamedTuple):
    """Statistics that TFDV made of a random half of some flights, and the other half."""

    statistics: Any
    frame: pd.DataFrame
    other: pd.DataFrame


@pytest.fixture(scope="session")
def halves(generate: Generate) -> Halves:
    """20,000 flights, with year, month and day, divided at random."""
    frame = flights_with_weather()[["year", "month", "day", "tailnum", *COLUMNS]]
    frame = frame.sample(20_000, random_state=11).reset_index(drop=True)
    first, other = frame.iloc[:10_000], frame.iloc[10_000:].reset_index(drop=True)
    return Halves(generate(first), first, other)
