"""Which version a request gets, and what it is told where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trueup.records.registry import VersionRecord
from trueup.serving.fleet import (
    Fleet,
    FleetView,
    Lifecycle,
    ModelView,
    NotServed,
    ServedVersion,
    VersionStatus,
)


def served(version: int, *aliases: str, model: str = "flights") -> ServedVersion:
    record = VersionRecord(model=model, version=version, artifact_uri="", manifest_sha256="")
    return ServedVersion(model, version, None, None, None, frozenset(aliases), record)


def fleet_of(*versions: ServedVersion, statuses: Sequence[VersionStatus] = ()) -> Fleet:
    fleet = Fleet()
    view = ModelView.of(versions)
    assert view is not None
    fleet.show(FleetView({"flights": view}, {"flights": tuple(statuses)} if statuses else {}))
    return fleet


def number(found: ServedVersion | NotServed) -> int:
    assert isinstance(found, ServedVersion), found
    return found.version


def test_by_default_it_is_stable() -> None:
    fleet = fleet_of(served(1, "stable"), served(3, "canary"))
    assert number(fleet.resolve("flights")) == 1
    assert number(fleet.resolve("flights", alias="canary")) == 3
    assert number(fleet.resolve("flights", version=3)) == 3


def test_without_stable_it_is_the_newest() -> None:
    assert number(fleet_of(served(2), served(10, "canary"), served(9)).resolve("flights")) == 10


@pytest.mark.parametrize(
    ("model", "version", "alias", "status", "message"),
    [
        ("ships", None, None, 404, "Servable not found for request: Latest(ships)"),
        ("ships", 1, None, 404, "Servable not found for request: Specific(ships, 1)"),
        ("flights", 7, None, 404, "Servable not found for request: Specific(flights, 7)"),
        ("flights", None, "night", 400, "Unrecognized servable version label: night"),
        ("ships", None, "stable", 400, "Unrecognized servable version label: stable"),
    ],
)
def test_what_is_unknown_is_told_as_tensorflow_serving_does(
    model: str, version: int | None, alias: str | None, status: int, message: str
) -> None:
    assert fleet_of(served(1, "stable")).resolve(model, version, alias) == NotServed(
        status, message
    )


def test_statuses() -> None:
    statuses = (
        VersionStatus(2, Lifecycle.END, "DATA_LOSS", "corrupt"),
        VersionStatus(1, Lifecycle.AVAILABLE),
    )
    fleet = fleet_of(served(1, "stable"), statuses=statuses)
    assert fleet.statuses("flights") == statuses
    assert fleet.statuses("flights", version=2) == statuses[:1]
    assert fleet.statuses("flights", alias="stable") == statuses[1:]
    assert fleet.statuses("flights", alias="x") == NotServed(
        400, "Unrecognized servable version label: x"
    )
    assert fleet.statuses("flights", version=7) == NotServed(
        404, "Could not find version 7 of model flights"
    )
    assert fleet.statuses("ships") == NotServed(404, "Could not find any versions of model ships")


def test_an_empty_fleet_serves_nothing() -> None:
    assert ModelView.of([]) is None
    assert Fleet().served() == []
    assert isinstance(Fleet().resolve("flights"), NotServed)
